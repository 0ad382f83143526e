//! Reading what a server writes as it writes it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Daemon, Stream, testchild, wait_until};

const EVENTS: (&str, &str) = ("Accept", "text/event-stream");

/// A server that writes what the test orders.
struct Echo {
    pipe: File,
}

impl Echo {
    fn start(daemon: &Daemon) -> Echo {
        Echo::with(daemon, "cat <>pipe")
    }

    /// `start` reads from a pipe of that name.
    fn with(daemon: &Daemon, start: &str) -> Echo {
        let start = format!("[ -p pipe ] || mkfifo pipe; echo begun; {start}");
        daemon.client.create(&json!({"slug": "app", "start": start})).server(201);
        let path = daemon.root.join("pipe");
        wait_until("the server has begun", || (daemon.client.logs("app", "") == "begun\n").then_some(()));
        Echo { pipe: OpenOptions::new().read(true).write(true).open(path).unwrap() }
    }

    fn say(&mut self, text: &str) {
        self.pipe.write_all(text.as_bytes()).unwrap();
    }
}

fn follow(daemon: &Daemon, query: &str, headers: &[(&str, &str)]) -> Stream {
    let stream = Stream::open(&daemon.client, &format!("/servers/app/logs?follow=true{query}"), headers);
    assert_eq!(stream.status, 200, "{}", stream.head);
    stream
}

#[test]
fn history_comes_first_and_then_each_line_as_it_is_written() {
    let daemon = Daemon::start();
    let mut echo = Echo::start(&daemon);
    echo.say("one\ntwo\n");
    wait_until("both are there", || daemon.client.logs("app", "").ends_with("two\n").then_some(()));
    let mut all = follow(&daemon, "", &[]);
    let mut last = follow(&daemon, "&tail=1&stream=stdout", &[]);
    let mut none = follow(&daemon, "&tail=0", &[]);
    let mut errors = follow(&daemon, "&stream=stderr", &[]);
    assert!(all.head.contains("Content-Type: text/plain"), "{}", all.head);
    echo.say("three\n");
    assert_eq!(all.read_until(|text| text.contains("three\n")), "begun\none\ntwo\nthree\n");
    assert_eq!(last.read_until(|text| text.contains("three\n")), "two\nthree\n");
    assert_eq!(none.read_until(|text| text.contains("three\n")), "three\n");
    assert!(errors.is_quiet_for(Duration::from_millis(100)));
    for number in 0..50 {
        echo.say(&format!("{number}\n"));
        assert_eq!(all.read_until(|text| text.ends_with('\n')), format!("{number}\n"));
    }
    // What has no end yet is not held back for ever.
    echo.say("name? ");
    assert_eq!(all.read_until(|text| !text.is_empty()), "name? ");
    echo.say("ann\n");
    assert_eq!(all.read_until(|text| !text.is_empty()), "ann\n");
}

#[test]
fn a_stream_continues_over_restarts_and_ends_with_the_server() {
    let daemon = Daemon::start();
    let mut echo = Echo::start(&daemon);
    let mut plain = follow(&daemon, "", &[]);
    let mut events = follow(&daemon, "", &[EVENTS]);
    echo.say("first\n");
    assert_eq!(plain.read_until(|text| text.contains("first\n")), "begun\nfirst\n");
    daemon.client.post("/servers/app/restart").server(200);
    assert_eq!(plain.read_until(|text| text.contains("begun\n")), "begun\n");
    daemon.client.post("/servers/app/stop");
    daemon.client.post("/servers/app/start").server(200);
    assert_eq!(plain.read_until(|text| text.contains("begun\n")), "begun\n");
    echo.say("unfinished");
    assert_eq!(plain.read_until(|text| text.contains("unfinished")), "unfinished");
    assert_eq!(daemon.client.delete("/servers/app").status, 204);
    assert_eq!(plain.read_to_end(), b"");
    assert!(plain.is_whole, "it was cut off");
    let events = String::from_utf8(events.read_to_end()).unwrap();
    let lines = ["begun", "first", "begun", "begun", "unfinished"];
    assert_eq!(events, lines.map(|line| format!("event: stdout\ndata: {line}\n\n")).concat());
}

