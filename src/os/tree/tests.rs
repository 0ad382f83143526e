use super::*;
use crate::os::child::{self, Plan, Spawned};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

/// A run whose leader prints one line when everything is in place, killed and reaped at the end of the test.
struct Planted {
    forest: Forest,
    tree: Arc<Tree>,
    first_line: String,
    _output: BufReader<File>,
}

impl Planted {
    fn new(script: &str) -> Planted {
        let marker = format!("test.{}.{:?}", std::process::id(), std::thread::current().id());
        let environment = vec![
            ("PATH".into(), std::env::var_os("PATH").unwrap_or_default()),
            (MARKER_VARIABLE.into(), marker.clone().into()),
        ];
        let plan = Plan { script: script.into(), directory: PathBuf::from("/"), environment, open_files: None };
        let Spawned { pid, stdout, stderr } = child::spawn(&plan).unwrap();
        let pipes = [stdout.as_fd(), stderr.as_fd()].map(|fd| proc::own_pipe(fd).unwrap());
        let forest = Forest::new(Strangers::Possible);
        let tree = forest.plant(Tree { leader: pid, marker, pipes });
        let mut output = BufReader::new(File::from(stdout));
        let mut first_line = String::new();
        output.read_line(&mut first_line).unwrap();
        Planted { forest, tree, first_line, _output: output }
    }

    fn pids(&self) -> Vec<Pid> {
        self.forest.members(&self.tree, Instant::now()).unwrap().into_iter().map(|process| process.pid).collect()
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        if let Ok(members) = self.forest.members(&self.tree, Instant::now()) {
            members.iter().for_each(|process| signal(process, Signal::Kill));
        }
        // SAFETY: plain numbers and no status asked for; the leader is a child of this process.
        unsafe { libc::waitpid(self.tree.leader.raw(), ptr::null_mut(), 0) };
    }
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
    let forest = Forest::new(Strangers::Possible);
    let before = Instant::now();
    let first = forest.look(before).unwrap();
    assert!(Arc::ptr_eq(&first, &forest.look(before).unwrap()));
    assert!(!Arc::ptr_eq(&first, &forest.look(Instant::now()).unwrap()));
}

#[test]
fn a_number_that_is_another_process_by_now_is_not_signalled() {
    let planted = Planted::new("echo up; exec sleep 60");
    let living = Process::read(planted.tree.leader).unwrap();
    let mut before = living.clone();
    before.started -= 1;
    signal(&before, Signal::Kill);
    assert!(living.is_still_there() && Process::read(living.pid).unwrap().is_alive());
    signal(&living, Signal::Kill);
    while Process::read(living.pid).unwrap().is_alive() {
        std::thread::yield_now();
    }
}
