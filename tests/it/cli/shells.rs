//! Completions, in the shells themselves where this machine has them.

use std::process::Command;

use serde_json::json;

use super::super::support::{Daemon, TOKEN};
use super::line;

fn words(daemon: &Daemon, typed: &str) -> Vec<String> {
    let said = line(daemon, &format!("completion words -- {typed}")).done();
    said.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

#[test]
fn each_place_has_its_words() {
    let daemon = Daemon::start();
    daemon.client.create(&json!({"slug": "web-1", "start": "sleep 600"})).server(201);
    let commands = words(&daemon, "p");
    assert!(["ps", "run", "serve", "completion", "help"].iter().all(|name| commands.contains(&(*name).to_owned())));
    assert_eq!(words(&daemon, "stop w"), ["web-1"]);
    assert_eq!(words(&daemon, "ps w"), ["web-1"]);
    assert!(words(&daemon, "logs --f").contains(&"--follow".to_owned()));
    assert!(words(&daemon, "logs --f").contains(&"--json".to_owned()));
    assert!(words(&daemon, "wait --for r").contains(&"ready".to_owned()));
    assert_eq!(words(&daemon, "completion b"), ["bash", "zsh", "fish"]);
    assert!(words(&daemon, "help p").contains(&"ps".to_owned()));
    assert_eq!(words(&daemon, "up P"), Vec::<String>::new());
}

#[test]
fn without_a_daemon_nothing_is_completed_and_nothing_said() {
    let mut daemon = Daemon::start();
    daemon.kill();
    let quiet = line(&daemon, "completion words -- stop w");
    assert_eq!((quiet.code, quiet.out.as_str(), quiet.err.as_str()), (Some(0), "", ""));
}

/// Has a shell source its script and complete `servisor stop we`.
fn completed(daemon: &Daemon, shell: &str, options: &[&str], program: &str) -> Option<String> {
    let directory = daemon.scratch().0.join(format!("bin-{shell}"));
    std::fs::create_dir_all(&directory).unwrap();
    std::os::unix::fs::symlink(Daemon::command().get_program(), directory.join("servisor")).unwrap();
    let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
    let script = line(daemon, &format!("completion {shell}")).done();
    let output = Command::new(shell)
        .args(options)
        .arg(program)
        .env("SCRIPT", &script)
        .env("PATH", path)
        .env("SERVISOR_STATE_DIR", &daemon.state)
        .env("SERVISOR_ACCESS_TOKEN", TOKEN)
        .output();
    let output = match output {
        Ok(output) => output,
        Err(_) => {
            eprintln!("this machine has no {shell}");
            return None;
        }
    };
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{shell}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_shells_complete_a_slug() {
    let daemon = Daemon::start();
    for slug in ["web-1", "web-2", "api"] {
        daemon.client.create(&json!({"slug": slug, "start": "sleep 600"})).server(201);
    }
    let bash = r#"
        eval "$SCRIPT"
        COMP_WORDS=(servisor stop we) COMP_CWORD=2
        _servisor
        echo "${COMPREPLY[@]}"
        COMP_WORDS=(servisor logs --fol) COMP_CWORD=2
        _servisor
        echo "${COMPREPLY[@]}"
        COMP_WORDS=(servisor "") COMP_CWORD=1
        _servisor
        echo "${#COMPREPLY[@]}"
    "#;
    assert_eq!(completed(&daemon, "bash", &["-c"], bash).unwrap(), "web-1 web-2\n--follow\n18\n");
    let fish = r#"echo $SCRIPT | source; complete -C "servisor stop we"; complete -C "servisor logs --fol""#;
    if let Some(said) = completed(&daemon, "fish", &["-c"], fish) {
        let names: Vec<&str> = said.lines().filter_map(|line| line.split('\t').next()).collect();
        assert_eq!(names, ["web-1", "web-2", "--follow"]);
    }
    let zsh = r#"
        _describe() { shift; shift; print -l -- "${found[@]}" }
        compdef() { }
        eval "$SCRIPT"
        words=(servisor stop we) CURRENT=3
        _servisor
    "#;
    if let Some(said) = completed(&daemon, "zsh", &["-f", "-c"], zsh) {
        assert!(said.contains("web-1:") && said.contains("api:"), "{said}");
    }
}
