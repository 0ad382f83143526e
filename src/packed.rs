//! Constant documents that are packed in the binary and unpacked when the first client asks for them.
//!
//! Owns: both directions of the LZ4 block format, the first at compile time. Never: data that isn't constant.
//!
//! The description of the API and the status page are a quarter of the binary's constants, and repeat themselves.
//! Streaming them from their packed form would cost each connection a window; unpacked once and kept, they cost their
//! length once. A package would have to pack in a build script and brings a decoder for untrusted input; this one reads
//! what it wrote.

use std::sync::OnceLock;

/// Matches are at least this long, by the format.
const MATCH_MIN: usize = 4;
/// The last bytes are literals, by the format.
const TAIL: usize = 12;
/// Heads of the chains of earlier places, by hash.
const HEADS: usize = 1 << 12;
/// The longest document: places are kept in 16 bits, 0 is none.
const SOURCE_MAX: usize = 40_000;
/// Earlier places that are compared for each match.
const TRIES: usize = 12;

/// A document of `N` bytes in its packed form.
pub struct Document<const N: usize> {
    packed: [u8; N],
    length: usize,
    unpacked: OnceLock<Vec<u8>>,
}

/// What packing has made: the first `length` bytes count. It exists at compile time only.
pub struct Packed {
    bytes: [u8; SOURCE_MAX],
    /// The `N` of its [`Document`].
    pub length: usize,
    source: usize,
}

impl Packed {
    pub const fn new(source: &[u8]) -> Packed {
        let mut bytes = [0; SOURCE_MAX];
        let length = pack(source, &mut bytes);
        Packed { bytes, length, source: source.len() }
    }
}

impl<const N: usize> Document<N> {
    /// A document that is not unpacked yet.
    pub const fn new(packed: &Packed) -> Document<N> {
        let (mut bytes, mut at) = ([0; N], 0);
        while at < N {
            bytes[at] = packed.bytes[at];
            at += 1;
        }
        Document { packed: bytes, length: packed.source, unpacked: OnceLock::new() }
    }

    /// Returns the document. The first call unpacks it.
    pub fn get(&self) -> &[u8] {
        self.unpacked.get_or_init(|| unpack(&self.packed, self.length))
    }
}

/// Writes the packed form of `source` to `target`, as far as there is room. Returns its length.
const fn pack(source: &[u8], target: &mut [u8]) -> usize {
    assert!(source.len() <= SOURCE_MAX, "the document is too long for this packer");
    let (mut heads, mut earlier) = ([0_u16; HEADS], [0_u16; SOURCE_MAX]);
    let (mut at, mut literals, mut length) = (0, 0, 0);
    while at + TAIL <= source.len() {
        let (mut place, mut tries) = (heads[hash(source, at)] as usize, TRIES);
        let (mut best, mut offset) = (0, 0);
        while place > 0 && tries > 0 {
            // Most are no longer than the best one: one comparison shows it.
            if source[place - 1 + best] == source[at + best] {
                let size = common(source, place - 1, at);
                if size > best {
                    (best, offset) = (size, at + 1 - place);
                }
            }
            (place, tries) = (earlier[place - 1] as usize, tries - 1);
        }
        let matched = if best < MATCH_MIN { 0 } else { best };
        if matched > 0 {
            length = sequence(source, literals, at, matched - MATCH_MIN, target, length);
            length = put(target, length, offset as u8);
            length = put(target, length, (offset >> 8) as u8);
            length = rest(target, length, matched - MATCH_MIN);
            literals = at + matched;
        }
        let next = if matched > 0 { at + matched } else { at + 1 };
        while at < next {
            earlier[at] = heads[hash(source, at)];
            heads[hash(source, at)] = at as u16 + 1;
            at += 1;
        }
    }
    sequence(source, literals, source.len(), 0, target, length)
}

