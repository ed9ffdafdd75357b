//! What the keys do and what the words mean.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};

use super::panel;
use crate::{feed::Status, keymap::BINDINGS, model::Model, text, theme::Role};

const KEYS: usize = 11;

pub(super) fn draw(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let theme = model.theme;
    let mut lines: Vec<Line<'static>> = BINDINGS
        .iter()
        .map(|binding| {
            let keys = text::cell(binding.keys, KEYS, theme.ellipsis());
            Line::from(vec![Span::styled(keys, theme.style(Role::Key)), Span::raw(binding.help)])
        })
        .collect();
    for words in Status::ALL.chunks(3) {
        let spans = words.iter().flat_map(|&status| {
            let word = format!("{} {status} ", theme.mark(status));
            [Span::styled(word, theme.style(status.into())), Span::raw(format!("{:<15}", meaning(status)))]
        });
        lines.push(spans.collect());
    }
    panel(frame, area, theme, "Help", lines);
}

fn meaning(status: Status) -> &'static str {
    match status {
        Status::Pass => "holds",
        Status::Skip => "not examined",
        Status::Warn => "in part",
        Status::Error => "cannot tell",
        Status::Fail => "broken",
    }
}
