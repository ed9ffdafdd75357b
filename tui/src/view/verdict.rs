//! What all findings come to.

use ratatui::text::{Line, Span};

use crate::{
    model::{Model, Run},
    text,
    theme::Role,
};

/// Most lines of the headline, and of the advice.
const MOST: usize = 2;

pub(super) fn lines(model: &Model, columns: u16) -> Vec<Line<'static>> {
    let theme = model.theme;
    let Some(verdict) = &model.picture().verdict else {
        let text = match model.picture().run {
            Run::Waiting | Run::Running { .. } => "none yet: the checks are not done",
            Run::Done { .. } | Run::Ended => "none: the checks came to no conclusion",
        };
        return vec![Line::styled(text, theme.style(Role::Faint))];
    };
    let label = format!("{} {}  ", theme.mark(verdict.status), verdict.status);
    let indent = text::width(&label);
    let room = usize::from(columns).saturating_sub(indent);
    let mut lines: Vec<Line<'static>> = Vec::new();
    for (at, part) in text::wrap_to(&verdict.headline, room, MOST, theme.ellipsis()).into_iter().enumerate() {
        let label = if at == 0 { label.clone() } else { " ".repeat(indent) };
        lines.push(Line::from(vec![
            Span::styled(label, theme.style(verdict.status.into())),
            Span::styled(part, theme.style(Role::Title)),
        ]));
    }
    for part in text::wrap_to(&verdict.advice, room, MOST, theme.ellipsis()) {
        lines.push(Line::raw(format!("{:indent$}{part}", "")));
    }
    lines
}
