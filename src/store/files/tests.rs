use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::{Value, json};

use super::*;
use crate::testing::Scratch;

impl Scratch {
    fn open(&self) -> Files {
        Files::open(self.0.clone()).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn contents(of: &str) -> Value {
    json!({"version": 1, "of": of})
}

/// Names and what is in their files.
fn load(files: &Files) -> Vec<(String, String)> {
    let parse = |name: &str, members: Members| {
        let of = members.text("of")?;
        if of.starts_with(name) { Ok((name.to_owned(), of.to_owned())) } else { Err("it has another name".into()) }
    };
    files.load(parse).unwrap()
}

fn pair(name: &str, of: &str) -> (String, String) {
    (name.to_owned(), of.to_owned())
}

#[test]
fn what_was_put_is_there_once_and_for_the_owner_only() {
    let scratch = Scratch::absent();
    let files = scratch.open();
    for name in ["a", "A", "a.b", "a.json", "a.json.tmp"] {
        files.put(name, &contents("something older and longer than what follows")).unwrap();
        files.put(name, &contents(name)).unwrap();
    }
    assert_eq!(fs::metadata(scratch.0.join("a.json")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&scratch.0).unwrap().permissions().mode() & 0o777, 0o700);
    files.remove("A").unwrap();
    files.remove("never there").unwrap();
    let again = scratch.open();
    let expected = ["a", "a.b", "a.json", "a.json.tmp"];
    let mut loaded = load(&again);
    loaded.sort();
    assert_eq!(loaded, expected.map(|name| pair(name, name)));
    assert_eq!(scratch.names(), ["a.b.json", "a.json", "a.json.json", "a.json.tmp.json"]);
}

#[test]
fn what_a_crash_has_left_half_done_is_removed() {
    let scratch = Scratch::absent();
    scratch.open().put("a", &contents("a")).unwrap();
    fs::write(scratch.0.join("a.json.tmp"), "{\"version\": 1, \"of\": \"a ne").unwrap();
    fs::write(scratch.0.join("b.json.tmp"), "").unwrap();
    assert_eq!(load(&scratch.open()), [pair("a", "a")]);
    assert_eq!(scratch.names(), ["a.json"]);
}

#[test]
fn what_can_not_be_used_is_set_aside_and_never_lost() {
    let scratch = Scratch::absent();
    let files = scratch.open();
    let whole = serde_json::to_string(&contents("torn")).unwrap();
    let texts = [
        ("torn", &whole[..whole.len() / 2]),
        ("empty", ""),
        ("zeros", "\0\0\0\0"),
        ("list", "[]"),
        ("old", "{\"version\": 0, \"of\": \"old\"}"),
        ("none", "{\"of\": \"none\"}"),
        ("text", "{\"version\": \"1\", \"of\": \"text\"}"),
        ("wrong", "{\"version\": 1, \"of\": \"other\"}"),
        ("newer", "{\"version\": 2, \"of\": \"newer\"}"),
    ];
    // Twice: what was set aside first must survive the second time.
    for round in 1..=2 {
        files.put("good", &contents("good")).unwrap();
        for (name, text) in texts {
            fs::write(scratch.0.join(format!("{name}.json")), format!("{text}{}", " ".repeat(round))).unwrap();
        }
        assert_eq!(load(&files), [pair("good", "good")]);
        for (name, text) in texts {
            let word = if name == "newer" { "newer" } else { "corrupt" };
            let aside = fs::read_to_string(scratch.0.join(format!("{name}.json.{word}-{round}"))).unwrap();
            assert_eq!(aside, format!("{text}{}", " ".repeat(round)));
        }
    }
    assert_eq!(scratch.names().len(), 1 + 2 * texts.len());
}

#[test]
fn a_torn_record_of_history_is_dropped_and_no_other_one() {
    let scratch = Scratch::absent();
    let files = scratch.open();
    files.put("good", &contents("good")).unwrap();
    for (name, text) in [("torn", "{\"vers"), ("wrong", "{\"version\": 1}"), ("newer", "{\"version\": 2}")] {
        fs::write(scratch.0.join(format!("{name}.json")), text).unwrap();
    }
    std::os::unix::fs::symlink("/dev/zero", scratch.0.join("link.json")).unwrap();
    let loaded = files.load_history(|name, members| Ok((name.to_owned(), members.text("of")?.to_owned()))).unwrap();
    assert_eq!(loaded, [pair("good", "good")]);
    assert_eq!(scratch.names(), ["good.json", "link.json.unsafe-1", "newer.json.newer-1"]);
}

#[test]
fn what_is_no_file_is_set_aside_without_being_opened() {
    let scratch = Scratch::absent();
    let files = scratch.open();
    fs::create_dir(scratch.0.join("directory.json")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", scratch.0.join("link.json")).unwrap();
    assert!(Command::new("mkfifo").arg(scratch.0.join("pipe.json")).status().unwrap().success());
    assert_eq!(load(&files), []);
    assert_eq!(scratch.names(), ["directory.json.unsafe-1", "link.json.unsafe-1", "pipe.json.unsafe-1"]);
}

#[test]
fn what_can_not_be_stored_leaves_what_was_before() {
    let scratch = Scratch::absent();
    let files = scratch.open();
    files.put("a", &contents("a")).unwrap();
    // A directory with the name of the unfinished file: it can't be written, nor can the old one be moved there.
    fs::create_dir_all(scratch.0.join("a.json.tmp/x")).unwrap();
    assert!(files.put("a", &contents("a, but newer")).is_err());
    assert!(files.remove("a").is_err());
    assert_eq!(load(&files), [pair("a", "a")]);
    fs::remove_dir_all(&scratch.0).unwrap();
    assert!(files.put("b", &contents("b")).is_err());
    assert!(files.remove("b").is_ok(), "what is gone with its directory is gone");
}
