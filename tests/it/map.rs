//! The tables of threads and locks at the head of `src/lib.rs`, against the code and `docs/design.md`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::tidy::{defined_type, files, is_test, name, without_tests};

/// The cells of each row of the table under the heading `title`. The lines may begin with the mark of a doc comment.
fn rows(file: &str, title: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let lines = text.lines().map(|line| line.strip_prefix("//!").unwrap_or(line).trim());
    let section =
        lines.skip_while(|line| line.trim_start_matches('#').trim() != title || !line.starts_with('#')).skip(1);
    let table = section.take_while(|line| !line.starts_with('#')).filter(|line| line.starts_with('|'));
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    // Without the heading and the line below it.
    let rows: Vec<_> = table.skip(2).map(cells).collect();
    assert!(!rows.is_empty(), "{file} has no table of {title}");
    rows
}

/// The words between backticks.
fn names(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The name in the table of a lock that `line` declares, if it does: of a field, a static, a type, or a local value
/// that threads share. `within` is the type whose definition the line is in.
fn declared(line: &str, within: &str, file: &str) -> Option<String> {
    let stem = Path::new(file).file_stem().unwrap().to_str().unwrap();
    let has_type = ["Mutex<", "RwLock<"].iter().any(|word| line.contains(word));
    if let Some(local) = line.trim().strip_prefix("let ")
        && (local.contains("Arc::new(Mutex::new(") || local.contains("Arc::new(RwLock::new("))
    {
        return Some(format!("{stem}::{}", local.split(' ').next().unwrap()));
    }
    if !has_type || line.contains("fn ") || line.contains("->") {
        return None;
    }
    if let Some(defined) = defined_type(line) {
        return Some(defined.to_owned());
    }
    let (before, _) = line.split_once(": ")?;
    let declared = before.trim().rsplit(' ').next().unwrap();
    let is_static = before.contains("static ");
    Some(if is_static { format!("{stem}::{declared}") } else { format!("{within}.{declared}") })
}

/// All locks of the code, each as its name and its file below `src`.
fn locks() -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for path in files("src", "rs").iter().filter(|path| !is_test(path)) {
        let text = fs::read_to_string(path).unwrap();
        let file = name(path).strip_prefix("src/").unwrap().to_owned();
        // What takes a lock as an argument has none.
        if file == "sync.rs" {
            continue;
        }
        let mut within = String::new();
        for line in without_tests(&text).lines().filter(|line| !line.trim_start().starts_with("//")) {
            if let Some(defined) = defined_type(line) {
                within = defined.to_owned();
            }
            found.extend(declared(line, &within, &file).map(|lock| (lock, file.clone())));
        }
    }
    found
}

#[test]
fn the_table_of_locks_has_every_lock() {
    let mut listed = BTreeSet::new();
    for row in rows("src/lib.rs", "Locks") {
        for lock in names(&row[0]) {
            assert!(listed.insert((lock.to_owned(), row[1].clone())), "{lock} is in the table twice");
        }
    }
    let found = locks();
    assert!(found.len() > 40, "only {} locks were found", found.len());
    let missing: Vec<_> = found.difference(&listed).collect();
    assert!(missing.is_empty(), "the table of locks in src/lib.rs does not have {missing:?}");
    let gone: Vec<_> = listed.difference(&found).collect();
    assert!(gone.is_empty(), "the table of locks in src/lib.rs has {gone:?}, which the code has not");
}

#[test]
fn both_tables_of_threads_name_the_same() {
    // Other words between backticks are options and paths.
    let is_thread = |name: &&str| !name.starts_with('-') && !name.starts_with('/');
    let threads = |file| -> BTreeSet<String> {
        let rows = rows(file, "Threads");
        rows.iter().flat_map(|row| names(&row[0]).filter(is_thread)).map(str::to_owned).collect()
    };
    let (map, design) = (threads("src/lib.rs"), threads("docs/design.md"));
    assert!(map.len() > 10, "only {} threads were found", map.len());
    assert_eq!(map, design, "the tables of threads in src/lib.rs and docs/design.md differ");
}
