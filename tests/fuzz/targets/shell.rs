//! `exec` before a command: it is put in one place or in none, and a shell that is given both does the same. And a
//! command that is its words: run without a shell it does the same too.
#![no_main]

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use servisor::model::shell::{exec_form, words};

/// Whatever is put together from these can do no harm: nothing is written to but what stands here, and a `*` finds
/// nothing.
const WORDS: [&str; 52] = [
    " ",
    " ",
    " ",
    "\t",
    "\n",
    "/usr/bin/printf ",
    "/bin/echo ",
    "/usr/bin/env",
    "printf",
    "true",
    "/bin/true",
    "/bin/false",
    "%s.",
    "a",
    "b=c",
    "A=1 ",
    "A=$A",
    "_x",
    "'",
    "'q r'",
    "\"",
    "\"q $A\"",
    "\"q\\\"\"",
    "\\",
    "\\ ",
    "\\$",
    "$A",
    "${A}",
    "${A:-d}",
    "$B",
    "${B}",
    "-x=/y:z,%s@+",
    "${B:-d}",
    "$",
    "$$-",
    "#",
    " #c",
    ">/dev/null ",
    "2>&1 ",
    "</dev/null ",
    "1",
    ">&2 ",
    "&&",
    ";",
    "||",
    "!",
    "{",
    "}",
    "~",
    "*",
    "[a]",
    "exec ",
];

/// An empty directory.
fn nowhere() -> &'static PathBuf {
    static NOWHERE: OnceLock<PathBuf> = OnceLock::new();
    NOWHERE.get_or_init(|| {
        let path = std::env::temp_dir().join(format!("servisor-fuzz-{}", std::process::id()));
        std::fs::create_dir(&path).expect("there is no place for it");
        path
    })
}

fn run(script: &str) -> (Option<i32>, Vec<u8>) {
    run_words(&["/bin/sh", "-c", script].map(str::to_owned)).expect("there is no shell")
}

/// `None` if there is no such program.
fn run_words(words: &[String]) -> Option<(Option<i32>, Vec<u8>)> {
    let output = Command::new(&words[0])
        .args(&words[1..])
        .current_dir(nowhere())
        .env_clear()
        .env("A", "a value")
        .env("B", "plain")
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    Some((output.status.code(), output.stdout))
}

fuzz_target!(|input: &[u8]| {
    // What begins with a line end is a list of places in `WORDS`; everything else is a command that is only looked at.
    let (command, is_harmless) = match input.strip_prefix(b"\n") {
        Some(places) => {
            let words = places.iter().take(24).map(|&place| WORDS[usize::from(place) % WORDS.len()]);
            (words.collect(), true)
        }
        None => (String::from_utf8_lossy(input).into_owned(), false),
    };
    let value = |name: &str| (name == "A").then_some("a value").or((name == "B").then_some("plain"));
    // A shell adds to the environment and sorts it anew; what shows that is left out.
    if let Some(words) = words(&command, value).filter(|_| is_harmless && !command.contains("env")) {
        if let Some(reported) = run_words(&words) {
            assert_eq!(reported, run(&command), "{command:?} is not {words:?}");
        }
    }
    let form = exec_form(&command);
    if form == command {
        return;
    }
    let is_all = |place: usize| form[..place] == command[..place] && form[place + 5..] == command[place..];
    assert!(form.match_indices("exec ").any(|(place, _)| is_all(place)), "{command:?} became {form:?}");
    // The one thing that is meant to differ is the number of the process, and nothing here shows it.
    if is_harmless && !command.contains("$$") {
        let (becomes, was) = (run(&form), run(&command));
        // What a shell says of a program that it can't find has the word in it.
        let is_same = becomes == was || (becomes.0 == was.0 && matches!(was.0, Some(126 | 127)));
        assert!(is_same, "{command:?} became {form:?}: {becomes:?} and not {was:?}");
    }
});
