//! The checks under the headings of their groups, scrolled so that the selected one is in sight.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};

use super::{header, panel, room};
use crate::{
    model::{CheckRow, Model, Progress},
    text,
    theme::Role,
};

/// Columns of the mark and the word before a check.
const STATUS: usize = 10;

/// Most columns that the names of checks may take.
const LONGEST_ID: usize = 20;

pub(super) fn draw(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let (checks, selected) = (&model.picture().checks, model.selected());
    let columns = usize::from(area.width);
    let ids = checks.iter().map(|c| text::width(&c.check.id)).max().unwrap_or(0).min(LONGEST_ID);
    let mut lines = Vec::new();
    let mut at = 0;
    for (index, row) in checks.iter().enumerate() {
        let group = &row.check.group;
        if index == 0 || *group != checks[index - 1].check.group {
            lines.push(heading(model, group, columns));
        }
        if index == selected {
            at = lines.len();
        }
        lines.push(line(model, row, index == selected, ids, columns));
    }
    let room = room(area);
    let first = at.saturating_sub(room / 2).min(lines.len().saturating_sub(room));
    let finished = checks.iter().filter(|c| c.status().is_some()).count();
    let title = format!("Checks {finished}/{}", checks.len());
    panel(frame, area, model.theme, &title, lines.split_off(first));
}

fn heading(model: &Model, group: &str, columns: usize) -> Line<'static> {
    Line::styled(text::cut(group, columns, model.theme.ellipsis()), model.theme.style(Role::Title))
}

fn line(model: &Model, row: &CheckRow, selected: bool, ids: usize, columns: usize) -> Line<'static> {
    let theme = model.theme;
    let (status, role, said) = match (&row.progress, row.status()) {
        (Progress::Running, _) => {
            let mark = header::spinner(model.picture(), theme);
            (format!("{mark} run"), Role::Busy, row.check.title.as_str())
        }
        (_, Some(status)) => (format!("{} {status}", theme.mark(status)), status.into(), row.summary()),
        (_, None) => ("  wait".to_owned(), Role::Faint, row.check.title.as_str()),
    };
    let id = text::cell(&row.check.id, ids, theme.ellipsis());
    let said = text::cell(said, columns.saturating_sub(STATUS + ids + 2), theme.ellipsis());
    let line = Line::from(vec![
        Span::styled(format!("  {status:<width$}", width = STATUS - 2), theme.style(role)),
        Span::styled(id, theme.style(Role::Plain)),
        Span::raw("  "),
        Span::styled(said, theme.style(if row.status().is_some() { Role::Plain } else { Role::Faint })),
    ]);
    if selected { line.style(theme.style(Role::Selected)) } else { line }
}
