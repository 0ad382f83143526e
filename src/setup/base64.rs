//! Base64, read only.
//!
//! Owns: RFC 4648 in both alphabets, with or without padding. Never: what is in it.

use std::fmt;

/// Why a text is no base64. It shows no more of the text than one character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A character of neither alphabet, and its place, counted from 0.
    Character(char, usize),
    /// The text ends in the middle of a byte.
    Torn,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Character(character, place) => write!(f, "it has {character:?} at byte {place}"),
            Fault::Torn => f.write_str("its end is missing"),
        }
    }
}

/// The bytes that `text` stands for. White space counts nowhere: `base64` breaks its lines.
///
/// # Errors
/// It is no base64.
pub fn decode(text: &str) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut held) = (0_u32, 0);
    let digits = text.trim_end().trim_end_matches('=');
    for (place, character) in digits.char_indices().filter(|(_, character)| !character.is_ascii_whitespace()) {
        let digit = match character {
            'A'..='Z' => u32::from(character) - u32::from('A'),
            'a'..='z' => u32::from(character) - u32::from('a') + 26,
            '0'..='9' => u32::from(character) - u32::from('0') + 52,
            '+' | '-' => 62,
            '/' | '_' => 63,
            _ => return Err(Fault::Character(character, place)),
        };
        bits = bits << 6 | digit;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xff) as u8);
        }
    }
    // One digit alone is less than a byte; bits that are left over after the last byte carry nothing.
    if held == 6 { Err(Fault::Torn) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_rfc_with_and_without_padding() {
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(decode(text).unwrap(), bytes.as_bytes());
            assert_eq!(decode(text.trim_end_matches('=')).unwrap(), bytes.as_bytes());
        }
    }

    #[test]
    fn both_alphabets_and_broken_lines() {
        let expected = [0xfb, 0xef, 0xff, 0xfe];
        for text in ["++///g==", "--___g", "+-/_/g=", " ++//\r\n/g==\n"] {
            assert_eq!(decode(text).unwrap(), expected, "{text:?}");
        }
    }

    #[test]
    fn every_byte_at_every_place() {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        for length in 0..=6_usize {
            for byte in 0..=255_u8 {
                let bytes: Vec<u8> =
                    (0..length).map(|place| byte.wrapping_add((place as u8).wrapping_mul(77))).collect();
                let mut text = String::new();
                for chunk in bytes.chunks(3) {
                    let word = chunk
                        .iter()
                        .enumerate()
                        .fold(0_u32, |word, (place, &byte)| word | u32::from(byte) << (16 - 8 * place));
                    for digit in 0..=chunk.len() {
                        text.push(DIGITS[(word >> (18 - 6 * digit) & 63) as usize] as char);
                    }
                }
                assert_eq!(decode(&text).unwrap(), bytes);
            }
        }
    }

    #[test]
    fn what_is_none() {
        assert_eq!(decode("Zm9vY"), Err(Fault::Torn));
        assert_eq!(decode("Zm9v{}"), Err(Fault::Character('{', 4)));
        assert_eq!(decode("Zg==Zg=="), Err(Fault::Character('=', 2)));
        assert_eq!(decode("ä"), Err(Fault::Character('ä', 0)));
    }
}
