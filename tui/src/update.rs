//! What each message does to the model. Pure: effects are returned, not done.

use std::time::Duration;

use crossterm::event::KeyEvent;

use crate::{
    feed::Feed,
    keymap::{self, Command},
    model::{Model, Page},
};

/// Everything that can happen.
#[derive(Clone, Debug)]
pub(crate) enum Msg {
    Key(KeyEvent),
    Feed(Feed),
    /// There will be no more news.
    FeedEnded,
    /// Time went by.
    Tick,
}

/// What is to be done outside the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Quit,
    Interrupt,
    Rerun,
}

/// Takes in what happened at `now`, the time since the view began.
pub(crate) fn update(model: &mut Model, now: Duration, msg: Msg) -> Option<Effect> {
    model.set_now(now);
    match msg {
        Msg::Key(key) => keymap::command(key).and_then(|command| obey(model, command)),
        Msg::Feed(feed) => {
            model.apply(feed);
            None
        }
        Msg::FeedEnded => {
            model.feed_ended();
            None
        }
        Msg::Tick => None,
    }
}

fn obey(model: &mut Model, command: Command) -> Option<Effect> {
    match command {
        Command::Quit => return Some(Effect::Quit),
        Command::Interrupt => return Some(Effect::Interrupt),
        Command::Rerun => return model.can_rerun().then_some(Effect::Rerun),
        Command::Help => model.toggle_page(Page::Help),
        Command::Details => model.toggle_page(Page::Details),
        Command::Back => model.page = Page::Overview,
        Command::Freeze => model.toggle_freeze(),
        Command::Down => model.select(model.selected() + 1),
        Command::Up => model.select(model.selected().saturating_sub(1)),
        Command::PageDown => model.scroll_down(),
        Command::PageUp => model.scroll_up(),
    }
    None
}

#[cfg(test)]
mod tests {
    use crossterm::event::{KeyCode, KeyModifiers};

    use super::*;
    use crate::{model::Run, testing};

    fn press(model: &mut Model, code: KeyCode) -> Option<Effect> {
        let now = model.picture().now;
        update(model, now, Msg::Key(KeyEvent::new(code, KeyModifiers::NONE)))
    }

    #[test]
    fn q_and_control_c_end_the_view_from_every_page() {
        for page in [Page::Overview, Page::Details, Page::Help] {
            let mut model = testing::model();
            model.page = page;
            assert_eq!(press(&mut model, KeyCode::Char('q')), Some(Effect::Quit));
            let key = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
            assert_eq!(update(&mut model, Duration::ZERO, Msg::Key(key)), Some(Effect::Interrupt));
        }
    }

    #[test]
    fn a_run_can_be_repeated_only_when_it_is_over() {
        let mut model = testing::model();
        assert_eq!(press(&mut model, KeyCode::Char('r')), None);
        testing::running(&mut model);
        assert_eq!(press(&mut model, KeyCode::Char('r')), None);
        testing::all_pass(&mut model);
        assert_eq!(press(&mut model, KeyCode::Char('r')), Some(Effect::Rerun));
        update(&mut model, Duration::ZERO, Msg::FeedEnded);
        assert_eq!(press(&mut model, KeyCode::Char('r')), None);
    }

    #[test]
    fn a_new_run_forgets_the_findings_and_keeps_the_paths() {
        let mut model = testing::model();
        testing::failed(&mut model);
        testing::running(&mut model);
        let picture = model.picture();
        assert_eq!(picture.verdict, None);
        assert_eq!(picture.counts().map(|(_, n)| n).sum::<usize>(), 2);
        assert!(!picture.paths.is_empty());
    }

    #[test]
    fn a_frozen_picture_stays_while_measuring_goes_on() {
        let mut model = testing::model();
        testing::running(&mut model);
        let before = model.picture().clone();
        press(&mut model, KeyCode::Char(' '));
        testing::failed(&mut model);
        assert_eq!(*model.picture(), before);
        assert!(!model.animates());
        press(&mut model, KeyCode::Char(' '));
        assert!(model.picture().verdict.is_some());
    }

    #[test]
    fn the_selection_follows_the_gravest_check_until_the_user_moves_it() {
        let mut model = testing::model();
        testing::running(&mut model);
        assert_eq!(model.selected(), 0);
        testing::failed(&mut model);
        assert_eq!(model.picture().checks[model.selected()].check.id, "ice.direct");
        press(&mut model, KeyCode::Up);
        let chosen = model.selected();
        testing::all_pass(&mut model);
        assert_eq!(model.selected(), chosen);
    }

    #[test]
    fn the_selection_stays_within_the_checks() {
        let mut model = testing::model();
        press(&mut model, KeyCode::Char('j'));
        assert_eq!(model.selected(), 0);
        testing::running(&mut model);
        for _ in 0..50 {
            press(&mut model, KeyCode::Char('j'));
        }
        assert_eq!(model.selected(), model.picture().checks.len() - 1);
        for _ in 0..50 {
            press(&mut model, KeyCode::Char('k'));
        }
        assert_eq!(model.selected(), 0);
    }

    #[test]
    fn the_details_scroll_no_further_than_there_is_something_to_see() {
        let mut model = testing::model();
        testing::failed(&mut model);
        for _ in 0..50 {
            press(&mut model, KeyCode::PageDown);
        }
        let far = model.scroll();
        assert!(far > 0);
        press(&mut model, KeyCode::PageUp);
        assert_eq!(model.scroll(), far - 1);
        press(&mut model, KeyCode::Up);
        assert_eq!(model.scroll(), 0);
    }

    #[test]
    fn pages_open_and_close_with_their_own_key_and_with_escape() {
        let mut model = testing::model();
        for (key, page) in [(KeyCode::Char('?'), Page::Help), (KeyCode::Enter, Page::Details)] {
            press(&mut model, key);
            assert_eq!(model.page, page);
            press(&mut model, key);
            assert_eq!(model.page, Page::Overview);
            press(&mut model, key);
            press(&mut model, KeyCode::Esc);
            assert_eq!(model.page, Page::Overview);
        }
    }

    #[test]
    fn only_a_run_under_way_animates() {
        let mut model = testing::model();
        assert!(!model.animates());
        testing::running(&mut model);
        assert!(model.animates());
        testing::all_pass(&mut model);
        assert!(!model.animates());
        assert!(matches!(model.picture().run, Run::Done { .. }));
    }
}
