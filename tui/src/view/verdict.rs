//! What all findings come to.

use ratatui::{
    layout::Size,
    text::{Line, Span},
};

use crate::{
    model::{Model, Run},
    text,
    theme::Role,
};

/// Most lines of the headline.
const HEADLINE: usize = 2;

/// The verdict in lines of the panel of an overview of that size.
pub(super) fn lines(model: &Model, overview: Size) -> Vec<Line<'static>> {
    let theme = model.theme;
    let Some(verdict) = &model.picture().verdict else {
        let text = match model.picture().run {
            Run::Waiting | Run::Running { .. } => "none yet: the checks are not done",
            Run::Done { .. } | Run::Ended => "none: the checks came to no conclusion",
        };
        return vec![Line::styled(text, theme.style(Role::Faint))];
    };
    let label = format!("{} {}  ", theme.mark(verdict.status), verdict.word);
    let indent = text::width(&label);
    let room = usize::from(overview.width).saturating_sub(indent);
    let headline = text::wrap_to(&verdict.headline, room, HEADLINE, theme.ellipsis());
    let advice =
        text::wrap_to(&verdict.advice.join("\n"), room, usize::from(overview.height / 6), theme.ellipsis());
    let mut lines: Vec<Line<'static>> = Vec::new();
    for (at, part) in headline.into_iter().enumerate() {
        let label = if at == 0 { label.clone() } else { " ".repeat(indent) };
        lines.push(Line::from(vec![
            Span::styled(label, theme.style(verdict.status.into())),
            Span::styled(part, theme.style(Role::Title)),
        ]));
    }
    lines.extend(advice.into_iter().map(|part| Line::raw(format!("{:indent$}{part}", ""))));
    lines
}
