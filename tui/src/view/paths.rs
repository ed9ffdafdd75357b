//! The paths: whether each is up, its round trips, its loss, and its latest samples as a sparkline.

use std::time::Duration;

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};

use super::{panel, room, sparkline::sparkline};
use crate::{
    history::{Figures, Reach},
    model::{Model, PathRow},
    text,
    theme::{Role, Theme},
};

/// Lines of a path where there is room.
pub(super) const FULL: u16 = 3;

/// Columns of the figures on a single line.
const FIGURES: usize = 26;

/// Most columns that the names of paths may take.
const LONGEST_NAME: usize = 22;

pub(super) fn draw(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let (paths, theme) = (&model.picture().paths, model.theme);
    let columns = usize::from(area.width);
    let names = paths.iter().map(|row| text::width(&row.path.name)).max().unwrap_or(0).min(LONGEST_NAME);
    let lines = if paths.is_empty() {
        vec![Line::styled("none known yet", theme.style(Role::Faint))]
    } else if room(area) >= paths.len() * usize::from(FULL) {
        paths.iter().flat_map(|row| full(row, theme, names, columns)).collect()
    } else {
        paths.iter().map(|row| short(row, theme, names, columns)).collect()
    };
    panel(frame, area, theme, "Paths", lines);
}

fn full(row: &PathRow, theme: Theme, names: usize, columns: usize) -> [Line<'static>; FULL as usize] {
    let mut first = name(row, theme, names);
    let used: usize = first.iter().map(Span::width).sum();
    let route = text::cut(&row.path.route, columns.saturating_sub(used), theme.ellipsis());
    first.push(Span::styled(route, theme.style(Role::Faint)));
    let figures = said(row, columns.saturating_sub(2), theme);
    let mut bars = vec![Span::raw("  ")];
    bars.extend(sparkline(row.history.latest_first(), columns.saturating_sub(2), theme));
    [Line::from(first), Line::raw(format!("  {figures}")), Line::from(bars)]
}

fn short(row: &PathRow, theme: Theme, names: usize, columns: usize) -> Line<'static> {
    let mut line = name(row, theme, names);
    let used: usize = line.iter().map(Span::width).sum();
    let figures = match (&row.obstacle, row.history.figures()) {
        (Some(why), Some(_)) if row.history.reach() == Reach::Down => why.clone(),
        (_, Some(figures)) => format!("{} ms  loss {}", millis(figures.last), text::percent(figures.loss)),
        (_, None) => "no sample yet".to_owned(),
    };
    line.push(Span::raw(text::cell(&figures, FIGURES.min(columns.saturating_sub(used)), theme.ellipsis())));
    line.push(Span::raw(" "));
    line.extend(sparkline(row.history.latest_first(), columns.saturating_sub(used + FIGURES + 1), theme));
    Line::from(line)
}

fn name(row: &PathRow, theme: Theme, names: usize) -> Vec<Span<'static>> {
    let reach = row.history.reach();
    let word = format!("{} {:<4} ", theme.reach_mark(reach), reach.word());
    let name = text::cell(&row.path.name, names, theme.ellipsis());
    vec![
        Span::styled(word, theme.style(reach.into())),
        Span::styled(name, theme.style(Role::Title)),
        Span::raw("  "),
    ]
}

/// The figures, the most telling ones first; those that do not fit are left out as a whole.
fn said(row: &PathRow, columns: usize, theme: Theme) -> String {
    let Some(figures) = row.history.figures() else { return "no sample yet".to_owned() };
    let Figures { last, p50, p95, jitter, loss } = figures;
    let loss = format!("loss {}", text::percent(loss));
    if row.history.reach() == Reach::Down {
        let why = row.obstacle.as_deref().unwrap_or("no answer");
        return text::cut(&format!("{loss}  {why}"), columns, theme.ellipsis());
    }
    let (last, p50, p95, jitter) = (millis(last), millis(p50), millis(p95), millis(jitter));
    let mut said = format!("{last} ms  {loss}");
    for figure in [format!("  p50 {p50}"), format!("  p95 {p95}"), format!("  jitter {jitter}")] {
        if text::width(&said) + text::width(&figure) > columns {
            break;
        }
        said += &figure;
    }
    said
}

fn millis(value: Option<Duration>) -> String {
    value.map_or_else(|| "-".to_owned(), text::millis)
}
