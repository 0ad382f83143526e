//! Looking for the end of a line from behind.
//!
//! Owns: one search. Never: what a line is for.
//!
//! A byte at a time is what the compiler makes of the plain search when it is told to make small code; over the tail of a
//! log that was a quarter of a whole request.

/// What is looked at in one step.
const STEP: usize = size_of::<u64>();
/// The seven lower bits of every byte.
const LOWER: u64 = u64::from_ne_bytes([0x7f; STEP]);

/// The place of the last line end.
pub fn last(bytes: &[u8]) -> Option<usize> {
    let (first, steps) = bytes.as_rchunks::<STEP>();
    for (number, step) in steps.iter().enumerate().rev() {
        let ends = ends(*step);
        if ends != 0 {
            // The last byte of a step is the highest one of the number that it is read as.
            let place = STEP - 1 - ends.leading_zeros() as usize / 8;
            return Some(first.len() + number * STEP + place);
        }
    }
    first.iter().rposition(|&byte| byte == b'\n')
}

/// The highest bit of each byte that is a line end. Only of a byte that is zero neither the highest bit is set nor any lower
/// one, which adding their greatest value would carry there; nothing is carried into the next byte.
fn ends(step: [u8; STEP]) -> u64 {
    let zero_where_found = u64::from_le_bytes(step) ^ u64::from_ne_bytes([b'\n'; STEP]);
    !(((zero_where_found & LOWER) + LOWER) | zero_where_found | LOWER)
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
