//! The state directory: what is kept in it, and who may have it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use super::home::LOCK;
use super::*;
use crate::testing::{Scratch, soon};

/// Opens what was dropped just now. A child of another test of this process has the lock too, until its program runs.
#[track_caller]
fn reopen(path: &Path) -> Store {
    let limit = soon();
    loop {
        match Store::open(path) {
            Ok(store) => return store,
            Err(refusal) => assert!(refusal.contains("in use") && Instant::now() < limit, "{refusal}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn what_is_kept_is_the_same_the_next_time_and_for_its_owner_only() {
    let scratch = Scratch::absent();
    let deep = scratch.0.join("a/b");
    let first = Store::open(&deep).unwrap();
    let (instance, token) = (first.instance().to_owned(), first.token().unwrap());
    assert_eq!((instance.split('-').next().map(str::len), token.len()), (Some(16), 64));
    assert_eq!(mode(&deep), 0o700);
    assert_eq!(mode(&first.token_path()), 0o600);
    drop(first);
    let second = reopen(&deep);
    assert_eq!((second.instance(), second.token().unwrap()), (instance.as_str(), token));
}

#[test]
fn a_copy_has_another_name() {
    let scratch = Scratch::absent();
    let (first, second) = (scratch.0.join("first"), scratch.0.join("second"));
    let store = Store::open(&first).unwrap();
    fs::create_dir_all(&second).unwrap();
    fs::copy(first.join(INSTANCE), second.join(INSTANCE)).unwrap();
    assert_ne!(Store::open(&second).unwrap().instance(), store.instance());
}

#[test]
fn how_the_last_life_ended_is_known() {
    let scratch = Scratch::absent();
    let first = Store::open(&scratch.0).unwrap();
    assert_eq!(first.past(), Past::Clean, "there was none");
    drop(first);
    let second = reopen(&scratch.0);
    assert_eq!(second.past(), Past::Unclean);
    second.end_clean();
    drop(second);
    assert_eq!(reopen(&scratch.0).past(), Past::Clean);
    fs::remove_file(scratch.0.join(LOCK)).unwrap();
    assert_eq!(reopen(&scratch.0).past(), Past::Unclean, "unknown");
}

#[test]
fn an_existing_directory_is_closed_to_others() {
    let scratch = Scratch::absent();
    fs::create_dir_all(&scratch.0).unwrap();
    fs::set_permissions(&scratch.0, Permissions::from_mode(0o755)).unwrap();
    let _store = Store::open(&scratch.0).unwrap();
    assert_eq!(mode(&scratch.0), 0o700);
}

#[test]
fn a_second_daemon_is_refused_with_the_number_of_the_first() {
    let scratch = Scratch::absent();
    let first = Store::open(&scratch.0).unwrap();
    let refusal = Store::open(&scratch.0).unwrap_err();
    assert!(refusal.contains(&format!("pid {}", std::process::id())), "{refusal}");
    drop(first);
    reopen(&scratch.0);
}

#[test]
fn what_a_dead_daemon_was_about_to_spawn_is_waited_for() {
    let scratch = Scratch::absent();
    let first = Store::open(&scratch.0).unwrap();
    // No process has its number, and the lock is held all the same.
    fs::write(scratch.0.join(LOCK), format!("{}\n", i32::MAX)).unwrap();
    let child = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        drop(first);
    });
    assert!(Store::open(&scratch.0).is_ok());
    child.join().unwrap();
}

#[test]
fn an_empty_token_file_is_filled() {
    let scratch = Scratch::absent();
    let store = Store::open(&scratch.0).unwrap();
    fs::write(store.token_path(), "").unwrap();
    assert_eq!(store.token().unwrap().len(), 64);
}

#[test]
fn a_file_in_place_of_the_directory_is_named() {
    let scratch = Scratch::absent();
    fs::write(&scratch.0, "not a directory").unwrap();
    let refusal = Store::open(&scratch.0).unwrap_err();
    assert!(refusal.contains(&*scratch.0.to_string_lossy()), "{refusal}");
    let _ = fs::remove_file(&scratch.0);
}
