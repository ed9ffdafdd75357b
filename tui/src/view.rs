//! The picture of a model. Pure: the same model and area give the same cells.
//!
//! ```text
//!  header                    target, run, counts
//!  ── Verdict ─────────────  headline, advice
//!  ── Checks ──── ── Paths   wide: two columns
//!                 ── Details
//!  ── Events ────
//!  footer                    keys
//! ```
//! Narrow terminals stack the panels, and low ones leave out the events and then the details.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::{Line, Span},
    widgets::Paragraph,
};

use crate::{
    model::{Model, Page},
    text,
    theme::{Role, Theme},
};

mod checks;
mod details;
mod events;
mod footer;
mod header;
mod help;
mod paths;
mod sparkline;
mod verdict;

/// The smallest terminal that shows anything of use.
const SMALLEST: (u16, u16) = (60, 16);

/// From here on the panels stand in two columns.
const WIDE: u16 = 100;

/// Draws the model.
pub(crate) fn view(model: &Model, frame: &mut Frame<'_>) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        return too_small(frame, area);
    }
    let [top, body, bottom] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)]).areas(area);
    header::draw(model, frame, top);
    match model.page {
        Page::Overview => overview(model, frame, body),
        Page::Details => details::draw(model, frame, body),
        Page::Help => help::draw(model, frame, body),
    }
    footer::draw(model, frame, bottom);
}

fn overview(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let verdict = verdict::lines(model, area.as_size());
    let [top, rest] =
        Layout::vertical([Constraint::Length(verdict.len() as u16 + 1), Constraint::Fill(1)]).areas(area);
    panel(frame, top, model.theme, "Verdict", verdict);
    if area.width >= WIDE { two_columns(model, frame, rest) } else { one_column(model, frame, rest) }
}

fn two_columns(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let [left, right] =
        Layout::horizontal([Constraint::Percentage(52), Constraint::Fill(1)]).spacing(2).areas(area);
    let [checks, events] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(events_height(area.height))]).areas(left);
    checks::draw(model, frame, checks);
    events::draw(model, frame, events);
    let wanted = paths::FULL * model.picture().paths.len().max(1) as u16;
    let [paths, details] =
        Layout::vertical([Constraint::Length((wanted + 1).min(area.height / 2)), Constraint::Fill(1)])
            .areas(right);
    paths::draw(model, frame, paths);
    details::draw(model, frame, details);
}

fn one_column(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let wanted = model.picture().paths.len().max(1) as u16 + 1;
    let details = if area.height >= 16 { area.height / 3 } else { 0 };
    let [checks, paths, details, events] = Layout::vertical([
        Constraint::Fill(1),
        Constraint::Length(wanted.min(area.height / 3)),
        Constraint::Length(details),
        Constraint::Length(events_height(area.height)),
    ])
    .areas(area);
    checks::draw(model, frame, checks);
    paths::draw(model, frame, paths);
    details::draw(model, frame, details);
    events::draw(model, frame, events);
}

/// Rows of the events, heading included.
fn events_height(body: u16) -> u16 {
    if body >= 24 { 6 } else { 0 }
}

fn too_small(frame: &mut Frame<'_>, area: Rect) {
    let (width, height) = SMALLEST;
    let text = format!("needs {width}x{height}, this is {}x{}", area.width, area.height);
    let lines = text::wrap(&text, usize::from(area.width)).into_iter().map(Line::from);
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), area);
}

/// A panel: a rule with a title in it, and lines beneath as far as they fit.
fn panel(frame: &mut Frame<'_>, area: Rect, theme: Theme, title: &str, lines: Vec<Line<'_>>) {
    if area.is_empty() {
        return;
    }
    let rule = theme.rule();
    let rest = usize::from(area.width).saturating_sub(text::width(title) + 4);
    let heading = Line::from(vec![
        Span::styled(rule.repeat(2), theme.style(Role::Faint)),
        Span::styled(format!(" {title} "), theme.style(Role::Title)),
        Span::styled(rule.repeat(rest), theme.style(Role::Faint)),
    ]);
    frame.render_widget(Paragraph::new([vec![heading], lines].concat()), area);
}

/// Lines that fit into a panel of that height, beneath its heading.
fn room(area: Rect) -> usize {
    usize::from(area.height.saturating_sub(1))
}

#[cfg(test)]
mod tests;
