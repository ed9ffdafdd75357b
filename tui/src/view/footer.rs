//! The last line: the keys that have a hint, as many as fit.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::Paragraph,
};

use crate::{
    keymap::{BINDINGS, Command},
    model::Model,
    text,
    theme::Role,
};

pub(super) fn draw(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let theme = model.theme;
    let mut spans: Vec<Span<'static>> = Vec::new();
    let mut room = usize::from(area.width);
    for binding in BINDINGS {
        let Some(hint) = binding.hint else { continue };
        let Some((key, meaning)) = hint.split_once(' ') else { continue };
        if binding.command == Command::Rerun && !model.can_rerun() {
            continue;
        }
        let gap = if spans.is_empty() { String::new() } else { format!(" {} ", theme.dot()) };
        let Some(rest) = room.checked_sub(text::width(&gap) + text::width(hint)) else { break };
        room = rest;
        spans.push(Span::styled(gap, theme.style(Role::Faint)));
        spans.push(Span::styled(key, theme.style(Role::Key)));
        spans.push(Span::raw(format!(" {meaning}")));
    }
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
}
