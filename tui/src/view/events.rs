//! The log: what changed, the latest last.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};

use super::{panel, room};
use crate::{model::Model, text, theme::Role};

pub(super) fn draw(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let events = &model.picture().events;
    let theme = model.theme;
    let shown = events.iter().skip(events.len().saturating_sub(room(area)));
    let lines = shown
        .map(|(at, said)| {
            let clock = format!("{} ", text::clock(*at));
            let room = usize::from(area.width).saturating_sub(text::width(&clock));
            let said = text::cut(said, room, theme.ellipsis());
            Line::from(vec![Span::styled(clock, theme.style(Role::Faint)), Span::raw(said)])
        })
        .collect();
    panel(frame, area, theme, "Events", lines);
}
