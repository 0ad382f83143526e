//! No circle of files: what a file uses does not use it in turn, so each can be read and tested after those below it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;

use crate::tidy::{files, is_test, name, without_tests};

/// A module by the names on its way from the root.
type Module = Vec<String>;
/// What each module uses.
type Uses = BTreeMap<Module, BTreeSet<Module>>;

/// The paths of a tree as `use` has it, from its first letter on: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn paths(tree: &str) -> Vec<String> {
    let is_path = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
    let (head, rest) = tree.split_at(tree.find(|letter| !is_path(letter)).unwrap_or(tree.len()));
    if !head.ends_with("::") || !rest.starts_with('{') {
        return vec![head.trim_end_matches(':').to_owned()];
    }
    let (mut found, mut depth, mut begin) = (Vec::new(), 0, 1);
    for (at, letter) in rest.char_indices() {
        match letter {
            '{' => depth += 1,
            ',' | '}' if depth == 1 => {
                found.extend(paths(rest[begin..at].trim()).into_iter().map(|path| format!("{head}{path}")));
                begin = at + 1;
                if letter == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    found
}

/// The module that `path`, as written in `module`, is in or names.
fn target(path: &str, module: &Module, known: &BTreeMap<Module, String>) -> Option<Module> {
    let mut at = module.clone();
    for word in path.split("::") {
        match word {
            "crate" => at.clear(),
            "super" => drop(at.pop()),
            "self" => {}
            word => {
                at.push(word.to_owned());
                if !known.contains_key(&at) {
                    at.pop();
                    break;
                }
            }
        }
    }
    (!at.is_empty()).then_some(at)
}

/// All modules with their files, and what each one uses: in `use` and elsewhere, by a path that begins with `crate` or
/// `super`. A module may use those inside it, which it declares and puts together; that counts as no use.
fn modules() -> (BTreeMap<Module, String>, Uses) {
    let mut known = BTreeMap::new();
    let mut texts = BTreeMap::new();
    for path in files("src", "rs").iter().filter(|path| !is_test(path)) {
        let file = name(path);
        let plain = file.strip_prefix("src/").unwrap().strip_suffix(".rs").unwrap();
        let module: Module = match plain.strip_suffix("/mod").unwrap_or(plain) {
            "main" | "lib" => continue,
            plain => plain.split('/').map(str::to_owned).collect(),
        };
        let text = fs::read_to_string(path).unwrap();
        let code = without_tests(&text).lines().filter(|line| !line.trim_start().starts_with("//"));
        texts.insert(module.clone(), code.map(str::trim).collect::<Vec<_>>().join(" "));
        known.insert(module, file);
    }
    let mut uses = Uses::new();
    for (module, text) in &texts {
        let used = uses.entry(module.clone()).or_default();
        for begin in ["crate::", "super::"] {
            for (at, _) in text.match_indices(begin) {
                // `super::super::` is one path.
                if text[..at].ends_with(|letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':') {
                    continue;
                }
                let targets = paths(&text[at..]).into_iter().filter_map(|path| target(&path, module, &known));
                used.extend(targets.filter(|target| !target.starts_with(module)));
            }
        }
    }
    (known, uses)
}

/// The shortest circle through `start`, if there is one.
fn circle(start: &Module, uses: &Uses) -> Option<Vec<Module>> {
    let mut before: BTreeMap<&Module, &Module> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(module) = queue.pop_front() {
        for used in uses.get(module).into_iter().flatten() {
            if used == start {
                let mut way = vec![module.clone()];
                while way.last() != Some(start) {
                    way.push(before[way.last().unwrap()].clone());
                }
                return Some(way);
            }
            if !before.contains_key(used) {
                before.insert(used, module);
                queue.push_back(used);
            }
        }
    }
    None
}

#[test]
fn a_tree_of_paths_is_taken_apart() {
    let tree = "crate::os::{self, fs::{Dir, Name as Word}, Pid}; let x = 1;";
    assert_eq!(paths(tree), ["crate::os::self", "crate::os::fs::Dir", "crate::os::fs::Name", "crate::os::Pid"]);
    assert_eq!(paths("super::super::route::Wait;"), ["super::super::route::Wait"]);
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let (known, uses) = modules();
    let count: usize = uses.values().map(BTreeSet::len).sum();
    assert!(known.len() > 200 && count > 1000, "only {count} uses in {} files were found", known.len());
    for module in known.keys() {
        if let Some(way) = circle(module, &uses) {
            let way: Vec<_> = way.iter().rev().map(|module| known[module].as_str()).collect();
            panic!(
                "these files use each other in a circle: {}; move what they share to a file below",
                way.join(" -> ")
            );
        }
    }
}

#[test]
fn no_rooms_use_each_other_in_a_circle() {
    // Those of one layer too, such as `api` and `proxy`.
    let room = |module: &Module| vec![module[0].clone()];
    let mut rooms = Uses::new();
    for (module, used) in modules().1 {
        let own = room(&module);
        let others = used.iter().map(room).filter(|other| *other != own);
        rooms.entry(own.clone()).or_default().extend(others);
    }
    for start in rooms.keys() {
        let way = circle(start, &rooms);
        assert!(way.is_none(), "these use each other in a circle, the last one first: {way:?}");
    }
}
