//! The linker of the static release binary: makes the tables for unwinding smaller, puts code that sleeps in one
//! place, then becomes rust-lld.
//!
//! The compiler describes a frame for each instruction of a function: while it is set up, and while it is taken down.
//! A panic leaves functions at calls alone, and there a frame that has a frame pointer always looks the same: the
//! caller's is at `rbp`, the return address above it, and the saved registers are at fixed distances. So all of that
//! moves into a head that functions of the same frame share, and of a function only where it is stays: 58 KiB less.
//!
//! The kernel maps up to 128 KiB around a page that is touched. So what an idle daemon doesn't run stands together,
//! behind the tables, which it doesn't read either.
//!
//! Owns: `.eh_frame` in the objects that the compiler made, and the order of functions. Never: a function whose table
//! it doesn't understand wholly, which stays as it is (those without a frame pointer do); the tables of another
//! machine than x86-64.

use std::collections::HashMap;
use std::os::unix::process::CommandExt;
use std::{env, fs, process};

/// What runs for a client, for the command line or for a panic, then what runs for a server, then what reads a setup
/// payload, which stands beside the rest; and what of it the start of the daemon, or a client that asks for its servers,
/// needs. Of two that match the last one counts.
const ASLEEP: [&str; 20] = [
    "unwinding",
    "gimli",
    "servisor::cli",
    "servisor::proxy",
    "servisor::overlay",
    "servisor::api",
    "servisor::error",
    "servisor::store::fields",
    "servisor::store::server",
    "servisor::model",
    "servisor::runs",
    "servisor::logs",
    "servisor::process",
    "servisor::ports",
    "servisor::os::child",
    "servisor::os::launch",
    "servisor::supervisor",
    "servisor::api::input",
    "servisor::json",
    "servisor::os::deadline",
];
const AWAKE: [&str; 13] = [
    "servisor::overlay::Overlays",
    "servisor::overlay::plan",
    "servisor::api::access",
    "servisor::api::handlers",
    "servisor::api::http",
    "servisor::api::reply",
    "servisor::api::route",
    "servisor::api::wire",
    "servisor::json::ToJson",
    "servisor::model::proxy",
    "servisor::model::public_url",
    "servisor::process::oom",
    "servisor::ports::watch",
];

/// `rbp`, by its number in the tables.
const FRAME_POINTER: u8 = 6;
/// How each function begins: the frame ends 8 bytes above `rsp`, the return address is in these.
const AT_ENTRY: [u8; 5] = [0x0c, 7, 8, 0x90, 1];
/// How it is at each call: the frame ends 16 bytes above `rbp`; there `rbp` and the return address are.
const AT_CALLS: [u8; 7] = [0x0c, FRAME_POINTER, 16, 0x80 | FRAME_POINTER, 2, 0x90, 1];

fn main() {
    let mut arguments: Vec<String> = env::args().skip(1).collect();
    let paths: Vec<String> = arguments.iter().filter(|path| path.ends_with(".rcgu.o")).cloned().collect();
    let mut order = String::new();
    for path in &paths {
        let mut object = Object(fs::read(path).expect("an object to link"));
        object.shrink();
        order.extend(object.asleep().iter().flat_map(|name| [name, "\n"]));
        fs::write(path, object.0).expect("the object to be written");
    }
    if let Some(path) = paths.first() {
        let path = format!("{path}.order");
        fs::write(&path, order).expect("the order to be written");
        // Functions that nothing calls are still among them.
        arguments.extend([format!("--symbol-ordering-file={path}"), "--no-warn-symbol-ordering".to_owned()]);
    }
    let failed = process::Command::new("rust-lld").args(arguments).exec();
    panic!("rust-lld: {failed}");
}

