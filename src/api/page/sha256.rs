//! SHA-256 (FIPS 180-4) and Base64 (RFC 4648) at compile time, for the policy that names the page's style and script.
//!
//! Owns: both functions. Never: a use at run time.

/// The length of 32 bytes in Base64, padded.
pub const BASE64_LENGTH: usize = 44;

/// The fractional parts of the cube roots of the first 64 primes.
#[rustfmt::skip]
const ROUNDS: [u32; 64] = [
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
];

pub const fn sha256(message: &[u8]) -> [u8; 32] {
    let mut state: [u32; 8] =
        [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];
    let padded = (message.len() + 9).div_ceil(64) * 64;
    let mut block = 0;
    while block < padded {
        let mut words = [0_u32; 64];
        let mut place = 0;
        while place < 64 {
            words[place / 4] = words[place / 4] << 8 | byte(message, padded, block + place) as u32;
            place += 1;
        }
        round(&mut state, &mut words);
        block += 64;
    }
    let mut digest = [0; 32];
    let mut place = 0;
    while place < 32 {
        digest[place] = (state[place / 4] >> (24 - 8 * (place % 4))) as u8;
        place += 1;
    }
    digest
}

/// The byte at `at` of the padded message: the message, a one bit, zeros, and its length in bits.
const fn byte(message: &[u8], padded: usize, at: usize) -> u8 {
    if at < message.len() {
        message[at]
    } else if at == message.len() {
        0x80
    } else if at < padded - 8 {
        0
    } else {
        ((message.len() as u64 * 8) >> (8 * (padded - 1 - at))) as u8
    }
}

const fn round(state: &mut [u32; 8], words: &mut [u32; 64]) {
    let mut place = 16;
    while place < 64 {
        let (early, late) = (words[place - 15], words[place - 2]);
        let early = early.rotate_right(7) ^ early.rotate_right(18) ^ (early >> 3);
        let late = late.rotate_right(17) ^ late.rotate_right(19) ^ (late >> 10);
        words[place] = words[place - 16].wrapping_add(early).wrapping_add(words[place - 7]).wrapping_add(late);
        place += 1;
    }
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    let mut place = 0;
    while place < 64 {
        let choice = (e & f) ^ (!e & g);
        let majority = (a & b) ^ (a & c) ^ (b & c);
        let first = (e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25))
            .wrapping_add(h)
            .wrapping_add(choice)
            .wrapping_add(ROUNDS[place])
            .wrapping_add(words[place]);
        let second = (a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22)).wrapping_add(majority);
        (h, g, f, e) = (g, f, e, d.wrapping_add(first));
        (d, c, b, a) = (c, b, a, first.wrapping_add(second));
        place += 1;
    }
    let added = [a, b, c, d, e, f, g, h];
    let mut place = 0;
    while place < 8 {
        state[place] = state[place].wrapping_add(added[place]);
        place += 1;
    }
}

pub const fn base64(bytes: &[u8; 32]) -> [u8; BASE64_LENGTH] {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = [b'='; BASE64_LENGTH];
    let mut place = 0;
    // 32 bytes are 256 bits: 42 digits and one of four bits.
    while place < 43 {
        let bit = 6 * place;
        let high = (bytes[bit / 8] as usize) << 8;
        let low = if bit / 8 + 1 < 32 { bytes[bit / 8 + 1] as usize } else { 0 };
        text[place] = ALPHABET[((high | low) >> (10 - bit % 8)) & 63];
        place += 1;
    }
    text
}