/// Writes a token, and the literals of `source` between `from` and `to` with their length.
const fn sequence(source: &[u8], from: usize, to: usize, matched: usize, target: &mut [u8], length: usize) -> usize {
    let (high, low) = (if to - from < 15 { to - from } else { 15 }, if matched < 15 { matched } else { 15 });
    let mut length = put(target, length, (high << 4 | low) as u8);
    length = rest(target, length, to - from);
    let mut at = from;
    while at < to {
        length = put(target, length, source[at]);
        at += 1;
    }
    length
}

/// Writes what of `number` doesn't fit in its half of the token.
const fn rest(target: &mut [u8], length: usize, number: usize) -> usize {
    if number < 15 {
        return length;
    }
    let (mut left, mut length) = (number - 15, length);
    while left >= 255 {
        length = put(target, length, 255);
        left -= 255;
    }
    put(target, length, left as u8)
}

const fn put(target: &mut [u8], length: usize, byte: u8) -> usize {
    if length < target.len() {
        target[length] = byte;
    }
    length + 1
}

const fn hash(source: &[u8], at: usize) -> usize {
    let four = u32::from_le_bytes([source[at], source[at + 1], source[at + 2], source[at + 3]]);
    (four.wrapping_mul(0x9E37_79B1) >> 20) as usize % HEADS
}

/// How many bytes are the same from `first` and from `second` on.
const fn common(source: &[u8], first: usize, second: usize) -> usize {
    let mut size = 0;
    while second + size + TAIL / 2 < source.len() && source[first + size] == source[second + size] {
        size += 1;
    }
    size
}

/// Returns the `length` bytes that `packed` stands for.
fn unpack(packed: &[u8], length: usize) -> Vec<u8> {
    let mut unpacked = Vec::with_capacity(length);
    let mut bytes = packed.iter().copied();
    let mut next = || usize::from(bytes.next().unwrap_or(0));
    while unpacked.len() < length {
        let token = next();
        for _ in 0..long(token >> 4, &mut next) {
            unpacked.push(next() as u8);
        }
        if unpacked.len() >= length {
            break;
        }
        let offset = next() | next() << 8;
        for _ in 0..long(token & 15, &mut next) + MATCH_MIN {
            unpacked.push(unpacked[unpacked.len() - offset]);
        }
    }
    unpacked
}

/// The number that begins in half a token.
fn long(half: usize, next: &mut impl FnMut() -> usize) -> usize {
    let mut number = half;
    let mut more = if half == 15 { 255 } else { 0 };
    while more == 255 {
        more = next();
        number += more;
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(source: &[u8]) -> Vec<u8> {
        let mut packed = vec![0; pack(source, &mut [])];
        assert_eq!(pack(source, &mut packed), packed.len());
        packed
    }

    #[test]
    fn what_is_unpacked_is_what_was_packed() {
        let mixed: Vec<u8> = (0..30_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 28) as u8).collect();
        let counted: String = (0..5000).map(|number| format!("{number},")).collect();
        let long = "x".repeat(20_000);
        for source in
            [&b""[..], b"a", b"abcabcabcabc", b"abcdabcdabcdabcdabcdabcd", &mixed, counted.as_bytes(), long.as_bytes()]
        {
            for length in (0..source.len().min(300)).chain([source.len()]) {
                let part = &source[..length];
                assert!(unpack(&packed(part), length) == part, "{length} bytes of {:?}…", &part[..length.min(20)]);
            }
        }
        assert!(packed(long.as_bytes()).len() < 100);
    }

    #[test]
    fn a_document_is_the_same_each_time() {
        const SOURCE: &[u8] = include_bytes!("packed.rs");
        const PACKED: Packed = Packed::new(SOURCE);
        static DOCUMENT: Document<{ PACKED.length }> = Document::new(&PACKED);
        assert!(DOCUMENT.get() == SOURCE && DOCUMENT.get() == SOURCE);
        assert!(DOCUMENT.packed.len() < SOURCE.len() * 6 / 10, "{} of {}", DOCUMENT.packed.len(), SOURCE.len());
    }
}
