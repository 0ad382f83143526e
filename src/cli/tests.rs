//! Commands against a daemon that is scripted.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::TcpListener;

use super::commands::dispatch;
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
