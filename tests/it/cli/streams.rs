//! Waiting, logs, events, runs.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::support::{Daemon, wait_until};
use super::terminal::Terminal;
use super::{command, line, run};

/// A command whose lines are read as they come.
pub struct Stream {
    pub process: Child,
    lines: BufReader<ChildStdout>,
}

impl Stream {
    pub fn open(daemon: &Daemon, words: &str) -> Stream {
        let words: Vec<&str> = words.split(' ').collect();
        let mut command = command(daemon, &words);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        Stream { process, lines }
    }

    /// The next line; empty at the end.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }

    /// Reads on until a line is like this.
    pub fn until(&mut self, is_it: impl Fn(&str) -> bool) -> String {
        loop {
            let line = self.line();
            assert_ne!(line, "", "the stream has ended");
            if is_it(&line) {
                return line;
            }
        }
    }

    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[test]
fn run_waits_until_it_is_up_and_prints_where() {
    let daemon = Daemon::start();
    let start = "exec python3 -m http.server $PORT";
    let said = run(&daemon, &["run", "web", "-p", "14500", "--health", "/", "--", start]).done();
    let server = daemon.client.show("web");
    assert_eq!((server["status"].as_str(), server["healthy"].as_bool()), (Some("ready"), Some(true)));
    assert_eq!(said, format!("web is ready at {}\n", server["url"].as_str().unwrap()));
    assert_eq!(run(&daemon, &["run", "job", "--", "sleep 600"]).done(), "job is running\n");
    assert_eq!(line(&daemon, "wait").done(), "");
    let elsewhere = run(&daemon, &["run", "other", "-p", "14505", "--", "exec python3 -m http.server 14506"]);
    assert!(elsewhere.err.contains("other listens on 14506, not on the port that was asked for"), "{elsewhere:?}");
    line(&daemon, "rm other").done();
    assert_eq!(line(&daemon, "wait --for healthy web").done(), "");
    let waited = line(&daemon, "wait --json").json();
    assert_eq!(waited.iter().map(|server| &server["slug"]).collect::<Vec<_>>(), ["job", "web"]);
}

#[test]
fn a_wait_that_can_not_succeed_ends_at_once_with_reason_and_log() {
    let daemon = Daemon::start();
    let begun = Instant::now();
    let crash = "echo \"Error: Cannot find module 'left-pad'\" >&2; exit 7";
    let ran = run(&daemon, &["run", "crash", "-p", "14510", "--timeout", "600", "--", crash]);
    assert!(begun.elapsed() < Duration::from_secs(30));
    let said = "servisor: crash is failed: exited with code 7\n  stderr | Error: Cannot find module 'left-pad'\n";
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(1), "", said));
    // It was not run where the command line was, which nothing else would say.
    let root = daemon.root.display().to_string();
    let place = format!("\nservisor: its directory was {root}; use --path DIR for another one\n");
    let missing = run(&daemon, &["run", "missing", "--", "./none"]);
    assert!(missing.code == Some(1) && missing.err.ends_with(&place), "{missing:?}");
    let again = run(&daemon, &["run", "other", "--path", &root, "--", "./none"]);
    assert_eq!((again.code, again.err.contains("its directory was")), (Some(1), false), "{again:?}");
    let over = run(&daemon, &["run", "over", "--restart", "on-failure", "-p", "14511", "--", "echo", "x"]).failed(1);
    assert!(over.starts_with("servisor: over is stopped: exited with code 0\n"), "{over}");
    assert!(over.ends_with("\nservisor: a server has to stay in the foreground\n"), "{over}");
    assert_eq!(line(&daemon, "wait crash").failed(1), said);
    // One that is well does not help.
    run(&daemon, &["run", "job", "--", "sleep 600"]).done();
    line(&daemon, "wait job crash").failed(1);
    line(&daemon, "wait").failed(1);
    assert!(
        line(&daemon, "wait job none nothing").err.contains("there are\nservisor: there is no server \"nothing\"; ")
    );
    assert_eq!(line(&daemon, "wait none").code, Some(4));
    assert!(line(&daemon, "wait job --for healthy").failed(1).contains("no health check"));
    assert_eq!(line(&daemon, "wait crash --for stopped").done(), "");
    assert_eq!(line(&daemon, "wait never --for gone").done(), "");
}

