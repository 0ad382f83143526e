//! Python environments: scripts that contain the path where they were created.
//!
//! Owns: which files these are, and the text of their copies. Never: a write; any other file of an environment.
//!
//! An environment is a directory with a file `pyvenv.cfg`. The scripts in its `bin` begin with the absolute path of its
//! interpreter, and `activate` (for each shell) sets it as `VIRTUAL_ENV`: a plain copy would install into the template.
//! Binary programs contain no path that could be changed.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, Seek};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::plan::CopyPlan;
use crate::os::fs::{Dir, Name, Stat, copy_file, read_bounded};

const MARK: &str = "pyvenv.cfg";
const SCRIPTS: &str = "bin";
/// The largest script, in bytes; generated ones have a few thousand.
const SCRIPT_MAX: u64 = 1024 * 1024;
/// The longest first line that every kernel reads completely, in bytes.
const SHEBANG_MAX: usize = 127;

/// Whether `directory`, relative to the template, is the `bin` of an environment.
pub fn has_scripts(plan: &CopyPlan, directory: &Path) -> bool {
    let above = directory.parent().filter(|_| directory.file_name().is_some_and(|name| name == SCRIPTS));
    above.is_some_and(|above| fs::metadata(plan.template().join(above).join(MARK)).is_ok_and(|mark| mark.is_file()))
}

/// Returns the text of the copy of the script `from` if it differs. Rewinds `from`.
///
/// # Errors
/// The system's.
pub fn relocated(plan: &CopyPlan, mut from: &File, stat: &Stat) -> io::Result<Option<Vec<u8>>> {
    if stat.size == 0 || stat.size > SCRIPT_MAX {
        return Ok(None);
    }
    let text = read_bounded(from, SCRIPT_MAX)?;
    from.rewind()?;
    let (template, target) = (plan.template_names(), plan.target());
    Ok(moved(&text, template.map(|path| path.as_os_str().as_bytes()), target.as_os_str().as_bytes()))
}

/// Returns the expected metadata of the copy of `name` in `from`, which is `directory` of the template.
pub fn expected(plan: &CopyPlan, directory: &Path, from: &Dir, name: &Name, stat: &Stat) -> Stat {
    let text = || {
        let file = from.open_file(name).ok()?;
        relocated(plan, &file, &copy_file::stat(&file).ok()?).ok()?
    };
    match has_scripts(plan, directory).then(text).flatten() {
        Some(text) => Stat { size: text.len() as u64, ..*stat },
        None => *stat,
    }
}

