//! Which key does what. The dispatch, the footer and the help all come from [`BINDINGS`].

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// What the user can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Quit,
    Interrupt,
    Help,
    Details,
    Rerun,
    Freeze,
    Down,
    Up,
    PageDown,
    PageUp,
    Back,
}

/// One row of the table.
pub(crate) struct Binding {
    pub(crate) command: Command,
    /// The keys as the help names them.
    pub(crate) keys: &'static str,
    /// What the help says.
    pub(crate) help: &'static str,
    /// What the footer says; nothing for keys that everybody tries anyway.
    pub(crate) hint: Option<&'static str>,
    codes: &'static [(KeyCode, KeyModifiers)],
}

const NONE: KeyModifiers = KeyModifiers::NONE;

/// Every key of the view, in the order in which help and footer name them.
pub(crate) const BINDINGS: &[Binding] = &[
    Binding {
        command: Command::Quit,
        keys: "q",
        help: "quit",
        hint: Some("q quit"),
        codes: &[(KeyCode::Char('q'), NONE)],
    },
    Binding {
        command: Command::Interrupt,
        keys: "Ctrl-C",
        help: "quit, and say so to whoever started this",
        hint: None,
        codes: &[(KeyCode::Char('c'), KeyModifiers::CONTROL)],
    },
    Binding {
        command: Command::Help,
        keys: "?",
        help: "show or hide this page",
        hint: Some("? help"),
        codes: &[(KeyCode::Char('?'), NONE)],
    },
    Binding {
        command: Command::Details,
        keys: "Enter",
        help: "show all that the selected check found",
        hint: Some("enter details"),
        codes: &[(KeyCode::Enter, NONE)],
    },
    Binding {
        command: Command::Rerun,
        keys: "r",
        help: "run the checks again, once they are done",
        hint: Some("r rerun"),
        codes: &[(KeyCode::Char('r'), NONE)],
    },
    Binding {
        command: Command::Freeze,
        keys: "Space",
        help: "hold the picture while measuring goes on",
        hint: Some("space freeze"),
        codes: &[(KeyCode::Char(' '), NONE)],
    },
    Binding {
        command: Command::Down,
        keys: "Down, j",
        help: "select the next check",
        hint: Some("j/k select"),
        codes: &[(KeyCode::Down, NONE), (KeyCode::Char('j'), NONE)],
    },
    Binding {
        command: Command::Up,
        keys: "Up, k",
        help: "select the previous check",
        hint: None,
        codes: &[(KeyCode::Up, NONE), (KeyCode::Char('k'), NONE)],
    },
    Binding {
        command: Command::PageDown,
        keys: "PgDn",
        help: "scroll the details",
        hint: None,
        codes: &[(KeyCode::PageDown, NONE)],
    },
    Binding {
        command: Command::PageUp,
        keys: "PgUp",
        help: "scroll the details back",
        hint: None,
        codes: &[(KeyCode::PageUp, NONE)],
    },
    Binding {
        command: Command::Back,
        keys: "Esc",
        help: "go back",
        hint: None,
        codes: &[(KeyCode::Esc, NONE)],
    },
];

/// What a key asks for.
pub(crate) fn command(key: KeyEvent) -> Option<Command> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    // Terminals differ in whether a character such as `?` comes with Shift.
    let pressed = (key.code, key.modifiers.difference(KeyModifiers::SHIFT));
    BINDINGS.iter().find(|binding| binding.codes.contains(&pressed)).map(|binding| binding.command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_stands_twice() {
        let codes: Vec<_> = BINDINGS.iter().flat_map(|b| b.codes).collect();
        for (at, code) in codes.iter().enumerate() {
            assert!(!codes[..at].contains(code), "{code:?}");
        }
    }

    #[test]
    fn a_character_may_come_with_shift_but_not_with_control() {
        let key = |c, modifiers| command(KeyEvent::new(KeyCode::Char(c), modifiers));
        assert_eq!(key('?', KeyModifiers::SHIFT), Some(Command::Help));
        assert_eq!(key('q', KeyModifiers::CONTROL), None);
        assert_eq!(key('c', KeyModifiers::CONTROL), Some(Command::Interrupt));
        assert_eq!(key('c', KeyModifiers::NONE), None);
    }
}
