//! The rules that hold for all files, each with its reason.

mod code;
mod passes;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

pub fn files(below: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(below)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if path.file_name().unwrap() != "node_modules" {
                    directories.push(path);
                }
            } else if path.extension().is_some_and(|other| other == extension) {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty());
    found
}

pub fn name(path: &Path) -> String {
    path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display().to_string()
}

/// The part before a file's own tests.
pub fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
}

pub fn is_test(path: &Path) -> bool {
    name(path).contains("/tests") || name(path) == "src/testing.rs"
}

#[test]
fn a_file_can_be_read_in_one_sitting_and_says_what_it_owns() {
    for path in files("src", "rs").iter().chain(&files("tests", "rs")) {
        let text = fs::read_to_string(path).unwrap();
        let lines = text.lines().count();
        assert!(lines <= 400, "{} has {lines} lines; split it", name(path));
        let is_plain_test = is_test(path) || name(path).starts_with("tests/");
        assert!(is_plain_test || text.starts_with("//! "), "{} does not begin with its header", name(path));
        let header: String = text.lines().take_while(|line| line.starts_with("//!")).collect();
        let says = header.contains("Owns:") && header.contains("Never:");
        let is_exempt = is_plain_test || name(path) == "src/lib.rs";
        assert!(is_exempt || says, "{} does not say what it owns and what it never does", name(path));
    }
}

#[test]
fn unsafe_code_is_in_one_place() {
    for path in files("src", "rs") {
        let text = fs::read_to_string(&path).unwrap();
        if name(&path).starts_with("src/os/") {
            continue;
        }
        let code = code::of(&text);
        let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
        let found = code.lines().zip(text.lines()).find(|(code, _)| code.split(|c| !is_part(c)).any(|w| w == "unsafe"));
        assert!(found.is_none(), "{} has unsafe code: {}", name(&path), found.unwrap().1);
    }
}

#[test]
fn threads_are_made_in_one_place() {
    // `std::thread::spawn` panics when the system has no thread to give, and lets a panic go unheard.
    for path in files("src", "rs") {
        let text = fs::read_to_string(&path).unwrap();
        if is_test(&path) || name(&path) == "src/os/thread.rs" {
            continue;
        }
        for word in ["std::thread::spawn", "std_thread::spawn", "thread::Builder", "thread::scope"] {
            assert!(!without_tests(&text).contains(word), "{} has {word}", name(&path));
        }
    }
}

#[test]
fn nothing_unwraps_outside_of_tests() {
    for path in files("src", "rs").iter().filter(|path| !is_test(path)) {
        let text = fs::read_to_string(path).unwrap();
        for word in [".unwrap()", ".expect(", "panic!(", "todo!(", "unimplemented!("] {
            assert!(!without_tests(&text).contains(word), "{} has {word}", name(path));
        }
    }
}

/// The layers of `src/lib.rs`, from the top. What stands further down must not know what stands above.
const LAYERS: [&[&str]; 9] = [
    &["main", "lib", "fuzzing", "cli"],
    &["daemon", "config", "setup", "boot"],
    &["http", "api", "proxy"],
    &["registry"],
    &["supervisor"],
    &["runs"],
    &["ports", "prober", "store", "logs", "overlay", "error", "access"],
    &["process", "handoff"],
    &["os"],
];
/// These may be used by all, `os` too, and use nothing but each other.
const COMMON: [&str; 7] = ["model", "control", "json", "log", "packed", "sorted", "sync"];

#[test]
fn lower_layers_do_not_know_higher_ones() {
    let layer = |module: &str| LAYERS.iter().position(|layer| layer.contains(&module));
    for path in files("src", "rs").iter().filter(|path| !is_test(path)) {
        let relative = name(path);
        let own = relative.strip_prefix("src/").unwrap().split(['/', '.']).next().unwrap();
        let text = fs::read_to_string(path).unwrap();
        for line in without_tests(&text).lines().filter(|line| !line.trim_start().starts_with("//")) {
            let mut rest = line;
            while let Some((_, after)) = rest.split_once("crate::") {
                rest = after;
                let used: String = after.chars().take_while(|letter| letter.is_ascii_alphabetic()).collect();
                if used == own || COMMON.contains(&used.as_str()) || used.is_empty() {
                    continue;
                }
                let allowed = match (layer(own), layer(&used)) {
                    // The front does not know the API; the API knows what the front asks for.
                    (Some(_), Some(_)) if own == "http" => layer(&used) > layer(own),
                    (Some(own_layer), Some(used_layer)) => used_layer >= own_layer,
                    (None, _) | (_, None) => false,
                };
                assert!(allowed, "{relative} must not use {used}: {}", line.trim());
            }
        }
    }
}

#[test]
fn the_model_has_no_clock_no_thread_and_no_files() {
    for path in files("src/model", "rs").iter().filter(|path| !is_test(path)) {
        let text = fs::read_to_string(path).unwrap();
        for word in ["Instant::now", "SystemTime::now", "std::fs", "std::net", "std::thread", "std::process", "serde"] {
            assert!(!without_tests(&text).contains(word), "{} has {word}", name(path));
        }
    }
}