fn number(bytes: &[u8], at: usize, size: usize) -> usize {
    bytes[at..at + size].iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

fn text(bytes: &[u8]) -> &str {
    let end = bytes.iter().position(|byte| *byte == 0).expect("an end");
    str::from_utf8(&bytes[..end]).expect("a name")
}

/// A relocatable object of 64 bits.
struct Object(Vec<u8>);

/// The head of a section.
struct Section {
    head: usize,
    name: usize,
    kind: usize,
    offset: usize,
    size: usize,
    link: usize,
    of: usize,
}

impl Object {
    fn section(&self, index: usize) -> Section {
        let head = number(&self.0, 0x28, 8) + index * 64;
        let field = |at, size| number(&self.0, head + at, size);
        let (name, kind, offset, size) = (field(0, 4), field(4, 4), field(24, 8), field(32, 8));
        Section { head, name, kind, offset, size, link: field(40, 4), of: field(44, 4) }
    }

    fn content(&self, section: &Section) -> &[u8] {
        &self.0[section.offset..section.offset + section.size]
    }

    fn sections(&self) -> impl Iterator<Item = Section> {
        // More than fit into the field are counted in the size of the first.
        let count = Some(number(&self.0, 0x3c, 2)).filter(|count| *count > 0).unwrap_or_else(|| self.section(0).size);
        (0..count).map(|index| self.section(index))
    }

    /// The names of functions that an idle daemon doesn't run.
    fn asleep(&self) -> Vec<&str> {
        let Some(symbols) = self.sections().find(|section| section.kind == 2) else { return Vec::new() };
        let names = self.content(&self.section(symbols.link));
        let functions = self.content(&symbols).chunks(24).filter(|symbol| symbol[4] & 15 == 2);
        let mut found: Vec<(usize, &str)> = functions
            .map(|symbol| text(&names[number(symbol, 0, 4)..]))
            .filter_map(|name| Some((ASLEEP.iter().rposition(|path| is_below(name, path))?, name)))
            .filter(|(_, name)| !AWAKE.iter().any(|path| is_below(name, path)))
            .collect();
        found.sort_by_key(|(place, _)| *place);
        found.into_iter().map(|(_, name)| name).collect()
    }

    fn shrink(&mut self) -> Option<()> {
        if number(&self.0, 0, 6) != number(b"\x7fELF\x02\x01", 0, 6) || number(&self.0, 16, 4) != 62 << 16 | 1 {
            return None;
        }
        // Where there are too many sections for the field, the one with their names is in the link of the first.
        let names =
            Some(number(&self.0, 0x3e, 2)).filter(|names| *names < 0xff00).unwrap_or_else(|| self.section(0).link);
        let names = self.content(&self.section(names));
        let (index, table) =
            self.sections().enumerate().find(|(_, section)| text(&names[section.name..]) == ".eh_frame")?;
        let places = self.sections().find(|section| section.kind == 4 && section.of == index)?;

        let relocations = self.content(&places).chunks(24).map(|one| (number(one, 0, 8), &one[8..])).collect();
        let mut made = Made { from: self.content(&table), relocations, bytes: Vec::new(), moved: Vec::new() };
        made.all()?;
        for (section, bytes) in [(table.head, made.bytes), (places.head, made.moved)] {
            self.0.resize(self.0.len().next_multiple_of(8), 0);
            let found = [self.0.len().to_le_bytes(), bytes.len().to_le_bytes()].concat();
            self.0[section + 24..section + 40].copy_from_slice(&found);
            self.0.extend_from_slice(&bytes);
        }
        Some(())
    }
}

/// Whether the function of this mangled name is in a module below the path, or of a type with this path. What a name
/// begins with counts: the type that is dropped, or that a list holds, comes later.
fn is_below(name: &str, path: &str) -> bool {
    let mangled = |path: &str| path.split("::").map(|part| format!("{}{part}", part.len())).collect::<String>();
    let begin = name.split_once("Cs").and_then(|(_, rest)| rest.split_once('_')).map_or("", |(_, path)| path);
    let (module, of) = match path.rsplit_once("::") {
        Some((module, of)) if of.starts_with(char::is_uppercase) => (module, Some(of)),
        _ => (path, None),
    };
    let rest = begin.strip_prefix(mangled(module).as_str()).filter(|_| name.starts_with("_R"));
    rest.is_some_and(|rest| of.is_none_or(|of| rest.contains(&mangled(of))))
}

/// The new table.
struct Made<'a> {
    from: &'a [u8],
    relocations: HashMap<usize, &'a [u8]>,
    bytes: Vec<u8>,
    moved: Vec<u8>,
}

