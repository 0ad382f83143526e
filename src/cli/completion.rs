//! Completions for shells.
//!
//! Owns: the three scripts, and the words that they ask for with `servisor completion words -- WORD...`. Never: a
//! message: a completion without a daemon has no names, and nothing else happens.

use std::time::Duration;

use super::CliExit;
use super::api::ApiClient;
use super::arguments::{COMMON, options};
use super::commands::{COMMANDS, OTHERS, find_command};
use super::find::daemon;
use super::goal::Goal;
use super::server::{Server, list};
use super::terminal::Terminal;

pub const HELP: &str = "\
Usage: servisor completion bash|zsh|fish

print completions for a shell

Example: source <(servisor completion bash)
";

const SHELLS: [(&str, &str); 3] = [("bash", BASH), ("zsh", ZSH), ("fish", FISH)];

pub fn script(shell: &str) -> Option<&'static str> {
    SHELLS.iter().find(|(name, _)| *name == shell).map(|(_, script)| *script)
}

/// A person waits for the names.
const LIMIT: Duration = Duration::from_secs(1);

// Works without the bash-completion package. `=` and `:` split words there; a piece is completed as what it is.
const BASH: &str = r#"_servisor() {
  local IFS=$'\n'
  COMPREPLY=($(compgen -W "$(servisor completion words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f1)" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _servisor servisor
"#;

const ZSH: &str = r#"#compdef servisor
_servisor() {
  local -a found
  local line
  for line in "${(@f)$(servisor completion words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
    [[ -n $line ]] && found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
  done
  if (( $#found )); then _describe -V servisor found; else _files; fi
}
if [ "$funcstack[1]" = _servisor ]; then _servisor "$@"; else compdef _servisor servisor; fi
"#;

const FISH: &str = r#"function __servisor_words
  set -l words (commandline -opc) (commandline -ct)
  servisor completion words -- $words[2..] 2>/dev/null
end
complete -c servisor -f -a '(__servisor_words)'
complete -c servisor -n '__fish_seen_subcommand_from up' -F
"#;

/// Prints what can stand in the place of the last one of `words`, one in a line, with what it is behind a tab.
pub fn words(words: &[&'static str], variable: super::find::Variable<'_>, to: &mut Terminal) -> CliExit {
    let Some((last, before)) = words.split_last() else { return CliExit::Done };
    let mut print = |word: &str, help: &str| {
        for part in [word, "\t", help, "\n"] {
            to.print(part);
        }
    };
    let Some(name) = before.first() else {
        for (name, summary) in [("serve", "start the daemon")]
            .into_iter()
            .chain(COMMANDS.iter().map(|one| (one.name, one.summary())))
            .chain(OTHERS)
        {
            print(name, summary);
        }
        return CliExit::Done;
    };
    match *name {
        "help" => COMMANDS.iter().for_each(|command| print(command.name, command.summary())),
        "completion" => SHELLS.iter().for_each(|(shell, _)| print(shell, "")),
        _ => {}
    }
    let Some(command) = find_command(name) else { return CliExit::Done };
    if before.last() == Some(&"--for") {
        Goal::ALL.iter().for_each(|(word, _)| print(word, ""));
    } else if last.starts_with('-') {
        options(command.help()).chain(options(COMMON)).for_each(|option| print(option.long, option.help));
    } else if command.takes_slugs()
        && let Ok(daemon) = daemon(&super::arguments::Parsed::default(), variable)
        && let Ok(answer) = ApiClient::with_limit(daemon, LIMIT).get("/servers")
    {
        list(answer.body.0, "servers").iter().map(Server).for_each(|server| print(server.slug(), server.status()));
    }
    CliExit::Done
}
