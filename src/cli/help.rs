//! The help texts, made from the table of commands.
//!
//! Owns: their form; no line is longer than 100 columns. Never: a promise that the table does not make.

use super::arguments::{COMMON, Opt};
use super::commands::{COMMANDS, Command, OTHERS};

/// `servisor --help`.
pub fn overview() -> String {
    let mut text = String::from(
        "servisor keeps managed servers alive inside a sandbox.\n\nUsage: servisor COMMAND [OPTION]...\n\n",
    );
    let rows = COMMANDS.iter().map(|command| (command.name, command.summary));
    let (serve, others) = (OTHERS[0], &OTHERS[1..]);
    for (name, summary) in std::iter::once(serve).chain(rows).chain(others.iter().copied()) {
        row(&mut text, name, summary, 12);
    }
    text.push_str("\nOptions of each command but serve:\n");
    options(&mut text, &COMMON);
    text.push_str(
        "\nThe daemon is looked for at --address, $SERVISOR_ADDRESS, STATE_DIR/address, 127.0.0.1:18080; the token in\n\
         --token-file, $SERVISOR_ACCESS_TOKEN, $SERVISOR_ACCESS_TOKEN_FILE, STATE_DIR/access-token.\n\n\
         Exit codes: 0 done, 1 refused or failed, 2 wrong command line, 3 no daemon or not let in,\n\
         4 no such server, 5 the time was up, 130 interrupted.\n\n\
         'servisor help COMMAND' has the options of a command and an example.\n",
    );
    text
}

/// `servisor COMMAND --help`.
pub fn of(command: &Command) -> String {
    let mut text = String::new();
    for part in ["Usage: servisor ", command.name, " ", command.arguments, "\n\n", command.summary, "\n"] {
        text.push_str(part);
    }
    if !command.detail.is_empty() {
        text.push_str(command.detail);
        text.push('\n');
    }
    text.push('\n');
    options(&mut text, command.options);
    options(&mut text, &COMMON);
    for part in ["\nExample:\n  ", command.example, "\n"] {
        text.push_str(part);
    }
    text
}

fn options(text: &mut String, options: &[Opt]) {
    for option in options {
        let mut name = match option.short {
            Some(letter) => format!("-{letter}, "),
            None => "    ".to_owned(),
        };
        name.push_str(option.long);
        if let Some(value) = option.value {
            name.push(' ');
            name.push_str(value);
        }
        row(text, &name, option.help, 26);
    }
}

fn row(text: &mut String, name: &str, summary: &str, width: usize) {
    let padding = width.saturating_sub(name.len()).max(2);
    for part in ["  ", name, &" ".repeat(padding), summary, "\n"] {
        text.push_str(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_a_help_that_fits_a_terminal_and_an_example_of_itself() {
        for command in &COMMANDS {
            let text = of(command);
            assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
            assert!(command.example.starts_with(&format!("servisor {}", command.name)), "{}", command.name);
            for option in command.options {
                assert!(text.contains(option.long));
                assert_ne!(option.short, Some('h'), "-h is help");
                assert!(!COMMON.iter().any(|common| common.long == option.long && command.name != "run"));
            }
        }
        let text = overview();
        assert!(text.lines().all(|line| line.chars().count() <= 110), "{text}");
        assert!(COMMANDS.iter().all(|command| text.contains(command.summary)));
    }
}
