//! Commands against a daemon that is scripted.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::{fs, iter};

use super::arguments::{COMMON, options};
use super::commands::COMMANDS;
use super::dispatch::dispatch;
use super::terminal::Terminal;
use super::{CliExit, Failure};

/// Runs a command against a daemon that gives these answers, one a connection, and returns the requests as well.
fn run(arguments: &[&str], answers: &[&str]) -> (Result<CliExit, Failure>, Vec<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answers: Vec<String> = answers.iter().map(ToString::to_string).collect();
    let daemon = std::thread::spawn(move || {
        let mut requests = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            while !request.windows(4).any(|window| window == b"\r\n\r\n") {
                match stream.read(&mut buffer).unwrap() {
                    0 => break,
                    count => request.extend_from_slice(&buffer[..count]),
                }
            }
            stream.write_all(answer.as_bytes()).unwrap();
            requests.push(String::from_utf8(request).unwrap().lines().next().unwrap_or_default().to_owned());
        }
        requests
    });
    let variable = |name: &str| match name {
        "SERVISOR_ADDRESS" => Some(OsString::from(&address)),
        "SERVISOR_ACCESS_TOKEN" => Some(OsString::from("token")),
        _ => None,
    };
    let mut terminal = Terminal::of_process(&|_| None);
    let result = dispatch(arguments.iter().map(OsString::from).collect(), &variable, &mut terminal);
    (result, daemon.join().unwrap())
}

fn json(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

const ACTIVE: &str = r#"{"status":"error","error":"server \"web\" is running","code":"server_active"}"#;
const UNKNOWN: &str = r#"{"status":"error","error":"there is no server \"x\"","code":"server_not_found"}"#;
const SERVER: &str = r#"{"data":{"server":{"slug":"web","status":"running"}}}"#;

#[test]
fn the_highest_exit_code_of_several_wins_and_all_are_tried() {
    let refused = r#"{"status":"error","error":"no","code":"storage"}"#;
    let (result, requests) =
        run(&["start", "a", "b", "c"], &[&json(404, UNKNOWN), &json(507, refused), &json(200, SERVER)]);
    assert_eq!(result, Ok(CliExit::NoServer));
    assert_eq!(requests.len(), 3);
}

#[test]
fn start_of_a_running_server_is_done() {
    assert_eq!(run(&["start", "web"], &[&json(409, ACTIVE)]).0, Ok(CliExit::Done));
}

#[test]
fn a_refused_client_gets_the_reason() {
    let refused = r#"{"status":"error","error":"the access token is wrong","code":"unauthorized"}"#;
    assert_eq!(run(&["ps"], &[&json(401, refused)]).0.unwrap_err().exit, CliExit::NoDaemon);
}

#[test]
fn another_program_is_no_daemon() {
    let failure = run(&["ps"], &["HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno\n"]).0.unwrap_err();
    assert_eq!(failure.exit, CliExit::NoDaemon);
    assert!(failure.text.contains("is no servisor"), "{}", failure.text);
    assert_eq!(run(&["ps"], &["220 smtp\r\n"]).0.unwrap_err().exit, CliExit::NoDaemon);
}

#[test]
fn a_wrong_command_line_is_found_before_a_daemon_is_asked() {
    for arguments in [
        &["pss"][..],
        &["--jsn", "ps"],
        &["stop"],
        &["stop", "a", "--all"],
        &["run", "web"],
        &["run", "web", "npm", "start"],
        &["run", "web", "-p", "x", "--", "true"],
        &["run", "web", "-e", "=x", "--", "true"],
        &["wait", "--for", "rady"],
        &["wait", "--timeout", "-1"],
        &["logs", "--stream", "stdin"],
        &["completion", "tcsh"],
        &[],
    ] {
        assert_eq!(run(arguments, &[]).0.unwrap_err().exit, CliExit::Usage, "{arguments:?}");
    }
}

#[test]
fn a_wait_ends_at_once_when_it_can_not_succeed() {
    let events = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nevent: snapshot\ndata: \
                  {\"servers\":[{\"slug\":\"web\",\"status\":\"failed\",\"status_reason\":\"exited with code 7\"}]}\n\n";
    let log = json(200, r#"{"data":{"lines":[{"slug":"web","stream":"stderr","line":"boom"}]}}"#);
    let (result, requests) = run(&["wait", "web"], &[events, &log]);
    assert_eq!(result.map_err(|failure| (failure.exit, failure.text)), Err((CliExit::Failed, "")));
    assert_eq!(requests, ["GET /events?attend=true&slug=web HTTP/1.1", "GET /logs?tail=10&slug=web HTTP/1.1"]);
}

/// The long options that each file of the command line has as literals, without its tests.
fn literals() -> BTreeMap<String, BTreeSet<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli");
    let mut found = BTreeMap::new();
    for entry in [folder.clone(), folder.join("commands")].iter().flat_map(|folder| fs::read_dir(folder).unwrap()) {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.extension().is_none_or(|extension| extension != "rs") || name == "tests" {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let all = code.split("\"--").skip(1).filter_map(|rest| {
            let (name, _) = rest.split_once('"')?;
            // A message has spaces in it.
            let is_option = !name.is_empty() && name.bytes().all(|byte| byte == b'-' || byte.is_ascii_lowercase());
            is_option.then(|| format!("--{name}"))
        });
        found.entry(name).or_insert_with(BTreeSet::new).extend(all);
    }
    found
}

#[test]
fn each_option_of_the_help_is_read_and_no_other() {
    let literals = literals();
    let table = include_str!("commands/mod.rs");
    let long = |help| options(help).map(|option| option.long.to_owned());
    // What each file may read.
    let mut known: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for command in &COMMANDS {
        let entry = table.split(&format!("command(\"{}\", ", command.name)).nth(1).unwrap();
        let file = entry.split(':').next().unwrap();
        // `up` has its own file, but starts servers and waits for them as `run` does.
        let files = iter::once(file).chain((file == "up").then_some("run"));
        known.entry(file).or_default();
        for option in long(command.help()) {
            let is_read = files.clone().any(|file| literals[file].contains(&option));
            assert!(is_read, "nothing in {file}.rs reads {option} of `{}`", command.name);
            files.clone().for_each(|file| _ = known.entry(file).or_default().insert(option.clone()));
        }
    }
    let all: BTreeSet<&String> = literals.values().flatten().collect();
    for option in long(COMMON) {
        assert!(all.contains(&option), "nothing reads {option}");
    }
    let own: BTreeSet<String> = known.values().flatten().cloned().collect();
    for (file, read) in &literals {
        let of_commands = known.get(file.as_str()).unwrap_or(&own);
        let common: BTreeSet<String> = long(COMMON).chain(["--version".to_owned()]).collect();
        let unknown: Vec<&String> =
            read.iter().filter(|option| !of_commands.union(&common).any(|known| known == *option)).collect();
        assert!(unknown.is_empty(), "{file}.rs reads {unknown:?}, which no help of its commands has");
    }
    assert!(all.len() >= 20, "only these options are seen: {all:?}");
}