#[test]
fn no_interval_and_no_deadline_comes_from_a_clock_that_jumps() {
    // The time of day may be set forwards or backwards at any moment. Deadlines are of type `Instant`, and nothing but
    // these makes a duration of a `SystemTime`: for a stamp in a file, or to compare with one of a file.
    const STAMPS: [&str; 4] =
        ["src/model/time.rs", "src/store/server.rs", "src/overlay/record.rs", "src/overlay/job.rs"];
    for path in files("src", "rs").iter().filter(|path| !is_test(path)) {
        let (text, is_stamp) = (fs::read_to_string(path).unwrap(), STAMPS.contains(&name(path).as_str()));
        for line in without_tests(&text).lines() {
            // An `Instant` gives the duration itself; a `SystemTime` a result, since its clock may have been set back.
            let takes_apart =
                [".elapsed()?", ".elapsed().unwrap", ".elapsed().ok", ".elapsed().map", ".duration_since("];
            let is_day = takes_apart.iter().any(|word| line.contains(word)) || line.contains("UNIX_EPOCH");
            assert!(!is_day || is_stamp, "{} measures with the time of day: {}", name(path), line.trim());
            let waits = ["recv_deadline", "recv_timeout", "wait_timeout", "set_read_timeout", "thread::sleep"];
            let is_mixed = line.contains("SystemTime") && waits.iter().any(|word| line.contains(word));
            assert!(!is_mixed, "{} waits by the time of day: {}", name(path), line.trim());
        }
        for word in ["CLOCK_REALTIME", "gettimeofday", "libc::time("] {
            assert!(!text.contains(word), "{} reads {word}", name(path));
        }
    }
}

#[test]
fn nothing_names_this_machine_or_a_registry() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = files("src", "rs");
    all.extend(files("tests", "rs"));
    all.extend(["README.md", "Makefile", "Cargo.toml", ".ci/run"].map(|file| root.join(file)));
    for tests in ["tests/sdk", "tests/browser"] {
        all.extend(["package-lock.json", "package.json"].map(|file| root.join(tests).join(file)));
    }
    // In pieces, so that this file does not have them.
    let words =
        [concat!("/wo", "rk/"), concat!("/ho", "me/user"), concat!("registry.", "npmjs"), concat!("\"res", "olved\"")];
    for path in all {
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", name(&path)));
        for word in words {
            assert!(!text.contains(word), "{} has {word}", name(&path));
        }
    }
}

/// The text from `begin`, a declaration, to the line that closes its block.
fn block<'a>(text: &'a str, begin: &str) -> Option<&'a str> {
    let (_, block) = text.split_once(begin)?;
    Some(block.split_once("\n}").map_or(block, |(block, _)| block))
}

/// How many variants the enum `name` in `text` has: the lines that begin with a capital at the first level.
fn variants(text: &str, name: &str) -> Option<usize> {
    let block = block(text, &format!("enum {name} {{\n"))?;
    let is_variant = |line: &&str| {
        line.strip_prefix("    ").is_some_and(|line| line.starts_with(|first: char| first.is_ascii_uppercase()))
    };
    Some(block.lines().filter(is_variant).count())
}

#[test]
fn lists_of_all_variants_are_complete() {
    let mut found = 0;
    for path in files("src", "rs") {
        let text = fs::read_to_string(&path).unwrap();
        for implementation in text.split("\nimpl ").skip(1) {
            let name: String = implementation.chars().take_while(char::is_ascii_alphanumeric).collect();
            let body = implementation.split("\n}").next().unwrap();
            let Some((_, list)) = body.split_once("const ALL: [") else { continue };
            let length = list.split(']').next().unwrap().rsplit("; ").next().unwrap();
            let Some(count) = variants(&text, &name) else { continue };
            found += 1;
            assert_eq!(length.parse(), Ok(count), "{}: {name}::ALL", crate::tidy::name(&path));
        }
    }
    assert!(found > 8, "only {found} lists were found");
}

/// The words that introduce a type.
const TYPES: [&str; 4] = ["struct ", "enum ", "trait ", "type "];

/// The name of the type that `line` defines. Within a block `type` is one of a trait.
pub fn defined_type(line: &str) -> Option<&str> {
    if line.trim_start().starts_with("type ") && line.starts_with(' ') {
        return None;
    }
    let line = line.trim_start();
    let rest = line.strip_prefix("pub(super) ").or(line.strip_prefix("pub(crate) ")).or(line.strip_prefix("pub "));
    let rest = rest.unwrap_or(line);
    let name = TYPES.iter().find_map(|word| rest.strip_prefix(word))?;
    name.split(|letter: char| !letter.is_ascii_alphanumeric()).next()
}

#[test]
fn one_type_name_stands_for_one_thing() {
    // The `data` of an answer: each within the function that makes the answer, and no name says more of it.
    const LOCAL: &str = "Data";
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    for path in files("src", "rs").iter().filter(|path| !is_test(path)) {
        let text = fs::read_to_string(path).unwrap();
        let is_allowed = |line: &&str| line.starts_with(' ') && defined_type(line) == Some(LOCAL);
        let lines = without_tests(&text).lines().filter(|line| !is_allowed(line));
        for defined in lines.filter_map(defined_type) {
            if let Some(other) = known.insert(defined.to_owned(), name(path)) {
                panic!("{defined} is defined in {other} and in {}", name(path));
            }
        }
    }
    assert!(known.len() > 300, "only {} types were found", known.len());
}

