use super::*;
use crate::model::spec::Stdin;
use crate::os::child::{self, Plan, Spawned};
use crate::os::pidfd::{Signal, signal};
use crate::os::wait::{WaitMode, WaitTarget, ended};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::PathBuf;

/// A run whose leader prints one line when everything is in place, killed and reaped at the end of the test.
struct Planted {
    tracker: ProcessTracker,
    tree: Arc<RunTree>,
    first_line: String,
    _output: BufReader<File>,
}

impl Planted {
    fn new(script: &str) -> Planted {
        let marker = format!("test.{}.{:?}", std::process::id(), std::thread::current().id());
        let environment = vec![
            ("PATH".into(), std::env::var_os("PATH").unwrap_or_default()),
            (crate::model::marker::MARKER_VARIABLE.into(), marker.clone().into()),
        ];
        let plan = Plan {
            script: script.into(),
            words: None,
            directory: PathBuf::from("/"),
            environment,
            open_files: None,
            stdin: Stdin::Null,
        };
        let Spawned { pid, stdout, stderr, .. } = child::spawn(&plan).unwrap();
        let pipes = [stdout.as_fd(), stderr.as_fd()].map(|fd| proc::own_pipe(fd).unwrap());
        let tracker = ProcessTracker::new(Strangers::Possible);
        let tree = tracker.register(RunTree { leader: pid, mark: None, marker, pipes });
        let mut output = BufReader::new(File::from(stdout));
        let mut first_line = String::new();
        output.read_line(&mut first_line).unwrap();
        Planted { tracker, tree, first_line, _output: output }
    }

    fn pids(&self) -> Vec<Pid> {
        self.tracker
            .members(&self.tree, Instant::now())
            .unwrap()
            .living
            .into_iter()
            .map(|process| process.pid)
            .collect()
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        if let Ok(members) = self.tracker.members(&self.tree, Instant::now()) {
            members.living.iter().for_each(|process| signal(process, Signal::Kill).unwrap());
        }
        while let Ok(None) = ended(WaitTarget::One(self.tree.leader), WaitMode::Reap) {
            thread::yield_now();
        }
    }
}

#[test]
fn with_the_last_tree_goes_what_was_seen_of_the_system() {
    let planted = Planted::new("echo; exec sleep 60");
    assert!(!planted.pids().is_empty());
    assert!(planted.tracker.last_snapshot().is_some(), "concurrent queries share it");
    planted.tracker.unregister(planted.tree.leader);
    assert!(planted.tracker.last_snapshot().is_none());
    // A later query takes another.
    assert!(!planted.pids().is_empty());
    assert!(planted.tracker.last_snapshot().is_none());
}

#[test]
fn descendants_belong_to_it_in_whatever_group_or_session() {
    let planted = Planted::new("setsid sleep 60 & child=$!; sleep 60 & echo $child $!; wait");
    let pids = planted.pids();
    assert!(pids.contains(&planted.tree.leader));
    // `setsid` may fork once more; the shell's children are there in any case.
    for number in planted.first_line.split_whitespace() {
        let pid = Pid::new(number.parse().unwrap()).unwrap();
        assert!(pids.contains(&pid), "{pid} is not in {pids:?}");
    }
}

#[test]
fn strangers_do_not_belong_to_it() {
    let planted = Planted::new("echo up; exec sleep 60");
    assert_eq!(planted.pids(), [planted.tree.leader]);
}

#[test]
fn those_who_ask_at_the_same_time_share_a_look_and_later_ones_do_not() {
    let planted = Planted::new("echo up; exec sleep 60");
    let (tracker, before) = (&planted.tracker, Instant::now());
    let first = tracker.snapshot(before).unwrap();
    assert!(Arc::ptr_eq(&first.snapshot, &tracker.snapshot(before).unwrap().snapshot));
    assert!(!Arc::ptr_eq(&first.snapshot, &tracker.snapshot(Instant::now()).unwrap().snapshot));
}

#[test]
fn a_number_that_is_another_process_by_now_is_not_signalled() {
    let planted = Planted::new("echo up; exec sleep 60");
    let living = Process::read(planted.tree.leader).unwrap();
    let mut before = living.clone();
    before.started -= 1;
    signal(&before, Signal::Kill).unwrap();
    assert!(living.is_still_there() && Process::read(living.pid).unwrap().is_alive());
    signal(&living, Signal::Kill).unwrap();
    while Process::read(living.pid).unwrap().is_alive() {
        std::thread::yield_now();
    }
}

/// A child of this process with nothing of the run but `inherited`, killed and reaped at the end.
struct Stranger(std::process::Child);

impl Stranger {
    fn with(inherited: impl Into<std::process::Stdio>) -> Stranger {
        let mut command = std::process::Command::new("sleep");
        Stranger(command.arg("60").env_clear().stdin(inherited).spawn().unwrap())
    }

    fn pid(&self) -> Pid {
        Pid::new(self.0.id().cast_signed()).unwrap()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn who_writes_to_its_pipe_belongs_to_it_and_who_could_only_read_from_it_does_not() {
    let planted = Planted::new("echo; exec sleep 60");
    let path = format!("/proc/{}/fd/1", planted.tree.leader);
    let writer = Stranger::with(File::options().write(true).open(path).unwrap());
    // As a child has it that was forked from the daemon and is not another program yet.
    let read_end = planted._output.get_ref().try_clone().unwrap();
    let reader = Stranger::with(read_end);
    let pids = planted.pids();
    assert!(pids.contains(&writer.pid()) && !pids.contains(&reader.pid()), "{pids:?}");
}

#[test]
fn as_long_as_a_process_is_being_spawned_no_unknown_child_is_held_against_a_run() {
    let planted = Planted::new("echo; exec sleep 60");
    let seed = planted.tracker.begin_spawn();
    let path = format!("/proc/{}/fd/1", planted.tree.leader);
    // It has what a child of the daemon has until it is another program: whatever the daemon has.
    let nascent = Stranger::with(File::options().write(true).open(path).unwrap());
    assert!(!planted.pids().contains(&nascent.pid()));
    drop(seed);
    assert!(planted.pids().contains(&nascent.pid()), "by now it could have been planted");
}

#[test]
fn however_many_unknown_children_come_and_go_a_look_is_clear() {
    let planted = Planted::new("echo; exec sleep 60");
    let path = format!("/proc/{}/fd/1", planted.tree.leader);
    let writer = Stranger::with(File::options().write(true).open(path).unwrap());
    let (spawning, (mut clear, mut looks)) = (std::sync::atomic::AtomicBool::new(true), (0, 0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while spawning.load(std::sync::atomic::Ordering::Relaxed) {
                    std::process::Command::new("true").env_clear().status().unwrap();
                }
            });
        }
        while looks < 100 {
            // With its repetitions: a single look at a machine on which much else comes and goes may miss one.
            let members = planted.tracker.members(&planted.tree, Instant::now()).unwrap();
            assert!(members.living.iter().any(|process| process.pid == writer.pid()));
            clear += u32::from(members.completeness == Completeness::Complete);
            looks += 1;
        }
        spawning.store(false, std::sync::atomic::Ordering::Relaxed);
    });
    println!("{clear} of {looks} looks were clear");
    assert!(clear > looks * 9 / 10, "{clear} of {looks} looks were clear");
}
