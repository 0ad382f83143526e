//! The environment block that the daemon was started with.
//!
//! Owns: the erasure of secrets from it. Never: what a variable means.
//!
//! The kernel shows this memory as `/proc/PID/environ` to every process of the same user, and thus to the servers, even
//! after the program has unset its variables. So a value is overwritten in place.

use std::ffi::{CStr, c_char};

unsafe extern "C" {
    /// The C library's list of variables: pointers to `NAME=VALUE`, up to a null.
    static mut environ: *const *mut c_char;
}

/// Overwrites the values of the variables `names`; they are empty from now on. To be called before the first other
/// thread is made, as all of [`super::inherit`].
pub fn erase(names: &[&str]) {
    // SAFETY: the list and its texts are as the kernel has laid them out, in memory that a program may write to;
    // nothing in servisor changes variables, and there is no other thread yet that could read them.
    unsafe { erase_in(environ, names) };
}

/// # Safety
/// `list` is null, or points to pointers to NUL-terminated texts, the last of them null; nothing else uses the texts
/// meanwhile, and they may be written to.
unsafe fn erase_in(list: *const *mut c_char, names: &[&str]) {
    let mut entry = list;
    // SAFETY: each entry up to the null is one of the list, by the caller's promise.
    while let Some(text) = unsafe { entry.as_ref() }.copied().filter(|text| !text.is_null()) {
        // SAFETY: a NUL-terminated text, by the caller's promise. The borrow ends before the writes.
        let bytes = unsafe { CStr::from_ptr(text) }.to_bytes();
        let name = bytes.iter().position(|byte| *byte == b'=').unwrap_or(bytes.len());
        if names.iter().any(|secret| secret.as_bytes() == &bytes[..name]) {
            for place in name + 1..bytes.len() {
                // SAFETY: the place lies in the text, before its NUL. Volatile, since only the kernel reads it again.
                unsafe { text.add(place).write_volatile(0) };
            }
        }
        // SAFETY: the entry is not the last one.
        entry = unsafe { entry.add(1) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr;

    #[test]
    fn values_of_secrets_are_overwritten_each_time_they_occur_and_no_others() {
        let before =
            ["PATH=/bin", "TOKEN=secret", "TOKENS=kept", "TOKEN=again", "XTOKEN=kept", "TOKEN", "TOKEN=", "=x", ""];
        let after = ["PATH=/bin", "TOKEN=", "TOKENS=kept", "TOKEN=", "XTOKEN=kept", "TOKEN", "TOKEN=", "=x", ""];
        let mut block: Vec<Vec<u8>> = before.map(|text| [text.as_bytes(), b"\0"].concat()).into();
        let mut list: Vec<*mut c_char> = block.iter_mut().map(|text| text.as_mut_ptr().cast()).collect();
        list.push(ptr::null_mut());
        // SAFETY: as asked for; the texts live in `block`, which is not touched meanwhile.
        unsafe { erase_in(list.as_ptr(), &["TOKEN", "MISSING"]) };
        for ((text, before), after) in block.iter().zip(before).zip(after) {
            let mut expected = after.as_bytes().to_vec();
            expected.resize(before.len() + 1, 0);
            assert_eq!(*text, expected, "{before}");
        }
        // SAFETY: a list may be missing altogether.
        unsafe { erase_in(ptr::null(), &["TOKEN"]) };
    }
}