#[test]
fn events_distinguish_the_streams_and_survive_what_is_in_a_line() {
    let daemon = Daemon::with(&["--allow-origin", "http://page.test"], &[]);
    let start = format!("{} bytes 6120ff0d620d0ac3a90a err bad; exec sleep 600", testchild());
    daemon.client.create(&json!({"slug": "app", "start": start})).server(201);
    let mut stream = follow(&daemon, "", &[EVENTS, ("Origin", "http://page.test")]);
    for header in [
        "Content-Type: text/event-stream\r\n",
        "Cache-Control: no-store\r\n",
        "Access-Control-Allow-Origin: http://page.test\r\n",
        "Transfer-Encoding: chunked\r\n",
    ] {
        assert!(stream.head.contains(header), "{}", stream.head);
    }
    let events = stream.read_until(|text| text.contains("é\n\n") && text.contains("bad\n\n"));
    let mut events: Vec<&str> = events.split_terminator("\n\n").collect();
    events.sort_unstable();
    assert_eq!(
        events,
        ["event: stderr\ndata: bad", "event: stdout\ndata: a \u{fffd}\ndata: b", "event: stdout\ndata: é"]
    );
    let comment = stream.read_until(|text| !text.is_empty());
    assert!(comment.starts_with(':') && comment.ends_with("\n\n"), "{comment:?}");
}

#[test]
fn head_and_bad_values() {
    let daemon = Daemon::start();
    daemon.client.create(&json!({"slug": "app", "start": "echo x; sleep 600"})).server(201);
    let head = daemon.client.request("HEAD", "/servers/app/logs?follow=true", &[], None);
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(daemon.client.get("/servers/app/logs?follow=false").status, 200);
    for query in ["follow=1", "follow=", "follow=true&tail=-1", "follow=true&stream=both"] {
        daemon.client.get(&format!("/servers/app/logs?{query}")).error(422);
    }
    daemon.client.get("/servers/other/logs?follow=true").error(404);
}

