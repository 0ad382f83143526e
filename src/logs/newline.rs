//! Looking for the end of a line from behind.
//!
//! Owns: one search. Never: what a line is for.
//!
//! A byte at a time is what the compiler makes of the plain search when it is told to make small code; over the tail of a
//! log that was a quarter of a whole request.

/// What is looked at in one step.
const STEP: usize = size_of::<u64>();
const LOWEST: u64 = u64::from_ne_bytes([1; STEP]);
const HIGHEST: u64 = u64::from_ne_bytes([0x80; STEP]);

/// The place of the last line end.
pub fn last(bytes: &[u8]) -> Option<usize> {
    let (steps, rest) = bytes.as_chunks::<STEP>();
    let of_rest = rest.iter().rposition(|&byte| byte == b'\n').map(|place| steps.len() * STEP + place);
    of_rest.or_else(|| {
        let (number, step) = steps.iter().enumerate().rev().find(|(_, step)| has_one(**step))?;
        step.iter().rposition(|&byte| byte == b'\n').map(|place| number * STEP + place)
    })
}

/// A byte that is zero is the only one whose highest bit is set by taking one away and was not set before; one above it
/// may seem to be, when it lends to a zero below.
fn has_one(step: [u8; STEP]) -> bool {
    let zero_where_found = u64::from_ne_bytes(step) ^ u64::from_ne_bytes([b'\n'; STEP]);
    zero_where_found.wrapping_sub(LOWEST) & !zero_where_found & HIGHEST != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_found_wherever_it_is() {
        for length in 0..40 {
            for filler in [b'a', b'\n' + 1, b'\n' - 1, 0, 0x80, 0xff, b'\n' | 0x80] {
                let mut bytes = vec![filler; length];
                assert_eq!(last(&bytes), None, "{bytes:?}");
                for place in 0..length {
                    bytes[place] = b'\n';
                    assert_eq!(last(&bytes), Some(place), "{bytes:?}");
                }
            }
        }
    }
}
