//! Random numbers of cryptographic quality.
//!
//! Owns: the call into the kernel's generator. Never: a generator of its own.

use std::io;

use super::retry;

/// Fills `bytes` from the kernel's generator, as soon as that has been seeded.
///
/// # Errors
/// The kernel has no such call (before Linux 3.17).
pub fn fill(bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = &mut bytes[filled..];
        filled += retry(|| {
            // SAFETY: `rest` is valid for writes of its length.
            match unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) } {
                count if count < 0 => Err(io::Error::last_os_error()),
                count => Ok(count.unsigned_abs()),
            }
        })?;
    }
    Ok(())
}

/// `bytes` random bytes in hexadecimal.
///
/// # Errors
/// As [`fill`].
pub fn hex(bytes: usize) -> io::Result<String> {
    let mut random = vec![0; bytes];
    fill(&mut random)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_are_never_the_same() {
        let (one, other) = (super::hex(32).unwrap(), super::hex(32).unwrap());
        assert_eq!(one.len(), 64);
        assert!(one.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(one, other);
    }
}
