//! Names, and the calls on a scratch directory.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::Ordering;

use super::copy_file::{Copier, Ways, stat};
use super::*;
use crate::testing::Scratch;

impl Scratch {
    fn dir(&self) -> Dir {
        Dir::open(&self.0, Last::Refuse).unwrap()
    }
}

fn name(text: &str) -> Name {
    Name::new(OsStr::new(text)).unwrap()
}

#[test]
fn a_name_is_one_component() {
    for bad in ["", ".", "..", "a/b", "/", "a\0b"] {
        assert_eq!(Name::new(OsStr::new(bad)), None, "{bad:?}");
    }
    for good in ["a", "...", "a b", "ä", ".git"] {
        assert_eq!(name(good).as_os_str(), good);
    }
}

#[test]
fn all_entries_are_found_and_none_twice() {
    let scratch = Scratch::new();
    let mut expected: Vec<String> = (0..2000).map(|n| format!("{n}-{}", "x".repeat(n % 200))).collect();
    for text in &expected {
        fs::write(scratch.0.join(text), "").unwrap();
    }
    let entries = scratch.dir().entries().unwrap();
    assert!(entries.iter().all(|(_, kind)| matches!(kind, None | Some(FileKind::File))));
    let mut found: Vec<String> = entries.iter().map(|(name, _)| name.as_os_str().to_str().unwrap().into()).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn no_call_follows_a_symlink() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.0.join("real")).unwrap();
    fs::write(scratch.0.join("file"), "content").unwrap();
    let dir = scratch.dir();
    dir.make_symlink(&name("link"), OsStr::new("real")).unwrap();
    dir.make_symlink(&name("filelink"), OsStr::new("file")).unwrap();
    assert!(dir.open_dir(&name("link")).is_err());
    assert!(dir.open_file(&name("filelink")).is_err());
    assert!(dir.create_file(&name("filelink")).is_err());
    assert!(Dir::open(&scratch.0.join("link"), Last::Refuse).is_err());
    assert!(Dir::open(&scratch.0.join("link"), Last::Follow).is_ok());
    assert_eq!(dir.make_dir(&name("link"), 0o755).unwrap(), Made::Present);
    assert_eq!(dir.stat(&name("link")).unwrap().kind, FileKind::Symlink);
    assert_eq!(dir.read_link(&name("link")).unwrap(), b"real");
}

#[test]
fn a_rename_replaces_nothing_and_an_exchange_is_one() {
    let scratch = Scratch::new();
    fs::write(scratch.0.join("a"), "a").unwrap();
    fs::write(scratch.0.join("b"), "b").unwrap();
    let dir = scratch.dir();
    let refusal = dir.rename_new(&name("a"), &name("b")).unwrap_err();
    assert_eq!(refusal.kind(), io::ErrorKind::AlreadyExists);
    dir.rename_new(&name("a"), &name("c")).unwrap();
    assert_eq!(fs::read(scratch.0.join("c")).unwrap(), b"a");
    if dir.exchange(&name("b"), &name("c")).is_ok() {
        assert_eq!(fs::read(scratch.0.join("c")).unwrap(), b"b");
        assert_eq!(fs::read(scratch.0.join("b")).unwrap(), b"a");
    }
}

#[test]
fn each_way_to_copy_gives_the_same_and_keeps_holes() {
    let scratch = Scratch::new();
    let mut pattern = Vec::new();
    (0..300_000_u32).for_each(|n| pattern.extend(n.wrapping_mul(2_654_435_761).to_le_bytes()));
    fs::write(scratch.0.join("plain"), &pattern).unwrap();
    fs::write(scratch.0.join("small"), "small").unwrap();
    fs::write(scratch.0.join("empty"), "").unwrap();
    let sparse = File::create(scratch.0.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, &pattern, 64 << 20).unwrap();
    sparse.set_len(256 << 20).unwrap();
    File::create(scratch.0.join("hole")).unwrap().set_len(1 << 30).unwrap();
    let dir = scratch.dir();
    for (round, in_kernel) in [true, false].into_iter().enumerate() {
        let ways = Ways::default();
        ways.clone.store(in_kernel, Ordering::Relaxed);
        ways.in_kernel.store(in_kernel, Ordering::Relaxed);
        for file in ["plain", "small", "empty", "sparse", "hole"] {
            let copy = format!("{file}-{round}");
            let (from, to) = (dir.open_file(&name(file)).unwrap(), dir.create_file(&name(&copy)).unwrap());
            Copier::new(&ways).copy(&from, &stat(&from).unwrap(), &to, &|| Ok(())).unwrap();
            let (left, right) = (from.metadata().unwrap(), to.metadata().unwrap());
            assert_eq!(left.size(), right.size(), "{copy}");
            assert!(right.blocks() <= left.blocks() + 256, "{copy}: {} blocks", right.blocks());
            if file == "sparse" {
                let mut middle = vec![0; pattern.len()];
                let copied = File::open(scratch.0.join(&copy)).unwrap();
                std::os::unix::fs::FileExt::read_exact_at(&copied, &mut middle, 64 << 20).unwrap();
                assert!(middle == pattern, "{copy}");
            } else if file != "hole" {
                assert!(fs::read(scratch.0.join(file)).unwrap() == fs::read(scratch.0.join(&copy)).unwrap(), "{copy}");
            }
        }
    }
}

#[test]
fn a_copy_stops_on_request() {
    let scratch = Scratch::new();
    fs::write(scratch.0.join("big"), vec![1; 20 << 20]).unwrap();
    let dir = scratch.dir();
    let (from, to) = (dir.open_file(&name("big")).unwrap(), dir.create_file(&name("copy")).unwrap());
    let left = std::cell::Cell::new(2);
    let ways = Ways::default();
    ways.clone.store(false, Ordering::Relaxed);
    let stop = Copier::new(&ways).copy(&from, &stat(&from).unwrap(), &to, &|| {
        left.set(left.get() - 1);
        if left.get() == 0 { Err(io::Error::other("enough")) } else { Ok(()) }
    });
    assert_eq!(stop.unwrap_err().to_string(), "enough");
    assert!(to.metadata().unwrap().size() < 20 << 20);
}