#[test]
fn a_reader_that_stalls_gets_a_gap_and_slows_no_other() {
    const LINES: usize = 1_000_000;
    let daemon = Daemon::with(&["--log-buffer-bytes", "65536"], &[]);
    let mut echo = Echo::with(&daemon, &format!("read go <>pipe; {} lines {LINES}; exec sleep 600", testchild()));
    let mut plain = follow(&daemon, "", &[]);
    let mut events = follow(&daemon, "", &[EVENTS]);
    echo.say("go\n");
    // There is no reader until the server has written everything.
    wait_until("the server is through", || {
        daemon.client.logs("app", "?tail=1").contains(&format!("line {}\n", LINES - 1)).then_some(())
    });
    let written = "begun\n".len() + (0..LINES).map(|line| format!("line {line}\n").len()).sum::<usize>();
    let end = format!("line {}\n", LINES - 1);
    let plain = plain.read_until(|text| text.ends_with(&end));
    let (mut shown, mut missed, mut last) = (0, 0, None);
    for line in plain.lines() {
        if let Some(note) = line.strip_prefix("servisor: ") {
            missed += note.split(' ').next().unwrap().parse::<usize>().unwrap();
            continue;
        }
        let number: Option<usize> = line.strip_prefix("line ").map(|number| number.parse().unwrap());
        assert!(number.is_some() || line == "begun", "{line:?} is torn");
        assert!(number.is_none() || number > last, "{number:?} after {last:?}");
        last = number;
        shown += line.len() + 1;
    }
    println!("{shown} bytes were shown, {missed} missed");
    assert!(missed > 0, "it was no stall");
    assert_eq!(shown + missed, written);
    let events = events.read_until(|text| text.ends_with(&format!("data: {end}\n")));
    let (mut shown, mut missed) = (0, 0);
    for event in events.split_terminator("\n\n") {
        match event.split_once("\ndata: ").unwrap() {
            ("event: dropped", bytes) => missed += bytes.parse::<usize>().unwrap(),
            ("event: stdout", line) => shown += line.len() + 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(missed > 0 && shown + missed == written, "{shown} + {missed} of {written}");
}

#[test]
fn a_reader_that_keeps_up_gets_every_line_once() {
    const LINES: usize = 200_000;
    let daemon = Daemon::start();
    let mut echo = Echo::with(&daemon, &format!("read go <>pipe; {} lines {LINES}; exec sleep 600", testchild()));
    let mut stream = follow(&daemon, "&tail=0", &[]);
    echo.say("go\n");
    let end = format!("line {}\n", LINES - 1);
    let (mut next, mut missed) = (0, 0);
    let mut rest = String::new();
    while next < LINES {
        let text = rest + &stream.read_until(|text| !text.is_empty());
        let whole = text.rfind('\n').map_or(0, |last| last + 1);
        for line in text[..whole].lines() {
            if let Some(note) = line.strip_prefix("servisor: ") {
                missed += note.split(' ').next().unwrap().parse::<usize>().unwrap();
                continue;
            }
            let number: usize = line.strip_prefix("line ").unwrap().parse().unwrap();
            let skipped: usize = (next..number).map(|line| format!("line {line}\n").len()).sum();
            assert!(number >= next, "line {number} came again");
            assert_eq!(skipped, missed, "before line {number}");
            (next, missed) = (number + 1, 0);
        }
        rest = text[whole..].to_owned();
    }
    assert!(stream.is_quiet_for(Duration::from_millis(50)), "something comes after {end:?}");
}

#[test]
fn a_client_that_leaves_costs_nothing_any_more() {
    let daemon = Daemon::start();
    let mut echo = Echo::start(&daemon);
    daemon.client.show("app");
    let before = wait_until("the daemon is idle", || {
        let size = daemon.size();
        std::thread::sleep(Duration::from_millis(50));
        (daemon.size() == size).then_some(size)
    });
    let streams: Vec<Stream> = (0..10).map(|_| follow(&daemon, "", &[])).collect();
    let now = daemon.size();
    // The last client of before may have been on its way out when it was counted.
    assert!(now.0 + 1 >= before.0 + 10 && now.1 + 1 >= before.1 + 10, "{before:?} {now:?}");
    drop(streams);
    echo.say("x\n");
    daemon.until_as_small_as(before);
    // On a quiet stream the next sign of life finds out.
    drop([follow(&daemon, "", &[]), follow(&daemon, "", &[EVENTS])]);
    daemon.until_as_small_as(before);
}

#[test]
fn forty_clients_get_thirty_two_streams() {
    let daemon = Daemon::start();
    daemon.client.create(&json!({"slug": "app", "start": "sleep 600"})).server(201);
    let target = "/servers/app/logs?follow=true";
    let streams: Vec<Stream> = (0..40).map(|_| Stream::open(&daemon.client, target, &[])).collect();
    let served = streams.iter().filter(|stream| stream.status == 200).count();
    let refused = streams.iter().filter(|stream| stream.status == 503).count();
    assert_eq!((served, refused), (32, 8));
    assert!(daemon.client.get(target).error(503).contains("32"));
    // All other requests are answered, and permits are released.
    assert_eq!(daemon.client.get("/servers/app/logs").status, 200);
    assert_eq!(daemon.client.delete("/servers/app").status, 204);
    for mut stream in streams.into_iter().filter(|stream| stream.status == 200) {
        stream.read_to_end();
        assert!(stream.is_whole);
    }
    daemon.client.create(&json!({"slug": "app", "start": "sleep 600"})).server(201);
    drop(follow(&daemon, "", &[]));
}

#[test]
fn streams_show_the_end_of_the_daemon_and_do_not_hold_it() {
    let mut daemon = Daemon::start();
    let start = format!("exec {} drain 50 say begun stay", testchild());
    daemon.client.create(&json!({"slug": "app", "start": start})).server(201);
    let mut stream = follow(&daemon, "", &[]);
    assert_eq!(stream.read_until(|text| text.contains("begun\n")), "begun\n");
    daemon.signal(libc::SIGTERM);
    assert_eq!(stream.read_to_end(), b"draining\ndrained\n");
    assert!(stream.is_whole, "it was cut off");
    assert_eq!(daemon.wait().code(), Some(0));
}

mod timed {
    use super::*;

    #[test]
    fn a_line_comes_as_soon_as_it_is_written() {
        let daemon = Daemon::start();
        let mut echo = Echo::start(&daemon);
        let mut stream = follow(&daemon, "&tail=0", &[]);
        let mut slowest = Duration::ZERO;
        for number in 0..50 {
            let begun = Instant::now();
            echo.say(&format!("{number}\n"));
            assert_eq!(stream.read_until(|text| text.ends_with('\n')), format!("{number}\n"));
            slowest = slowest.max(begun.elapsed());
        }
        println!("the slowest of 50 lines came after {slowest:?}");
        assert!(slowest < Duration::from_millis(50 * 10), "{slowest:?}");
    }
}