/// Replaces the paths `from`, and prefixes of paths, by `to` in `text`; `None` if there is nothing to change. In a
/// script with binary data after its first line only that line is changed.
fn moved(text: &[u8], from: [&[u8]; 2], to: &[u8]) -> Option<Vec<u8>> {
    // No shell's quotes could contain these.
    if to.iter().any(|byte| b"'\"`$\\!\n".contains(byte)) {
        return None;
    }
    let end = text.iter().position(|&byte| byte == b'\n').map_or(text.len(), |place| place + 1);
    let (first, rest) = text.split_at(if text.starts_with(b"#!") { end } else { 0 });
    let first = replaced(first, from, to, Quoting::Never)
        .map_or(Cow::Borrowed(first), |line| Cow::Owned(through_shell(first, line, to)));
    let rest = match replaced(rest, from, to, Quoting::Words) {
        Some(other) if !text.contains(&0) => Cow::Owned(other),
        Some(_) | None => Cow::Borrowed(rest),
    };
    let is_same = matches!((&first, &rest), (Cow::Borrowed(_), Cow::Borrowed(_)));
    (!is_same).then(|| [first, rest].concat())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quoting {
    Never,
    /// Where a path with blanks would be several words.
    Words,
}

fn replaced(text: &[u8], from: [&[u8]; 2], to: &[u8], quoting: Quoting) -> Option<Vec<u8>> {
    let is_of_path = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-./+@~".contains(byte) || *byte >= 0x80;
    let mut other: Option<Vec<u8>> = None;
    let (mut at, mut kept) = (0, 0);
    while at < text.len() {
        let before = at.checked_sub(1).and_then(|before| text.get(before));
        let length = |path: &&[u8]| {
            let after = text[at..].strip_prefix(*path)?;
            after.first().is_none_or(|byte| *byte == b'/' || !is_of_path(byte)).then_some(path.len())
        };
        let found = if before.is_some_and(is_of_path) { None } else { from.iter().find_map(length) };
        let Some(length) = found else {
            at += 1;
            continue;
        };
        let other = other.get_or_insert_default();
        other.extend_from_slice(&text[kept..at]);
        at += length;
        let is_quoted = before.is_some_and(|byte| b"'\"".contains(byte));
        if quoting == Quoting::Words && !is_quoted && !to.iter().all(is_of_path) {
            let word = text[at..].iter().take_while(|byte| is_of_path(byte)).count();
            other.extend([b"'", to, &text[at..at + word], b"'"].concat());
            at += word;
        } else {
            other.extend_from_slice(to);
        }
        kept = at;
    }
    other.map(|mut other| {
        other.extend_from_slice(&text[kept..]);
        other
    })
}

/// Returns the first line, or an equivalent one if the kernel would not accept it: the path of the interpreter ends at
/// a blank, and the line at [`SHEBANG_MAX`]. The equivalent is a command for the shell, and a string for Python.
fn through_shell(before: &[u8], line: Vec<u8>, to: &[u8]) -> Vec<u8> {
    let has_blank = to.iter().any(|byte| b" \t".contains(byte));
    let path = before.get(2..).unwrap_or_default().trim_ascii();
    let path_end = path.iter().position(|byte| b" \t".contains(byte)).unwrap_or(path.len());
    let is_python = path[..path_end].rsplit(|&byte| byte == b'/').next().is_some_and(|name| name.starts_with(b"py"));
    if !is_python || !has_blank && line.len() <= SHEBANG_MAX {
        return line;
    }
    let arguments = path[path_end..].trim_ascii();
    let interpreter = line.get(2..).unwrap_or_default().trim_ascii();
    let interpreter = interpreter.strip_suffix(arguments).unwrap_or(interpreter).trim_ascii();
    [b"#!/bin/sh\n'''exec' \"", interpreter, b"\" ", arguments, b" \"$0\" \"$@\"\n' '''\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCES: [&[u8]; 2] = [b"/t/web", b"/disk/t/web"];

    fn text(before: &str, to: &str) -> Option<String> {
        moved(before.as_bytes(), SOURCES, to.as_bytes()).map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn paths_of_the_template_become_those_of_the_target() {
        for (before, after) in [
            ("#!/t/web/.venv/bin/python\nimport x\n", "#!/root/app/.venv/bin/python\nimport x\n"),
            ("#!/disk/t/web/env/bin/python3 -E\n", "#!/root/app/env/bin/python3 -E\n"),
            ("VIRTUAL_ENV=\"/t/web/.venv\"\nexport PATH", "VIRTUAL_ENV=\"/root/app/.venv\"\nexport PATH"),
            ("VIRTUAL_ENV=/t/web\n", "VIRTUAL_ENV=/root/app\n"),
            ("a:/t/web/x:/disk/t/web:/t/web", "a:/root/app/x:/root/app:/root/app"),
            ("#!/bin/sh\n'''exec' /t/web/v/bin/python \"$0\"", "#!/bin/sh\n'''exec' /root/app/v/bin/python \"$0\""),
        ] {
            assert_eq!(text(before, "/root/app").as_deref(), Some(after), "{before}");
        }
        for same in
            ["", "#!/usr/bin/python\n", "/t/web2 /t/web-x /x/t/web /t/we ./t/web é/t/web", "/t", "PATH=/root/app"]
        {
            assert_eq!(text(same, "/root/app"), None, "{same}");
        }
        assert_eq!(text("/t/web", "/it's"), None);
    }

    #[test]
    fn of_a_program_only_the_first_line() {
        assert_eq!(text("\u{7f}ELF\0/t/web/x", "/a"), None);
        assert_eq!(text("#!/t/web/bin/python\nPK\0/t/web/x", "/a").unwrap(), "#!/a/bin/python\nPK\0/t/web/x");
        assert_eq!(text("#!/usr/bin/python\nPK\0/t/web/x", "/a"), None);
    }

    #[test]
    fn what_no_kernel_takes_goes_through_a_shell() {
        let moved = text("#!/t/web/bin/python3 -E -s\nimport x\n", "/my app").unwrap();
        assert_eq!(moved, "#!/bin/sh\n'''exec' \"/my app/bin/python3\" -E -s \"$0\" \"$@\"\n' '''\nimport x\n");
        let long = format!("/{}", "x".repeat(150));
        let moved = text("#!/t/web/bin/python3\n", &long).unwrap();
        assert_eq!(moved, format!("#!/bin/sh\n'''exec' \"{long}/bin/python3\"  \"$0\" \"$@\"\n' '''\n"));
        assert_eq!(text("#!/t/web/bin/bash\n", &long).unwrap(), format!("#!{long}/bin/bash\n"));
        let activate = text("A=/t/web/.venv\nB='/t/web'\nif [ -d \"/t/web/x\" ]\n", "/my app").unwrap();
        assert_eq!(activate, "A='/my app/.venv'\nB='/my app'\nif [ -d \"/my app/x\" ]\n");
    }
}