impl Made<'_> {
    fn all(&mut self) -> Option<()> {
        // In the new table: what a head of the old one became, and its like for frames with these registers saved.
        let mut heads: HashMap<(usize, Option<Vec<u8>>), usize> = HashMap::new();
        let mut at = 0;
        while at < self.from.len() {
            let end = at + 4 + number(self.from, at, 4);
            let back = number(self.from, at + 4, 4);
            let entry = self.from.get(at..end)?;
            if back > 0 {
                let old = at + 4 - back;
                // Its length, head, begin, size, then what the personality routine wants to know, with its size.
                let fixed = 17 + usize::from(entry[16]);
                let length = common(&self.from[old..]);
                let saved = length.and_then(|_| saved(&entry[fixed..]));
                let kept = if saved.is_some() { fixed } else { entry.len() };
                let whole = 4 + number(self.from, old, 4);
                let head = *heads.entry((old, saved)).or_insert_with_key(|(_, saved)| match (length, saved) {
                    (Some(length), Some(saved)) => self.add(old, length, &[&AT_CALLS[..], saved].concat(), None),
                    _ => self.add(old, whole, &[], None),
                });
                self.add(at, kept, &[], Some(head));
            }
            at = end;
        }
        Some(())
    }

    /// The first `length` bytes of the entry at `at`, and these; says where it is now.
    fn add(&mut self, at: usize, length: usize, tail: &[u8], head: Option<usize>) -> usize {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(&self.from[at..at + length]);
        self.bytes.extend_from_slice(tail);
        let size = (self.bytes.len() - begin - 4) as u32;
        self.bytes[begin..begin + 4].copy_from_slice(&size.to_le_bytes());
        if let Some(head) = head {
            self.bytes[begin + 4..begin + 8].copy_from_slice(&((begin + 4 - head) as u32).to_le_bytes());
        }
        for inside in 0..length {
            if let Some(rest) = self.relocations.get(&(at + inside)) {
                self.moved.extend_from_slice(&(begin + inside).to_le_bytes());
                self.moved.extend_from_slice(rest);
            }
        }
        begin
    }
}

/// How long a head is without its instructions, if these are as each function begins.
fn common(entries: &[u8]) -> Option<usize> {
    let entry = entries.get(..4 + number(entries, 0, 4))?;
    let letters = entry[9..].iter().position(|letter| *letter == 0)? + 10;
    // Distances count in bytes of code and in minus 8 of the stack, the return address is register 16.
    let [1, 0x78, 16, size, ..] = entry[letters..] else { return None };
    let length = letters + 4 + usize::from(size);
    let rest = entry.get(length..)?.strip_prefix(&AT_ENTRY)?;
    (entry[8] == 1 && entry[9] == b'z' && rest.iter().all(|byte| *byte == 0)).then_some(length)
}

/// The instructions for saved registers other than `rbp`, if the frame is by `rbp` as `AT_CALLS` says.
fn saved(mut instructions: &[u8]) -> Option<Vec<u8>> {
    let mut places: Vec<(u8, usize)> = Vec::new();
    let (mut register, mut distance) = (7, 8);
    while let Some((&instruction, rest)) = instructions.split_first() {
        instructions = rest;
        match instruction {
            // Nothing, and to the next instruction of the function.
            0 | 0x40..=0x7f => {}
            2..=4 => instructions = instructions.get(1 << (instruction - 2)..)?,
            0x0c => (register, distance) = (leb(&mut instructions)?, leb(&mut instructions)?),
            0x0d => register = leb(&mut instructions)?,
            0x0e => distance = leb(&mut instructions)?,
            0x80..=0xbf => places.push((instruction, leb(&mut instructions)?)),
            _ => return None,
        }
        let by_frame_pointer = register == usize::from(FRAME_POINTER);
        if by_frame_pointer && distance != 16 {
            return None;
        }
    }
    places.sort();
    places.dedup();
    let is_once = places.windows(2).all(|pair| pair[0].0 != pair[1].0);
    let pointer = places.iter().position(|place| *place == (0x80 | FRAME_POINTER, 2))?;
    places.remove(pointer);
    let small = places.iter().all(|(_, distance)| *distance < 0x80);
    (is_once && small).then(|| places.iter().flat_map(|(register, distance)| [*register, *distance as u8]).collect())
}

fn leb(bytes: &mut &[u8]) -> Option<usize> {
    let length = bytes.iter().position(|byte| byte & 0x80 == 0)? + 1;
    let (number, rest) = bytes.split_at(length);
    *bytes = rest;
    Some(number.iter().rev().fold(0, |sum, byte| sum << 7 | usize::from(byte & 0x7f)))
}
