//! Each state at each size.

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::{Terminal, backend::TestBackend, style::Color};

use super::view;
use crate::{
    feed::{Feed, Finding, Status},
    model::Model,
    testing,
    theme::Theme,
    update::{Msg, update},
};

fn drawn(model: &Model, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view(model, frame)).unwrap();
    terminal
}

fn press(model: &mut Model, code: KeyCode) {
    let now = model.picture().now;
    update(model, now, Msg::Key(KeyEvent::new(code, KeyModifiers::NONE)));
}

/// One snapshot for each usual size.
macro_rules! snapshots {
    ($name:literal, $model:expr) => {
        for (width, height) in [(60, 16), (80, 24), (120, 40)] {
            insta::assert_snapshot!(
                format!("{}-{width}x{height}", $name),
                drawn(&$model, width, height).backend()
            );
        }
    };
}

#[test]
fn before_any_news() {
    snapshots!("waiting", testing::model());
}

#[test]
fn a_run_under_way() {
    let mut model = testing::model();
    testing::running(&mut model);
    snapshots!("running", model);
}

#[test]
fn everything_passed() {
    let mut model = testing::model();
    testing::all_pass(&mut model);
    snapshots!("all-pass", model);
}

#[test]
fn a_failure_with_its_verdict() {
    let mut model = testing::model();
    testing::failed(&mut model);
    snapshots!("failed", model);
}

#[test]
fn a_figure_that_does_not_fit_is_left_out_as_a_whole() {
    let mut model = testing::model();
    testing::running(&mut model);
    let slow = Feed::Sample { path: "through TURN".to_owned(), outcome: Ok(Duration::from_secs(1)) };
    update(&mut model, Duration::from_secs(13), Msg::Feed(slow));
    let shown = |width| drawn(&model, width, 30).backend().to_string();
    assert!(shown(120).contains("1000 ms  loss 12 %  p50 46  p95 1000  jitter 162"), "{}", shown(120));
    assert!(shown(100).contains("1000 ms  loss 12 %  p50 46  p95 1000    "), "{}", shown(100));
}

#[test]
fn a_frozen_picture_says_so() {
    let mut model = testing::model();
    testing::running(&mut model);
    press(&mut model, KeyCode::Char(' '));
    testing::failed(&mut model);
    insta::assert_snapshot!(drawn(&model, 80, 24).backend());
}

#[test]
fn the_help() {
    let mut model = testing::model();
    testing::failed(&mut model);
    press(&mut model, KeyCode::Char('?'));
    snapshots!("help", model);
}

#[test]
fn the_details_of_the_selected_check() {
    let mut model = testing::model();
    testing::failed(&mut model);
    press(&mut model, KeyCode::Enter);
    snapshots!("details", model);
}

#[test]
fn details_that_are_scrolled() {
    let mut model = testing::model();
    testing::failed(&mut model);
    press(&mut model, KeyCode::Enter);
    press(&mut model, KeyCode::PageDown);
    press(&mut model, KeyCode::PageDown);
    insta::assert_snapshot!(drawn(&model, 60, 16).backend());
}

#[test]
fn the_last_check_selected_on_a_low_screen_is_in_sight() {
    let mut model = testing::model();
    testing::failed(&mut model);
    for _ in 0..10 {
        press(&mut model, KeyCode::Down);
    }
    insta::assert_snapshot!(drawn(&model, 60, 16).backend());
}

#[test]
fn a_terminal_that_is_too_small() {
    insta::assert_snapshot!("too-small-59x16", drawn(&testing::model(), 59, 16).backend());
    insta::assert_snapshot!("too-small-14x5", drawn(&testing::model(), 14, 5).backend());
}

#[test]
fn in_ascii_no_cell_is_anything_else() {
    let mut model = testing::model();
    model.theme = Theme { colour: true, ascii: true };
    testing::failed(&mut model);
    let terminal = drawn(&model, 80, 24);
    insta::assert_snapshot!(terminal.backend());
    assert!(terminal.backend().buffer().content.iter().all(|cell| cell.symbol().is_ascii()));
}

#[test]
fn without_colour_the_same_words_are_there() {
    let mut model = testing::model();
    testing::failed(&mut model);
    let coloured = drawn(&model, 120, 40);
    model.theme.colour = false;
    let plain = drawn(&model, 120, 40);
    assert_eq!(coloured.backend().to_string(), plain.backend().to_string());
    let cells = |t: &Terminal<TestBackend>| t.backend().buffer().content.clone();
    assert!(cells(&coloured).iter().any(|cell| cell.fg == Color::Red));
    assert!(cells(&plain).iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
}

#[test]
fn no_size_and_no_state_panics() {
    let mut models = [testing::model(), testing::model(), testing::model(), testing::model()];
    testing::running(&mut models[0]);
    testing::failed(&mut models[1]);
    testing::failed(&mut models[2]);
    press(&mut models[2], KeyCode::Enter);
    press(&mut models[3], KeyCode::Char('?'));
    for (width, height) in (0..130).step_by(13).flat_map(|w| (0..45).step_by(3).map(move |h| (w, h))) {
        for model in &models {
            drawn(model, width, height);
        }
    }
}

#[test]
fn control_characters_never_reach_the_terminal() {
    let mut model = testing::model();
    testing::running(&mut model);
    let hostile = "\x1b]0;owned\x07\u{9b}31m\r\nnext 日本語\u{202e}";
    let finding = Finding { status: Status::Fail, summary: hostile.to_owned(), notes: Vec::new() };
    let check = "dns.addresses".to_owned();
    update(
        &mut model,
        Duration::from_secs(20),
        Msg::Feed(Feed::CheckFinished { check, findings: vec![finding] }),
    );
    for (width, height) in [(60, 16), (80, 24), (120, 40)] {
        let terminal = drawn(&model, width, height);
        let cells = &terminal.backend().buffer().content;
        assert!(cells.iter().all(|cell| !cell.symbol().contains(char::is_control)));
    }
}
