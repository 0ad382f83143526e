//! The help texts.
//!
//! Owns: their form; no line is longer than 100 columns. Never: a promise that the table of commands does not make.

use super::arguments::COMMON;
use super::commands::{COMMANDS, CliCommand, OTHERS};
use super::terminal::Terminal;

const HEAD: &str = "\
servisor keeps managed servers alive inside a sandbox.

Usage: servisor COMMAND [OPTION]...

  serve       start the daemon
";

const OPTIONS: &str = "
Options of each command but serve:
";

const TAIL: &str = "
The daemon is looked for at --address, $SERVISOR_ADDRESS, STATE_DIR/address, 127.0.0.1:18080; the token
in --token-file, $SERVISOR_ACCESS_TOKEN, $SERVISOR_ACCESS_TOKEN_FILE, STATE_DIR/access-token.

Exit codes: 0 done, 1 refused or failed, 2 wrong command line, 3 no daemon or access denied,
4 no such server, 5 the time was up, 130 interrupted.

'servisor help COMMAND' has the options of a command and an example.
";

/// Prints `servisor --help`.
pub fn overview(to: &mut Terminal) {
    to.print(HEAD);
    for (name, summary) in COMMANDS.iter().map(|command| (command.name, command.summary())).chain(OTHERS) {
        to.print("  ");
        to.padded(name, 12);
        to.line(summary);
    }
    for part in [OPTIONS, COMMON, TAIL] {
        to.print(part);
    }
}

/// Prints `servisor COMMAND --help`.
pub fn of(command: &CliCommand, to: &mut Terminal) {
    to.print(command.help());
    to.print(COMMON);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::arguments::options;

    #[test]
    fn each_command_has_a_help_that_fits_a_terminal_and_an_example_of_itself() {
        for command in &COMMANDS {
            let text = command.help();
            assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
            assert!(text.starts_with(&format!("Usage: servisor {}", command.name)), "{text}");
            assert!(text.contains(&format!("\nExample: servisor {}", command.name)), "{text}");
            assert!(command.summary().len() > 10 && command.summary().len() < 85, "{text}");
            let (_, own) = text.split_once("\nOptions:\n").unwrap();
            assert_eq!(options(own).count(), own.lines().count(), "{own}");
            assert_eq!(options(text).count(), own.lines().count(), "{text}");
            for option in options(own) {
                assert_ne!(option.short, b'h', "-h is help");
                assert!(!options(COMMON).any(|common| common.long == option.long));
            }
        }
        assert!([HEAD, COMMON, TAIL].concat().lines().all(|line| line.chars().count() <= 104));
    }
}
