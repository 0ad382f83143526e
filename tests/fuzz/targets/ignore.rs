//! Any patterns on a path, which is the first line. A path that is written out with an escape before each character is
//! left out.
#![no_main]

use std::ffi::OsStr;

use libfuzzer_sys::fuzz_target;
use servisor::overlay::glob::Ignore;

fuzz_target!(|input: &str| {
    let (path, patterns) = input.split_once('\n').unwrap_or((input, ""));
    let is_directory = path.ends_with('/');
    let path: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if path.is_empty() {
        return;
    }
    let components = || path.iter().map(|part| OsStr::new(*part));
    let ignore = Ignore::new(patterns.lines());
    let taken = ignore.leaves_out(components(), is_directory);
    if !taken && !is_directory {
        // What leaves out nothing else leaves out no more than that for a directory, or has patterns for directories.
        let for_directory = ignore.leaves_out(components(), true);
        assert!(!for_directory || patterns.contains('/'), "{patterns:?} on {path:?}");
    }
    if path.iter().any(|part| part.ends_with(['\r', '\n'])) {
        return;
    }
    let escaped: String = path.iter().flat_map(|part| ["/".to_owned(), escape(part)]).collect();
    assert!(Ignore::new([&*escaped]).leaves_out(components(), is_directory), "{escaped:?} on {path:?}");
    let taken_back = format!("!{escaped}");
    let both = Ignore::new([&*escaped, &*taken_back]);
    assert!(!both.leaves_out(components(), is_directory), "{taken_back:?} on {path:?}");
});

fn escape(part: &str) -> String {
    part.chars().flat_map(|character| ['\\', character]).collect()
}
