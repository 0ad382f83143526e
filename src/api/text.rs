//! A long text within JSON.
//!
//! Owns: its escaping. Never: what is around it.
//!
//! serde_json, compiled for size, takes 26 instructions for each byte of a text, which was most of the cost of the tail
//! of a log. Nearly all bytes of a log need no escape; here eight of them are checked in one step.

use serde::Serialize;

/// The bytes of one step.
const STEP: usize = size_of::<u64>();
const LOWEST: u64 = u64::from_ne_bytes([1; STEP]);
const HIGHEST: u64 = u64::from_ne_bytes([0x80; STEP]);
/// Below are the control characters, which JSON escapes.
const FIRST_PRINTABLE: u8 = b' ';

/// The placeholder of the text in what is around it: no other text there is a single control character.
const PLACE: &str = "\0";
const PLACE_IN_JSON: &[u8] = br#""\u0000""#;

/// Serializes `around(text)`: `around` is called with a placeholder, which is replaced by the escaped text.
///
/// # Errors
/// The result can't be serialized, or does not contain the placeholder.
pub fn within<T: Serialize>(text: &str, around: impl FnOnce(&'static str) -> T) -> serde_json::Result<Vec<u8>> {
    let frame = serde_json::to_vec(&around(PLACE))?;
    let place = frame.windows(PLACE_IN_JSON.len()).position(|part| part == PLACE_IN_JSON);
    let place = place.ok_or_else(|| serde::ser::Error::custom("there is no place for the text"))?;
    let (before, after) = (&frame[..place], &frame[place + PLACE_IN_JSON.len()..]);
    // Room for a line end in each hundred bytes, usually all there is to escape.
    let mut whole = Vec::with_capacity(frame.len() + text.len() + text.len() / 50);
    whole.extend_from_slice(before);
    whole.push(b'"');
    escape(text.as_bytes(), &mut whole);
    whole.push(b'"');
    whole.extend_from_slice(after);
    Ok(whole)
}

fn escape(mut text: &[u8], whole: &mut Vec<u8>) {
    while let Some(place) = first_special(text) {
        whole.extend_from_slice(&text[..place]);
        let byte = text[place];
        match byte {
            b'\n' => whole.extend_from_slice(br"\n"),
            b'\r' => whole.extend_from_slice(br"\r"),
            b'\t' => whole.extend_from_slice(br"\t"),
            b'"' | b'\\' => whole.extend_from_slice(&[b'\\', byte]),
            control => whole.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        }
        text = &text[place + 1..];
    }
    whole.extend_from_slice(text);
}

/// The index of the first byte that needs an escape.
fn first_special(text: &[u8]) -> Option<usize> {
    let (steps, rest) = text.as_chunks::<STEP>();
    for (number, step) in steps.iter().enumerate() {
        if may_have_one(u64::from_ne_bytes(*step))
            && let Some(place) = step.iter().position(|&byte| is_special(byte))
        {
            return Some(number * STEP + place);
        }
    }
    rest.iter().position(|&byte| is_special(byte)).map(|place| steps.len() * STEP + place)
}

fn is_special(byte: u8) -> bool {
    byte < FIRST_PRINTABLE || byte == b'"' || byte == b'\\'
}

/// Whether a byte of `step` may need an escape; true for some others too: the subtraction sets the highest bit of a
/// byte that is smaller, and may borrow from the byte above.
fn may_have_one(step: u64) -> bool {
    let less = |step: u64, than: u8| step.wrapping_sub(LOWEST * u64::from(than)) & !step;
    let equal = |byte: u8| less(step ^ (LOWEST * u64::from(byte)), 1);
    (less(step, FIRST_PRINTABLE) | equal(b'"') | equal(b'\\')) & HIGHEST != 0
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_slice, json};

    use super::*;

    fn written(text: &str) -> Vec<u8> {
        let mut whole = Vec::new();
        escape(text.as_bytes(), &mut whole);
        whole
    }

    #[test]
    fn every_character_is_read_back_wherever_it_is() {
        let characters = (0..0x300).chain(0x2027..0x202a).chain(0xfff0..0x1_0010).chain([0x1_f600, 0x10_ffff]);
        for character in characters.filter_map(char::from_u32) {
            for length in [1, 2, 7, 8, 9, 17] {
                for place in 0..length {
                    let text: String = (0..length).map(|at| if at == place { character } else { 'a' }).collect();
                    let json = [&b"\""[..], &written(&text), b"\""].concat();
                    assert_eq!(from_slice::<Value>(&json).unwrap(), Value::from(text), "{character:?}");
                }
            }
        }
    }

    #[test]
    fn all_of_it_is_as_serde_json_writes_it_but_for_two_rare_names() {
        let text: String = ('\0'..'\u{180}').filter(|character| !['\x08', '\x0c'].contains(character)).collect();
        let text = text.repeat(3) + "~\"\"\\\\\n\n\u{1b}[0m\r\n";
        assert_eq!([&b"\""[..], &written(&text), b"\""].concat(), serde_json::to_vec(&text).unwrap());
    }

    #[test]
    fn what_is_around_stays_as_it_is() {
        let around = |text| json!({"a": "\\u0000", "b": {"text": text}, "c": [text, "\0"]});
        let whole = within("x\ny", around).unwrap();
        assert_eq!(
            from_slice::<Value>(&whole).unwrap(),
            json!({"a": "\\u0000", "b": {"text": "x\ny"}, "c": ["\0", "\0"]})
        );
        assert!(within("x", |_| json!({"a": 1})).is_err());
    }
}
