//! Completions for shells, made from the table of commands.
//!
//! Owns: the three scripts. Never: a request: the scripts ask `servisor ps -q` for names, which is silent without a daemon.

use super::arguments::{COMMON, Opt};
use super::commands::{COMMANDS, Command, OTHERS};

/// `servisor completion --help`.
pub const HELP: &str = "\
Usage: servisor completion bash|zsh|fish

print completions for a shell

Example:
  source <(servisor completion bash)
";

const NAMES: &str = "servisor ps -q --timeout 0 2>/dev/null";

fn words() -> String {
    let names: Vec<&str> = COMMANDS.iter().map(|command| command.name).chain(OTHERS.map(|(name, _)| name)).collect();
    names.join(" ")
}

fn options(command: &Command) -> impl Iterator<Item = &Opt> {
    command.options.iter().chain(&COMMON)
}

fn names(command: &Command) -> String {
    let names: Vec<&str> = options(command).map(|option| option.long).collect();
    names.join(" ")
}

/// For bash, without the bash-completion package.
pub fn bash() -> String {
    let mut text = format!(
        "_servisor() {{\n  local word=${{COMP_WORDS[COMP_CWORD]}} options\n  if [ \"$COMP_CWORD\" -eq 1 ]; then\n    \
         COMPREPLY=($(compgen -W '{} --help --version' -- \"$word\"))\n    return\n  fi\n  case ${{COMP_WORDS[1]}} in\n",
        words()
    );
    for command in &COMMANDS {
        text.push_str(&format!("    {}) options='{}' ;;\n", command.name, names(command)));
    }
    text.push_str(&format!(
        "    completion) COMPREPLY=($(compgen -W 'bash zsh fish' -- \"$word\")); return ;;\n    \
         help) COMPREPLY=($(compgen -W '{}' -- \"$word\")); return ;;\n    up) ;;\n  esac\n  case $word in\n    \
         -*) COMPREPLY=($(compgen -W \"$options\" -- \"$word\")) ;;\n    \
         *) if [ \"${{COMP_WORDS[1]}}\" = up ]; then COMPREPLY=($(compgen -f -- \"$word\"))\n       \
         else COMPREPLY=($(compgen -W \"$({NAMES})\" -- \"$word\")); fi ;;\n  esac\n}}\ncomplete -F _servisor servisor\n",
        words()
    ));
    text
}

/// For zsh.
pub fn zsh() -> String {
    let mut text = String::from("#compdef servisor\n_servisor() {\n  local -a commands options\n  commands=(\n");
    let rows = COMMANDS.iter().map(|command| (command.name, command.summary)).chain(OTHERS);
    for (name, summary) in rows {
        text.push_str(&format!("    '{name}:{}'\n", summary.replace('\'', "'\\''").replace(':', "\\:")));
    }
    text.push_str(
        "  )\n  if (( CURRENT == 2 )); then\n    _describe command commands\n    return\n  fi\n  case $words[2] in\n",
    );
    for command in &COMMANDS {
        text.push_str(&format!("    {}) options=({}) ;;\n", command.name, names(command)));
    }
    text.push_str(&format!(
        "    completion) compadd bash zsh fish; return ;;\n    help) compadd {}; return ;;\n  esac\n  \
         if [[ $words[CURRENT] == -* ]]; then\n    compadd -- $options\n  elif [[ $words[2] == up ]]; then\n    _files\n  \
         else\n    compadd -- ${{(f)\"$({NAMES})\"}}\n  fi\n}}\n\
         if [ \"$funcstack[1]\" = _servisor ]; then _servisor \"$@\"; else compdef _servisor servisor; fi\n",
        words()
    ));
    text
}

/// For fish.
pub fn fish() -> String {
    let mut text = String::from("complete -c servisor -f\n");
    let rows = COMMANDS.iter().map(|command| (command.name, command.summary)).chain(OTHERS);
    for (name, summary) in rows {
        let summary = summary.replace('\'', "\\'");
        text.push_str(&format!("complete -c servisor -n __fish_use_subcommand -a {name} -d '{summary}'\n"));
    }
    for command in &COMMANDS {
        for option in options(command) {
            let seen = format!("complete -c servisor -n '__fish_seen_subcommand_from {}'", command.name);
            let short = option.short.map(|letter| format!(" -s {letter}")).unwrap_or_default();
            let value = if option.value.is_some() { " -r" } else { "" };
            let help = option.help.replace('\'', "\\'");
            text.push_str(&format!("{seen}{short} -l {}{value} -d '{help}'\n", option.long.trim_start_matches('-')));
        }
    }
    text.push_str("complete -c servisor -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'\n");
    text.push_str("complete -c servisor -n '__fish_seen_subcommand_from up' -F\n");
    let slugs: Vec<&str> = COMMANDS.iter().filter(|one| one.arguments.contains("SLUG")).map(|one| one.name).collect();
    text.push_str(&format!(
        "complete -c servisor -n '__fish_seen_subcommand_from {}' -a '({NAMES})'\n",
        slugs.join(" ")
    ));
    text
}