#[test]
fn a_worker_that_has_crashed_is_up_when_it_stays_up() {
    let daemon = Daemon::start();
    // It lives long enough to be running each time, until the file is there.
    let start = "test -e go && exec sleep 600; sleep 0.8; exit 3";
    let spec = json!({"slug": "flap", "start": start, "restart_policy": "always", "restart_delay_ms": 10});
    daemon.client.create(&spec).server(201);
    wait_until("it has crashed", || {
        let flap = daemon.client.show("flap");
        (flap["restart_count"].as_u64() > Some(0) && flap["status"] == "running").then_some(())
    });
    line(&daemon, "wait --for running flap").done();
    assert!(line(&daemon, "wait --timeout 2 flap").failed(5).contains("the time is up: flap is "));
    std::fs::write(daemon.root.join("go"), "").unwrap();
    let waited = line(&daemon, "wait --json flap").json();
    let pid = waited[0]["pid"].clone();
    assert_eq!((&waited[0]["status"], &daemon.client.show("flap")["pid"]), (&json!("running"), &pid));
    assert_eq!(line(&daemon, "wait --timeout 0 flap").done(), "");
}

#[test]
fn the_time_is_up_is_5() {
    let daemon = Daemon::start();
    run(&daemon, &["run", "mute", "-p", "14520", "--no-wait", "--", "echo still here; sleep 600"]).done();
    daemon.client.wait_for_status("mute", "running");
    let late = line(&daemon, "wait --timeout 0.2 mute").failed(5);
    let said = "servisor: the time is up: mute is running\n  mute listens on no port\n  stdout | still here\n";
    assert_eq!(late, format!("{said}servisor: it keeps running; 'servisor wait mute' waits on\n"));
    assert!(!line(&daemon, "wait --timeout 0 --for stopped mute").failed(5).contains("it keeps running"));
    let start = "exec python3 -m http.server $PORT";
    run(&daemon, &["run", "sick", "-p", "14525", "--health", "/none", "--no-wait", "--", start]).done();
    wait_until("its health check has failed", || {
        daemon.client.show("sick")["health"]["last_error"].is_string().then_some(())
    });
    let late = line(&daemon, "wait --timeout 0 sick").failed(5);
    assert!(late.contains(" sick is running\n  the health check of sick fails: ") && late.contains("404"), "{late}");
    assert!(line(&daemon, "wait --timeout 0 mute").failed(5).contains("mute"));
    line(&daemon, "wait --timeout 0 --for running mute").done();
}

#[test]
fn a_wait_shows_each_change_on_a_terminal() {
    let daemon = Daemon::start();
    let words = ["run", "web", "-p", "14530", "--", "sleep 1; exec python3 -m http.server $PORT"];
    let (text, status) = Terminal::open(&mut command(&daemon, &words), 100).end();
    assert!(status.success(), "{text}");
    let at = |word: &str| text.find(word).unwrap_or_else(|| panic!("{word} is missing: {text}"));
    assert!(at("web is running") < at("web is ready"), "{text}");
    let stopping = Terminal::open(&mut command(&daemon, &["stop", "web"]), 100).end();
    assert!(stopping.0.contains("web: stopping"));
    // A wait in which nothing changes does not begin with silence.
    daemon.client.create(&json!({"slug": "mute", "start": "sleep 600", "port": 14535})).server(201);
    daemon.client.wait_for_status("mute", "running");
    let mut waiting = Terminal::open(&mut command(&daemon, &["wait", "mute"]), 100);
    waiting.until(|text| text.contains("mute is running\n"));
    waiting.type_in(b"\x03");
    waiting.end();
}

#[test]
fn logs_of_one_and_of_many() {
    let daemon = Daemon::start();
    for slug in ["api", "web"] {
        let start = format!("echo {slug}-one; echo {slug}-two >&2; echo {slug}-last; sleep 600");
        daemon.client.create(&json!({"slug": slug, "start": start})).server(201);
    }
    daemon.client.wait_for_status("web", "running");
    let mut one: Vec<String> = line(&daemon, "logs web").done().lines().map(str::to_owned).collect();
    one.sort();
    assert_eq!(one, ["web-last", "web-one", "web-two"]);
    assert_eq!(line(&daemon, "logs web -n1").done().lines().count(), 1);
    assert_eq!(line(&daemon, "logs web --stream stderr").done(), "web-two\n");
    let many = line(&daemon, "logs").done();
    assert!(many.contains("web | web-one\n") && many.contains("api ! api-two\n"), "{many}");
    assert!(!line(&daemon, "logs --no-prefix").done().contains('|'));
    let timed = line(&daemon, "logs web -t -n 1").done();
    assert!(timed.as_bytes()[4] == b'-' && timed[19..].starts_with("Z web-"), "{timed}");
    for line in line(&daemon, "logs --json").json() {
        let names: Vec<&String> = line.as_object().unwrap().keys().collect();
        assert_eq!(names, ["line", "slug", "stream"]);
    }
}

