//! Decoding of chunked bodies.
//!
//! Owns: the grammar of chunks. Never: a socket. Pure: bytes go in as they arrive.

use super::response::Refusal;

/// The limit of a chunk's size line: 16 digits, and room for an extension, which is ignored.
const SIZE_LINE_MAX: usize = 256;
/// The limit of all trailers together, which are ignored.
const TRAILERS_MAX: usize = 4 * 1024;

const BROKEN: Refusal = Refusal::BadRequest("the chunks of the body can't be read");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    SizeLine,
    Data(usize),
    DataEnd,
    Trailers(usize),
}

#[derive(Debug)]
pub struct Chunked {
    expected: Expected,
    body: Vec<u8>,
    /// Bytes of data so far.
    length: usize,
    limit: usize,
    keeps: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyProgress {
    Incomplete,
    Complete,
}

impl Chunked {
    /// A body of at most `limit` bytes.
    pub fn new(limit: usize) -> Chunked {
        Chunked { expected: Expected::SizeLine, body: Vec::new(), length: 0, limit, keeps: true }
    }

    /// The same for a body that is discarded.
    pub fn skipped(limit: usize) -> Chunked {
        Chunked { keeps: false, ..Chunked::new(limit) }
    }

    /// Bytes of data so far.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Bytes of the present chunk that have not come yet.
    pub fn missing(&self) -> usize {
        match self.expected {
            Expected::Data(missing) => missing,
            Expected::SizeLine | Expected::DataEnd | Expected::Trailers(_) => 0,
        }
    }

    /// Reserves room for a body of exactly `length` bytes.
    pub fn reserve(&mut self, length: usize) {
        self.body.reserve_exact(length.saturating_sub(self.body.len()));
    }

    /// Appends what is decoded from now on to `buffer`, which [`Chunked::take_decoded`] returns: no copy is made.
    pub fn decode_onto(&mut self, buffer: Vec<u8>) {
        self.body = buffer;
    }

    /// Takes what was decoded since the last time: a body that is passed on piece by piece.
    pub fn take_decoded(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.body)
    }

    /// The body so far.
    pub fn into_body(self) -> Vec<u8> {
        self.body
    }

    /// Removes from `input` what can be decoded.
    ///
    /// # Errors
    /// It is not a chunked body, or too large.
    pub fn take(&mut self, input: &mut Vec<u8>) -> Result<BodyProgress, Refusal> {
        let mut at = 0;
        let progress = loop {
            let rest = &input[at..];
            match self.expected {
                Expected::SizeLine => match line(rest, SIZE_LINE_MAX)? {
                    None => break BodyProgress::Incomplete,
                    Some(text) => {
                        let size = size(text)?;
                        if size > self.limit - self.length {
                            return Err(Refusal::BodyTooLarge);
                        }
                        at += text.len() + 2;
                        self.expected = if size == 0 { Expected::Trailers(TRAILERS_MAX) } else { Expected::Data(size) };
                    }
                },
                Expected::Data(missing) => {
                    let part = &rest[..missing.min(rest.len())];
                    if self.keeps {
                        self.body.extend_from_slice(part);
                    }
                    self.length += part.len();
                    at += part.len();
                    if part.len() < missing {
                        self.expected = Expected::Data(missing - part.len());
                        break BodyProgress::Incomplete;
                    }
                    self.expected = Expected::DataEnd;
                }
                Expected::DataEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        at += 2;
                        self.expected = Expected::SizeLine;
                    }
                    [] | [b'\r'] => break BodyProgress::Incomplete,
                    _ => return Err(BROKEN),
                },
                Expected::Trailers(allowed) => match line(rest, allowed)? {
                    None => break BodyProgress::Incomplete,
                    Some(text) => {
                        at += text.len() + 2;
                        if text.is_empty() {
                            break BodyProgress::Complete;
                        }
                        self.expected = Expected::Trailers(allowed.saturating_sub(text.len() + 2));
                    }
                },
            }
        };
        input.drain(..at);
        Ok(progress)
    }
}

/// The line at the beginning of `input`, without its CRLF; `None` while it has no end.
fn line(input: &[u8], longest: usize) -> Result<Option<&[u8]>, Refusal> {
    match input.iter().position(|&byte| byte == b'\n') {
        Some(end) if end > longest => Err(BROKEN),
        Some(end) => match input[..end].strip_suffix(b"\r") {
            Some(text) if !text.contains(&b'\r') => Ok(Some(text)),
            Some(_) | None => Err(BROKEN),
        },
        None if input.len() > longest => Err(BROKEN),
        None => Ok(None),
    }
}

fn size(line: &[u8]) -> Result<usize, Refusal> {
    let digits = line.split(|&byte| byte == b';').next().unwrap_or_default();
    let extension_is_plain = line.iter().all(|&byte| byte.is_ascii_graphic() || byte == b' ' || byte == b'\t');
    // More digits than these would overflow; a sign would be taken by the parser.
    if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_hexdigit) || !extension_is_plain {
        return Err(BROKEN);
    }
    str::from_utf8(digits).ok().and_then(|digits| usize::from_str_radix(digits, 16).ok()).ok_or(BROKEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(wire: &[u8], step: usize) -> Result<(Vec<u8>, Vec<u8>), Refusal> {
        let mut chunked = Chunked::new(1000);
        let mut input = Vec::new();
        for part in wire.chunks(step) {
            input.extend_from_slice(part);
            if chunked.take(&mut input)? == BodyProgress::Complete {
                let used = wire.len() - input.len();
                return Ok((chunked.into_body(), wire[used..].to_vec()));
            }
        }
        Err(Refusal::Timeout)
    }

    #[test]
    fn whole_bodies_in_any_split() {
        for (wire, body) in [
            (&b"0\r\n\r\n"[..], &b""[..]),
            (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
            (b"3;name=\"v\"\r\nabc\r\nA\r\n0123456789\r\n000\r\nTrailer: x\r\n\r\n", b"abc0123456789"),
        ] {
            for step in 1..=wire.len() {
                assert_eq!(decode(wire, step), Ok((body.to_vec(), Vec::new())), "{step}");
            }
        }
        assert_eq!(decode(b"0\r\n\r\nGET / HTTP/1.1", 100).unwrap().1, b"GET / HTTP/1.1");
    }

    #[test]
    fn what_can_not_be_read() {
        for wire in [
            &b"\r\n"[..],
            b"g\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x1\r\n",
            b" 1\r\n",
            b"3\nabc\r\n",
            b"3\r\nabcd\r\n",
            b"3\r\nabc\n",
            b"3\r\nabc\rx",
            b"1;\x01\r\n",
            b"1\r\r\n",
            b"0\r\nA: b\n\r\n",
            &[b'1'; 300],
            b"1111111111111111\r\n",
        ] {
            assert_eq!(decode(wire, 1), Err(BROKEN), "{}", String::from_utf8_lossy(wire));
        }
    }

    #[test]
    fn what_is_too_large() {
        assert_eq!(decode(b"3e9\r\n", 1), Err(Refusal::BodyTooLarge));
        assert_eq!(decode(b"ffffffffffffff\r\n", 1), Err(Refusal::BodyTooLarge));
        let twice = [&b"3e8\r\n"[..], &[b'x'; 1000], b"\r\n1\r\n"].concat();
        assert_eq!(decode(&twice, 7), Err(Refusal::BodyTooLarge));
        let trailers = [&b"0\r\n"[..], &b"A: bbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n".repeat(200)].concat();
        assert_eq!(decode(&trailers, 50), Err(BROKEN));
    }
}
