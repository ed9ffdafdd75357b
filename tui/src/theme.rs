//! What each role looks like. Nothing else in the crate names a colour or a glyph.
//!
//! A colour never stands alone: the view writes the word beside it.

use ratatui::style::{Color, Modifier, Style};

use crate::{feed::Status, history::Reach};

/// What a piece of text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Plain,
    Title,
    Faint,
    Key,
    Selected,
    Busy,
    Good,
    Doubtful,
    Unable,
    Bad,
}

impl From<Status> for Role {
    fn from(status: Status) -> Self {
        match status {
            Status::Pass => Self::Good,
            Status::Skip => Self::Faint,
            Status::Warn => Self::Doubtful,
            Status::Error => Self::Unable,
            Status::Fail => Self::Bad,
        }
    }
}

impl From<Reach> for Role {
    fn from(reach: Reach) -> Self {
        match reach {
            Reach::Unknown => Self::Faint,
            Reach::Up => Self::Good,
            Reach::Down => Self::Bad,
        }
    }
}

/// The look of the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// Whether roles differ in colour; otherwise in weight only.
    pub colour: bool,
    /// Whether marks, rules and bars are drawn in ASCII only.
    pub ascii: bool,
}

impl Theme {
    pub(crate) fn style(self, role: Role) -> Style {
        let style = match role {
            Role::Title | Role::Key | Role::Bad => Style::new().add_modifier(Modifier::BOLD),
            Role::Selected => Style::new().add_modifier(Modifier::REVERSED),
            Role::Faint => Style::new().add_modifier(Modifier::DIM),
            Role::Doubtful | Role::Unable if !self.colour => Style::new().add_modifier(Modifier::BOLD),
            Role::Plain | Role::Busy | Role::Good | Role::Doubtful | Role::Unable => Style::new(),
        };
        let colour = match role {
            Role::Plain | Role::Title | Role::Faint | Role::Selected => None,
            Role::Key | Role::Busy => Some(Color::Cyan),
            Role::Good => Some(Color::Green),
            Role::Doubtful => Some(Color::Yellow),
            Role::Unable => Some(Color::Magenta),
            Role::Bad => Some(Color::Red),
        };
        match colour {
            Some(colour) if self.colour => style.fg(colour),
            _ => style,
        }
    }

    pub(crate) fn mark(self, status: Status) -> &'static str {
        match (self.ascii, status) {
            (false, Status::Pass) => "√",
            (false, Status::Warn) => "‼",
            (false, Status::Fail) => "×",
            (true, Status::Pass) => "+",
            (true, Status::Warn) => "!",
            (true, Status::Fail) => "x",
            (_, Status::Skip) => "-",
            (_, Status::Error) => "?",
        }
    }

    pub(crate) fn reach_mark(self, reach: Reach) -> &'static str {
        match reach {
            Reach::Unknown => " ",
            Reach::Up => self.mark(Status::Pass),
            Reach::Down => self.mark(Status::Fail),
        }
    }

    /// The frames of the mark of something that runs.
    pub(crate) fn spinner(self) -> &'static [&'static str] {
        if self.ascii {
            &["|", "/", "-", "\\"]
        } else {
            &["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧"]
        }
    }

    /// The bars of a sparkline, the lowest first.
    pub(crate) fn bars(self) -> &'static [&'static str] {
        if self.ascii {
            &["_", ".", "-", "=", "*", "#"]
        } else {
            &["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"]
        }
    }

    pub(crate) fn rule(self) -> &'static str {
        if self.ascii { "-" } else { "─" }
    }

    pub(crate) fn ellipsis(self) -> &'static str {
        if self.ascii { "~" } else { "…" }
    }

    pub(crate) fn dot(self) -> &'static str {
        if self.ascii { "|" } else { "·" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_colour_no_role_has_one() {
        let theme = Theme { colour: false, ascii: false };
        for role in [
            Role::Plain,
            Role::Title,
            Role::Key,
            Role::Busy,
            Role::Good,
            Role::Doubtful,
            Role::Unable,
            Role::Bad,
        ] {
            assert_eq!((theme.style(role).fg, theme.style(role).bg), (None, None), "{role:?}");
        }
    }
}
