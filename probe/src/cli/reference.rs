//! What the program tells about itself: its checks and codes, its manual page, completions for shells.

use std::fmt::Write as _;

use clap::{Command, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::{check::Check, codes::Code};

/// Every check by group: what it asks, what it reports, whom it talks to.
pub(super) fn list(checks: &[Check]) -> String {
    let mut text = String::new();
    let mut groups: Vec<_> = checks.iter().map(|c| c.group).collect();
    groups.sort_unstable();
    groups.dedup();
    for group in groups {
        let _ = writeln!(text, "{}", group.title());
        for check in checks.iter().filter(|c| c.group == group) {
            let codes: Vec<_> = check.codes().map(|code| code.to_string()).collect();
            let _ = writeln!(text, "  {:<18} {}", check.id, check.question);
            for (label, value) in [("codes", wrapped(&codes)), ("contacts", check.contacts.to_owned())] {
                let _ = writeln!(text, "  {:<18} {label:<8} {value}", "");
            }
        }
        text.push('\n');
    }
    text += "What a code means: hubs-probe explain CODE. No other party is contacted than those named here, and those that\n\
        options ask for: the servers of --stun, Azure through az with --azure, the cluster's API with --kube.\n";
    text
}

/// As many codes on a line as fit beside the others.
fn wrapped(codes: &[String]) -> String {
    let lines: Vec<_> = codes.chunks(8).map(|line| line.join(" ")).collect();
    lines.join(&format!("\n{:30}", ""))
}

/// Every code with what it asserts.
pub(super) fn codes() -> String {
    let mut text = String::from("Codes (hubs-probe explain CODE)\n");
    for code in Code::ALL {
        let _ = writeln!(text, "  {code}  {}", code.title());
    }
    text
}

/// Completions for a shell.
pub(super) fn completions(mut command: Command, shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "hubs-probe", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// The manual page of the program, or of one of its commands.
pub(super) fn manual(program: Command, command: Option<ManualOf>) -> String {
    let mut program = program.disable_help_subcommand(true);
    program.build();
    let name = command
        .map(|command| command.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned()));
    let described = name.and_then(|name| program.find_subcommand(&name).cloned()).unwrap_or(program);
    let mut page = Vec::new();
    // Writing to memory does not fail.
    let _ = Man::new(described).render(&mut page);
    String::from_utf8_lossy(&page).into_owned()
}

/// The commands with a manual page of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ManualOf {
    /// `hubs-probe check`
    Check,
    /// `hubs-probe watch`
    Watch,
    /// `hubs-probe nsg`
    Nsg,
    /// `hubs-probe lint`
    Lint,
    /// `hubs-probe demo`
    Demo,
    /// `hubs-probe sweep`
    Sweep,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{checks::CHECKS, cli::command};

    #[test]
    fn the_list_shows_every_check_with_all_of_its_codes() {
        let text = list(CHECKS);
        for check in CHECKS {
            assert!(
                text.contains(check.id) && text.contains(check.question) && text.contains(check.contacts)
            );
            for code in check.codes() {
                assert!(text.contains(&code.to_string()), "{code}");
            }
        }
        assert!(text.lines().all(|line| line.chars().count() <= 115), "{text}");
        for option in ["--resolver", "--stun", "--azure", "--kube", "--agent", "--relay-admin"] {
            assert!(text.contains(option), "who is contacted with {option} is not said");
        }
    }

    #[test]
    fn each_shell_gets_completions_that_know_the_commands() {
        for shell in Shell::value_variants() {
            let script = completions(command(), *shell);
            assert!(script.contains("explain") && script.contains("suppress"), "{shell}: {script}");
        }
    }

    #[test]
    fn the_manual_describes_the_program_and_each_of_its_commands() {
        let page = manual(command(), None);
        assert!(page.contains(".SH SUBCOMMANDS") && page.contains("hubs\\-probe\\-check(1)"), "{page}");
        for of in ManualOf::value_variants() {
            let page = manual(command(), Some(*of));
            let name = of.to_possible_value().unwrap().get_name().to_owned();
            assert!(page.contains(&format!("hubs\\-probe\\-{name}")), "{page}");
            assert!(!page.contains(".SH SUBCOMMANDS"), "{page}");
        }
    }
}
