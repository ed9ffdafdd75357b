//! All that the selected check found: each finding with its reason and its remedy.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};

use super::{panel, room};
use crate::{feed::Status, model::Model, text, theme::Role};

/// Columns of a note's label.
const LABEL: usize = 10;

pub(super) fn draw(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let Some(row) = model.selected_check() else {
        return panel(frame, area, model.theme, "Details", Vec::new());
    };
    let columns = usize::from(area.width);
    let mut entries = Vec::new();
    for finding in row.findings() {
        entries.push(summary(model, finding.status, &finding.summary, columns));
        entries.extend(finding.notes.iter().map(|note| entry(model, &note.label, &note.text, columns)));
    }
    let scroll = model.scroll();
    let mut lines = text::wrap(&row.check.title, columns)
        .into_iter()
        .map(|part| Line::styled(part, model.theme.style(Role::Faint)))
        .collect::<Vec<_>>();
    lines.extend(entries.into_iter().skip(scroll).flatten());
    let more = if lines.len() > room(area) { ", more with PgDn" } else { "" };
    let title = format!("Details of {}{more}", row.check.id);
    panel(frame, area, model.theme, &title, lines);
}

fn summary(model: &Model, status: Status, summary: &str, columns: usize) -> Vec<Line<'static>> {
    let theme = model.theme;
    let label = text::cell(&format!("{} {status}", theme.mark(status)), LABEL, theme.ellipsis());
    labelled(&Span::styled(label, theme.style(status.into())), summary, columns)
}

fn entry(model: &Model, label: &str, said: &str, columns: usize) -> Vec<Line<'static>> {
    let theme = model.theme;
    let label = text::cell(&format!("  {label}"), LABEL - 1, theme.ellipsis());
    labelled(&Span::styled(format!("{label} "), theme.style(Role::Faint)), said, columns)
}

/// `said` in lines beside the label.
fn labelled(label: &Span<'static>, said: &str, columns: usize) -> Vec<Line<'static>> {
    let indent = Span::raw(" ".repeat(LABEL));
    text::wrap(said, columns.saturating_sub(LABEL))
        .into_iter()
        .enumerate()
        .map(|(at, part)| {
            Line::from(vec![if at == 0 { label.clone() } else { indent.clone() }, Span::raw(part)])
        })
        .collect()
}
