//! The first line: what is watched, how far the run is, and how many checks ended how.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::Paragraph,
};

use crate::{
    model::{Model, Picture, Run},
    text,
    theme::{Role, Theme},
};

/// From this width on the counts have their words; the marks tell them apart without.
const WORDS: u16 = 80;

pub(super) fn draw(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let (picture, theme) = (model.picture(), model.theme);
    let mut state = Vec::new();
    if model.is_frozen() {
        state.push(Span::styled(" frozen ", theme.style(Role::Selected)));
        state.push(Span::raw(" "));
    }
    state.push(run(picture, theme));
    for (status, count) in picture.counts().filter(|&(_, count)| count > 0) {
        let mark = theme.mark(status);
        let text = if area.width < WORDS {
            format!("  {mark}{count}")
        } else {
            format!("  {mark} {count} {status}")
        };
        state.push(Span::styled(text, theme.style(status.into())));
    }
    let state = Line::from(state);
    let room = usize::from(area.width).saturating_sub(state.width() + 2);
    let full = format!("{}  {}", model.title, picture.target);
    let title = if text::width(&full) > room && !picture.target.is_empty() { &picture.target } else { &full };
    let title = text::cut(title, room, theme.ellipsis());
    frame.render_widget(Paragraph::new(Span::styled(title, theme.style(Role::Title))), area);
    frame.render_widget(Paragraph::new(state.right_aligned()), area);
}

fn run(picture: &Picture, theme: Theme) -> Span<'static> {
    match picture.run {
        Run::Waiting => Span::styled("starting", theme.style(Role::Faint)),
        Run::Running { since } => {
            let elapsed = picture.now.saturating_sub(since);
            Span::styled(
                format!("{} running {}", spinner(picture, theme), text::clock(elapsed)),
                theme.style(Role::Busy),
            )
        }
        Run::Done { took } => {
            Span::styled(format!("done in {}", text::clock(took)), theme.style(Role::Plain))
        }
        Run::Ended => Span::styled("ended", theme.style(Role::Unable)),
    }
}

/// The mark of something that runs; it turns eight times a second.
pub(super) fn spinner(picture: &Picture, theme: Theme) -> &'static str {
    let frames = theme.spinner();
    frames[(picture.now.as_millis() / 125) as usize % frames.len()]
}