#[test]
fn names_before_lines_are_of_one_width() {
    let daemon = Daemon::start();
    for slug in ["a", "long-name"] {
        let start = format!("echo of-{slug}; sleep 600");
        daemon.client.create(&json!({"slug": slug, "start": start})).server(201);
        wait_until("it has written", || line(&daemon, &format!("logs {slug}")).out.contains("of-").then_some(()));
    }
    let expected = ["a         | of-a\n", "long-name | of-long-name\n"];
    for words in ["logs", "logs a long-name"] {
        let mut lines: Vec<String> = line(&daemon, words).done().lines().map(|line| format!("{line}\n")).collect();
        lines.sort();
        assert_eq!(lines, expected, "{words}");
    }
    let mut stream = Stream::open(&daemon, "logs -f a long-name");
    let mut lines = [stream.line(), stream.line()];
    lines.sort();
    assert_eq!(lines, expected);
    stream.kill();
}

#[test]
fn top_shows_what_the_daemon_measures() {
    let daemon = Daemon::start();
    let start = "x=0; while [ $x -lt 20000 ]; do x=$((x+1)); done; sleep 600 & exec sleep 600";
    daemon.client.create(&json!({"slug": "busy", "start": start})).server(201);
    daemon.client.create(&json!({"slug": "idle", "start": "sleep 600"})).server(201);
    line(&daemon, "stop idle").done();
    daemon.client.wait_for_status("busy", "running");
    let stats = wait_until("it has worked, and rests", || {
        let stats = daemon.client.get("/servers/busy?stats=true").json()["data"]["server"]["stats"].clone();
        (stats["processes"] == 2 && stats["cpu_ms"].as_u64() > Some(0)).then_some(stats)
    });
    let json = line(&daemon, "top --json").json();
    let busy = json.iter().find(|server| server["slug"] == "busy").unwrap();
    assert_eq!((&busy["stats"]["processes"], &busy["stats"]["cpu_ms"]), (&json!(2), &stats["cpu_ms"]));
    let table = line(&daemon, "top").done();
    let rows: Vec<Vec<&str>> = table.lines().map(|row| row.split_whitespace().collect()).collect();
    assert_eq!(rows[0].join(" "), "NAME STATUS UP CPU CPU TIME MEMORY RESIDENT PROCESSES");
    // The one with the most memory is first. Without an earlier look there is no share of a processor.
    assert_eq!((rows[1][0], rows[1][1], rows[1][3], rows[1][7]), ("busy", "running", "-", "2"), "{table}");
    assert!(rows[1][4].ends_with("ms") || rows[1][4].ends_with('s'), "{table}");
    assert!(rows[1][5..7].iter().all(|cell| cell.ends_with('K') || cell.ends_with('M')), "{table}");
    assert_eq!((rows[2][0], &rows[2][2..]), ("idle", &["-"; 6][..]), "{table}");
    // On a terminal the second look has a share.
    let mut terminal = Terminal::open(&mut command(&daemon, &["top", "busy"]), 100);
    let is_whole = |last: &str| last.contains("busy") && last.ends_with('\n');
    terminal
        .until(|text| text.rsplit_once("NAME").is_some_and(|(first, last)| first.contains("NAME") && is_whole(last)));
    let share = terminal.text.lines().rev().find(|line| line.contains("busy")).unwrap().split_whitespace().nth(3);
    assert!(share.is_some_and(|share| share.ends_with('%')), "{:?}", terminal.text);
    terminal.type_in(b"\x03");
    terminal.end();
}

#[test]
fn a_hundred_logs_are_followed_by_one_connection() {
    let daemon = Daemon::start();
    let begin = |slug: String| {
        let start = format!("echo first-{slug}; while :; do sleep 1; echo later-{slug}; done");
        daemon.client.create(&json!({"slug": slug, "start": start})).server(201);
    };
    (0..99).for_each(|number| begin(format!("s{number}")));
    let mut stream = Stream::open(&daemon, "logs -f");
    // One that is made later is there too.
    stream.until(|line| line.contains("first-s0"));
    begin("late".to_owned());
    let mut missing: Vec<String> = (0..99).map(|number| format!("later-s{number}\n")).collect();
    missing.push("first-late\n".to_owned());
    while !missing.is_empty() {
        let line = stream.until(|_| true);
        let (slug, text) = line.split_once(" | ").unwrap_or_else(|| panic!("no whole line: {line:?}"));
        assert!(text.trim_end().ends_with(slug.trim_end()), "{line:?}");
        missing.retain(|text| !line.ends_with(text.as_str()));
    }
    let links = std::fs::read_dir(format!("/proc/{}/fd", stream.process.id())).unwrap();
    let sockets = links.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
    assert_eq!(sockets.filter(|link| link.to_string_lossy().starts_with("socket:")).count(), 1);
    stream.kill();
}

