use super::*;
use crate::model::spec::Stdin;
use crate::os::child::{self, Plan, Spawned};
use crate::testing::LIMIT;
use crossbeam_channel::{Receiver, unbounded};
use std::path::PathBuf;

fn spawn(script: &str) -> Spawned {
    let environment = vec![("PATH".into(), std::env::var_os("PATH").unwrap_or_default())];
    child::spawn(&Plan {
        script: script.into(),
        words: None,
        directory: PathBuf::from("/"),
        environment,
        open_files: None,
        stdin: Stdin::Null,
    })
    .unwrap()
}

/// Spawns as a supervisor does, on a thread other than the one that sweeps, and gives the leader back to it: the
/// children of a thread that has ended belong to another one of the process, none of which is the sweeper.
fn adopt(reaper: &Arc<Reaper>, script: &str) -> (Leader, Receiver<Notice>) {
    let (reaper, script) = (Arc::clone(reaper), script.to_owned());
    thread::spawn(move || {
        let (notices_tx, notices) = unbounded();
        let spawned = spawn(&script);
        let leader = reaper.adopt(spawned.pid, move |notice| notices_tx.send(notice).unwrap());
        (leader, notices)
    })
    .join()
    .unwrap()
}

/// Sweeps, as the main thread does at each SIGCHLD, until there is news.
fn sweep_until(reaper: &Reaper, notices: &Receiver<Notice>) -> Notice {
    let limit = Instant::now() + LIMIT;
    loop {
        reaper.sweep();
        if let Ok(notice) = notices.recv_timeout(Duration::from_millis(5)) {
            return notice;
        }
        assert!(Instant::now() < limit, "no news of the child");
    }
}

#[test]
fn every_exit_is_reported_once_and_exactly() {
    let reaper = Arc::new(Reaper::default());
    for (script, exit) in [
        ("exit 0", Exit::Code(0)),
        ("exit 3", Exit::Code(3)),
        ("exit 255", Exit::Code(255)),
        ("kill -TERM $$", Exit::Signal(libc::SIGTERM)),
        ("kill -KILL $$", Exit::Signal(libc::SIGKILL)),
    ] {
        let (leader, notices) = adopt(&reaper, script);
        assert!(matches!(sweep_until(&reaper, &notices), Notice::LeaderExited(_)), "{script}");
        reaper.sweep();
        assert!(notices.try_recv().is_err(), "notices twice");
        assert!(exists(leader.pid()), "a dead leader keeps its number until it is reaped");
        let pid = leader.pid();
        assert_eq!(leader.reap().unwrap().0, exit, "{script}");
        assert!(!exists(pid) && !reaper.is_leader(pid));
    }
}

#[test]
fn a_child_that_ends_before_it_is_adopted_is_not_lost() {
    let reaper = Arc::new(Reaper::default());
    let spawned = thread::spawn(|| spawn("exit 9")).join().unwrap();
    while !has_exited(spawned.pid) {
        thread::yield_now();
    }
    let (notices_tx, notices) = unbounded();
    let leader = reaper.adopt(spawned.pid, move |notice| notices_tx.send(notice).unwrap());
    assert_eq!(notices.try_recv(), Ok(Notice::LeaderExited(Orphans::Perhaps)));
    assert_eq!(leader.reap().unwrap().0, Exit::Code(9));
}

#[test]
fn a_living_leader_can_not_be_reaped() {
    let reaper = Arc::new(Reaper::default());
    let (leader, _notices) = adopt(&reaper, "exec sleep 60");
    assert_eq!(leader.reap().unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn a_dropped_leader_takes_its_group_with_it() {
    use std::io::Read;
    let reaper = Arc::new(Reaper::default());
    let spawned = thread::spawn(|| spawn("sleep 60 & echo up; sleep 60")).join().unwrap();
    let leader = reaper.adopt(spawned.pid, |_| {});
    let mut output = std::fs::File::from(spawned.stdout);
    output.read_exact(&mut [0; 3]).unwrap();
    drop(leader);
    assert!(!exists(spawned.pid));
    // End of file means that no process holds the pipe: the group is gone.
    assert_eq!(output.read_to_end(&mut Vec::new()).unwrap(), 0);
}

#[test]
fn awaited_processes_that_are_gone_are_not_waited_for() {
    let reaper = Arc::new(Reaper::default());
    let (leader, notices) = adopt(&reaper, "exit 0");
    assert!(matches!(sweep_until(&reaper, &notices), Notice::LeaderExited(_)));
    let gone = {
        let (other, notices) = adopt(&reaper, "exit 0");
        let pid = other.pid();
        sweep_until(&reaper, &notices);
        other.reap().unwrap();
        pid
    };
    assert_eq!(reaper.await_orphans(leader.pid(), SortedSet::from([gone])), OrphanWait::Gone);
    assert_eq!(reaper.await_orphans(leader.pid(), SortedSet::from([Pid::own()])), OrphanWait::Pending);
}