#[test]
fn a_comment_marks_the_names_of_types_as_code() {
    // A type that is renamed in code alone leaves its name in sentences, or puts the new one into the middle of them.
    let sources: Vec<_> =
        files("src", "rs").into_iter().map(|path| (fs::read_to_string(&path).unwrap(), path)).collect();
    let is_compound = |name: &&str| name.chars().skip(1).any(char::is_uppercase);
    let types: BTreeSet<&str> =
        sources.iter().flat_map(|(text, _)| text.lines().filter_map(defined_type)).filter(is_compound).collect();
    assert!(types.len() > 200, "only {} types were found", types.len());
    for (text, path) in &sources {
        for line in text.lines().map(str::trim_start).filter(|line| line.starts_with("//")) {
            // Every second part stands between backticks.
            let prose = line.split('`').step_by(2);
            let found = prose
                .flat_map(|part| part.split(|letter: char| !letter.is_alphanumeric()))
                .find(|word| types.contains(word));
            assert!(found.is_none(), "{}: {line}", name(path));
        }
    }
}

#[test]
fn unit_tests_share_limits_and_directories() {
    for path in files("src", "rs").iter().filter(|path| name(path) != "src/testing.rs") {
        let text = fs::read_to_string(path).unwrap();
        let tests = if is_test(path) { text.as_str() } else { &text[without_tests(&text).len()..] };
        for word in ["const LIMIT: Duration", "temp_dir()"] {
            assert!(!tests.contains(word), "{}: {word} is in `crate::testing`", name(path));
        }
    }
}

#[test]
fn the_map_of_the_integration_tests_names_each_module() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/main.rs")).unwrap();
    let modules: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';')).collect();
    let map = text.lines().take_while(|line| line.starts_with("//!")).skip_while(|line| !line.starts_with("//! - "));
    let map: Vec<&str> = map.take_while(|line| *line != "//!").collect();
    let named: Vec<&str> = map.iter().flat_map(|line| line.split('`').skip(1).step_by(2)).collect();
    let once: BTreeSet<&str> = named.iter().copied().collect();
    assert_eq!(named.len(), once.len(), "a module is named twice: {named:?}");
    assert_eq!(once, modules, "the map, and the modules");
}

/// The words of `tests/words.txt`, which says what to write instead and why.
fn banned_words() -> Vec<String> {
    let list = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/words.txt")).unwrap();
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    let words = lines.flat_map(|line| line.split_once(": ").unwrap().0.split(", "));
    words.map(|word| format!(" {word} ")).collect()
}

/// `line` in lower case, with one space between words. An underscore and a capital inside of a name begin one.
fn as_words(line: &str) -> String {
    let mut words = " ".to_owned();
    let mut was_small = false;
    for letter in line.chars() {
        if !letter.is_alphanumeric() || letter.is_uppercase() && was_small {
            words.push(' ');
        }
        was_small = letter.is_lowercase();
        if letter.is_alphanumeric() || letter == '\'' {
            words.extend(letter.to_lowercase());
        }
    }
    words.push(' ');
    words
}

/// All text of the repository, except what other programs write and what is random.
fn texts() -> Vec<(String, String)> {
    const OTHERS: [&str; 7] = [".git", ".servisor", "target", "node_modules", "__pycache__", "seeds", "LICENSE"];
    let mut found = Vec::new();
    let mut directories = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR"))];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let last = path.file_name().unwrap().to_str().unwrap();
            if OTHERS.contains(&last) || last.ends_with(".lock") || last == "package-lock.json" {
                continue;
            }
            if path.is_dir() {
                directories.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                found.push((name(&path), text));
            }
        }
    }
    found
}

#[test]
fn all_text_is_in_plain_words() {
    // The list itself; and nginx and Debian call a user by one of these words.
    const QUOTING: [&str; 2] = ["tests/words.txt", "tests/slow/services.test.mjs"];
    let (banned, texts) = (banned_words(), texts());
    assert!(banned.len() > 40 && texts.len() > 500, "{} words, {} files", banned.len(), texts.len());
    for known in ["src/main.rs", "tests/threads/servisor", "Makefile", ".github/CONTRIBUTING.md", "README.md"] {
        assert!(texts.iter().any(|(name, _)| name == known), "{known} was not read");
    }
    let mut found = Vec::new();
    for (name, text) in texts.iter().filter(|(name, _)| !QUOTING.contains(&name.as_str())) {
        for (number, line) in text.lines().enumerate() {
            let words = as_words(line);
            let has = |word: &&String| words.contains(word.as_str());
            found.extend(banned.iter().find(has).map(|word| format!("{name}:{}:{word}: {line}\n", number + 1)));
        }
    }
    assert!(found.is_empty(), "tests/words.txt says what to write instead:\n{}", found.concat());
}