#[test]
fn a_reader_of_a_stream_that_leaves_ends_it_with_0() {
    let daemon = Daemon::start();
    let start = "while :; do echo tick; sleep 0.05; done";
    daemon.client.create(&json!({"slug": "clock", "start": start})).server(201);
    let mut stream = Stream::open(&daemon, "logs -f clock");
    assert_eq!(stream.line(), "tick\n");
    let Stream { mut process, lines } = stream;
    drop(lines);
    assert_eq!(process.wait().unwrap().code(), Some(0));
}

#[test]
fn events_in_words_and_as_json() {
    let daemon = Daemon::start();
    run(&daemon, &["run", "web", "--", "sleep 600"]).done();
    let mut words = Stream::open(&daemon, "events");
    let mut objects = Stream::open(&daemon, "events --json web");
    assert!(words.line().ends_with(" web is running\n"));
    let snapshot: Value = serde_json::from_str(&objects.line()).unwrap();
    assert_eq!(snapshot["event"], "snapshot");
    assert_eq!(snapshot["data"]["servers"][0]["slug"], "web");
    line(&daemon, "stop web").done();
    assert!(words.until(|line| line.contains(" is stopped")).contains("(was "));
    line(&daemon, "rm web").done();
    words.until(|line| line.ends_with(" web is deleted\n"));
    let run = objects.until(|line| line.contains("{\"event\":\"run\""));
    let run: Value = serde_json::from_str(&run).unwrap();
    assert_eq!((&run["data"]["slug"], &run["data"]["run"]["reason"]), (&json!("web"), &json!("stopped")));
    objects.until(|line| line == "{\"event\":\"deleted\",\"data\":{\"slug\":\"web\"}}\n");
    words.kill();
    objects.kill();
}

#[test]
fn the_ends_of_runs() {
    let daemon = Daemon::start();
    daemon.client.create(&json!({"slug": "crash", "start": "echo lost >&2; exit 3"})).server(201);
    daemon.client.wait_for_status("crash", "failed");
    let table = line(&daemon, "runs crash").done();
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((row[0], row[1], row[4]), ("1", "start", "exit"), "{table}");
    assert!(table.contains("exited with code 3"), "{table}");
    let runs = line(&daemon, "runs crash --json -n 1").json();
    assert_eq!((runs.len(), &runs[0]["exit_code"]), (1, &json!(3)));
    assert!(line(&daemon, "runs none").failed(4).contains("none"));
    assert!(line(&daemon, "status crash").done().contains("run 1: exited with code 3"));
}

#[test]
fn each_command_speaks_json() {
    let daemon = Daemon::start();
    run(&daemon, &["run", "web", "-e", "SECRET=hush", "--", "sleep 600"]).done();
    for words in
        ["ps", "status web", "wait web", "start web", "stop web", "start web", "restart web", "top", "runs web", "logs"]
    {
        let words = [words, "--json"].join(" ");
        let printed = line(&daemon, &words);
        assert!(!printed.out.contains("hush"), "{words}: {printed:?}");
        let objects = printed.json();
        let expected = usize::from(words != "logs --json");
        assert!(objects.len() >= expected && objects.iter().all(Value::is_object), "{words}");
        if expected == 1 && !words.starts_with("runs") {
            assert_eq!(objects[0]["slug"], "web", "{words}");
        }
    }
    assert_eq!(line(&daemon, "ps --json --env").json()[0]["environment"]["SECRET"], "hush");
    assert_eq!(line(&daemon, "wait none --for gone --json").json(), [] as [Value; 0]);
    assert_eq!(line(&daemon, "rm web --json").done(), "");
    let printed =
        run(&daemon, &["run", "web", "-p", "14700", "--json", "--", "exec python3 -m http.server $PORT"]).json();
    assert_eq!((printed.len(), &printed[0]["status"]), (1, &json!("ready")));
    let opened = line(&daemon, "open web --json").json();
    assert_eq!((opened.len(), &opened[0]["url"]), (1, &printed[0]["url"]));
    std::fs::write(daemon.root.join("Procfile"), "one: sleep 600\ntwo: sleep 600\n").unwrap();
    let file = daemon.root.join("Procfile").display().to_string();
    let up: Vec<Value> =
        run(&daemon, &["up", &file, "--json"]).json().iter().map(|server| server["slug"].clone()).collect();
    assert_eq!(up, ["one", "two"]);
}
