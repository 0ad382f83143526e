//! Which tests the Makefile's two passes run: time-bound tests run one after the other, and no test gets lost.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use super::{files, name};

/// A test that allows less than this, in milliseconds, fails beside other tests of a busy machine.
const TIGHT: u64 = 5000;

/// The arguments for the tests (those after `--`) of each `cargo test` in the recipe of `target`.
fn passes(target: &str) -> Vec<Vec<String>> {
    let makefile = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Makefile")).unwrap();
    let variable = |name: &str| {
        let line = makefile.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" := "));
        line.unwrap_or_else(|| panic!("the Makefile has no {name}")).to_owned()
    };
    let (_, recipe) = makefile.split_once(&format!("\n{target}: ")).unwrap();
    let commands = recipe.lines().skip(1).take_while(|line| line.starts_with('\t'));
    let tests = commands.filter_map(|line| line.split_once("cargo test ")?.1.split_once("-- "));
    tests
        .map(|(_, arguments)| {
            let arguments = arguments.replace("$(TIMED)", &variable("TIMED")).replace("$(ALONE)", &variable("ALONE"));
            arguments.split_whitespace().map(str::to_owned).collect()
        })
        .collect()
}

/// The tests of this program that it would run with these arguments.
fn chosen(arguments: &[String]) -> BTreeSet<String> {
    // It gives the list of what is ignored only for `--ignored` alone.
    let output = Command::new(std::env::current_exe().unwrap()).args(arguments).arg("--list").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}

#[test]
fn each_test_is_in_one_of_two_passes() {
    let all = chosen(&[]);
    for target in ["test-rust", "test-static"] {
        let passes = passes(target);
        let [beside, alone] = passes.as_slice() else { panic!("{target} has other passes: {passes:?}") };
        assert!(alone.iter().any(|argument| argument == "--test-threads=1"), "{target}: {alone:?}");
        assert!(alone.iter().any(|argument| argument == "--include-ignored"), "{target}: {alone:?}");
        let (beside, alone) = (chosen(beside), chosen(alone));
        assert_eq!(beside.intersection(&alone).next(), None, "{target} has it twice");
        let is_lost = |test: &&String| !beside.contains(*test) && !alone.contains(*test);
        // `make soak` is the other one of the static binary.
        let lost: Vec<_> = all.iter().filter(is_lost).filter(|test| !test.starts_with("soak::")).collect();
        assert_eq!(lost, [""; 0], "{target} does not run them");
        assert!(alone.iter().all(|test| test.contains("::timed::")) && alone.len() > 10, "{target}: {alone:?}");
        let ignored = chosen(&["--ignored".to_owned()]);
        assert!(ignored.is_subset(&alone), "{target} does not run {ignored:?}");
    }
    for path in files("src", "rs") {
        let is_timed = fs::read_to_string(&path).unwrap().contains("mod timed");
        assert!(!is_timed, "{}: the second pass is of the integration tests", name(&path));
    }
}

/// The milliseconds of the `Duration` of plain numbers that `text` begins with, perhaps after a product.
fn milliseconds(text: &str) -> Option<u64> {
    let (unit, rest) = text.split_once('(')?;
    let factor = match unit.rsplit("::").next()? {
        "from_millis" => 1,
        "from_secs" => 1000,
        _ => return None,
    };
    let product = rest.split_once(')')?.0.split('*').map(|number| number.trim().replace('_', "").parse::<u64>());
    product.product::<Result<u64, _>>().ok().map(|number| number * factor)
}

#[test]
fn a_test_with_a_tight_limit_is_a_timed_one() {
    let mut found = 0;
    for path in files("tests/it", "rs") {
        let text = fs::read_to_string(&path).unwrap();
        let mut is_timed = false;
        for line in text.lines() {
            is_timed = (is_timed || line == "mod timed {") && line != "}";
            if !line.trim_start().starts_with("assert!(") {
                continue;
            }
            for limit in line.split(" < ").skip(1).filter_map(milliseconds).filter(|limit| *limit < TIGHT) {
                found += 1;
                assert!(is_timed, "{}: {limit} ms, outside of `mod timed`: {}", name(&path), line.trim());
            }
        }
    }
    assert!(found > 8, "only {found} limits were found");
}
