//! The benchmark's small programs in one: what is supervised, the floors of the machine, and the load on an API.
//!
//! `stamp FILE` writes its pid and the monotonic time to the file as its first act and stays; `stubborn` is the same
//! and ignores SIGTERM and SIGINT; `listen FILE` listens on `$PORT` after a while; `flood FILE SECONDS BYTES` writes
//! lines as fast as they are taken, and to the file how many and how long; `spin SECONDS` keeps a processor busy. The
//! `floor-…` print one JSON object each, as `load` (see `load.rs`), `pull` and `push` do (see `web.rs`, which also has
//! the server `web`).

#![allow(clippy::unwrap_used)]

#[path = "probe/load.rs"]
mod load;
#[path = "probe/web.rs"]
mod web;

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const LINE: usize = 100;
const WRITE: usize = 655 * LINE;

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let word = |at: usize| words.get(at).map_or_else(|| panic!("argument {at} is missing"), String::as_str);
    let number = |at: usize| word(at).parse::<u64>().unwrap();
    match word(0) {
        "stamp" => stay(word(1)),
        "stubborn" => {
            // SAFETY: the kernel's own handler.
            unsafe {
                libc::signal(libc::SIGTERM, libc::SIG_IGN);
                libc::signal(libc::SIGINT, libc::SIG_IGN);
            }
            stay(word(1))
        }
        "listen" => listen(word(1)),
        "flood" => flood(word(1), number(2), number(3)),
        "spin" => spin(number(1)),
        "nothing" => {}
        "floor-spawn" => floor_spawn(number(1)),
        "floor-many" => floor_many(number(1), word(2), |file| own(&["stamp", file])),
        "floor-many-shell" => floor_many(number(1), word(2), by_shell),
        "floor-restart" => floor_restart(number(1)),
        "floor-pipe" => floor_pipe(number(1)),
        "load" => load::run(&words[1..]),
        "web" => web::serve(),
        "pull" | "push" => web::transfer(&words),
        other => panic!("{other} is no order"),
    }
}

/// Monotonic time, the same for all processes of a machine, in nanoseconds.
pub fn nanos() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call fills what it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn append(file: &str, line: &str) {
    // In one write, so that lines of several processes don't mix.
    OpenOptions::new().append(true).create(true).open(file).unwrap().write_all(line.as_bytes()).unwrap();
}

fn pause() -> ! {
    loop {
        std::thread::park();
    }
}

fn stay(file: &str) -> ! {
    let now = nanos();
    append(file, &format!("{} {now}\n", std::process::id()));
    pause()
}

fn listen(file: &str) -> ! {
    std::thread::sleep(Duration::from_millis(150 + u64::from(std::process::id()) % 40));
    let now = nanos();
    let _listener = TcpListener::bind(format!("127.0.0.1:{}", env::var("PORT").unwrap())).unwrap();
    append(file, &format!("{} {now}\n", std::process::id()));
    pause()
}

fn flood(file: &str, seconds: u64, limit: u64) -> ! {
    let mut lines = vec![b'.'; WRITE];
    lines.iter_mut().skip(LINE - 1).step_by(LINE).for_each(|byte| *byte = b'\n');
    let (begun, mut written, mut out) = (nanos(), 0, std::io::stdout().lock());
    while written < limit && nanos() - begun < seconds * 1_000_000_000 {
        // The first and last line of each write are numbered, the rest is as long as a line is.
        let name = format!("{written:020}");
        lines[..20].copy_from_slice(name.as_bytes());
        lines[WRITE - LINE..WRITE - LINE + 20].copy_from_slice(name.as_bytes());
        out.write_all(&lines).unwrap();
        out.flush().unwrap();
        written += WRITE as u64;
    }
    append(file, &format!("{written} {}\n", nanos() - begun));
    pause()
}

fn spin(seconds: u64) {
    let begun = nanos();
    while nanos() - begun < seconds * 1_000_000_000 {
        std::hint::spin_loop();
    }
}

fn own(orders: &[&str]) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(orders).stdin(Stdio::null());
    command
}

fn floor_spawn(times: u64) {
    let mut all: Vec<u64> = (0..times)
        .map(|_| {
            let begun = nanos();
            own(&["nothing"]).status().unwrap();
            nanos() - begun
        })
        .collect();
    print(&mut all, "spawn_us");
}

fn print(all: &mut [u64], name: &str) {
    all.sort_unstable();
    let micros = |part: usize| all[(all.len() - 1) * part / 100] as f64 / 1e3;
    println!("{{\"{name}\": [{:.1}, {:.1}, {:.1}]}}", micros(50), micros(5), micros(95));
}

/// One that stamps `file`, as the supervisors that take a command line start it.
fn by_shell(file: &str) -> Command {
    let program = env::current_exe().unwrap();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("exec {} stamp {file}", program.display())]).stdin(Stdio::null());
    command
}

/// Spawns many that stamp `file`, and ends them at the end of its input.
fn floor_many(times: u64, file: &str, command: impl Fn(&str) -> Command) {
    let mut all: Vec<Child> = (0..times).map(|_| command(file).spawn().unwrap()).collect();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    for child in &mut all {
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Kills a process, waits for its end, and spawns the next one, which says when it has begun.
fn floor_restart(times: u64) {
    let begin = || {
        let mut child = own(&["stamp", "/proc/self/fd/1"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = [0; 64];
        let count = child.stdout.as_mut().unwrap().read(&mut line).unwrap();
        let text = str::from_utf8(&line[..count]).unwrap().trim();
        let stamp: u64 = text.split(' ').next_back().unwrap().parse().unwrap();
        (child, stamp)
    };
    let mut all = Vec::new();
    let (mut child, _) = begin();
    for _ in 0..times {
        std::thread::sleep(Duration::from_millis(20));
        let killed = nanos();
        child.kill().unwrap();
        child.wait().unwrap();
        let (next, stamp) = begin();
        all.push(stamp - killed);
        child = next;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    print(&mut all, "restart_us");
}

/// A reader that only reads a pipe of 1 MiB.
fn floor_pipe(seconds: u64) {
    let mut child =
        own(&["flood", "/dev/null", &seconds.to_string(), "1000000000000"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut pipe: File = std::os::fd::OwnedFd::from(child.stdout.take().unwrap()).into();
    // SAFETY: plain numbers; the descriptor is open.
    unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETPIPE_SZ, 1024 * 1024) };
    let mut buffer = vec![0; 128 * 1024];
    let (begun, mut total) = (nanos(), 0_u64);
    while nanos() - begun < seconds * 900_000_000 {
        total += pipe.read(&mut buffer).unwrap() as u64;
    }
    let took = (nanos() - begun) as f64 / 1e9;
    // SAFETY: the call fills what it is given, for which zeros are a value.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let time = |value: libc::timeval| value.tv_sec as f64 + value.tv_usec as f64 / 1e6;
    let cpu = time(usage.ru_utime) + time(usage.ru_stime);
    child.kill().unwrap();
    child.wait().unwrap();
    println!(
        "{{\"pipe_mb_s\": {:.0}, \"pipe_cpu_s_gib\": {:.3}}}",
        total as f64 / 1e6 / took,
        cpu / (total as f64 / f64::from(1 << 30))
    );
}
