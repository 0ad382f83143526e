//! A descriptor in reserve, for a short look that must succeed when the system has no other to give.
//!
//! Owns: that descriptor. Never: what is looked at.

use std::fs::File;
use std::io;
use std::sync::{Mutex, PoisonError};

use super::is_shortage;

/// A descriptor whose number can be had.
#[derive(Debug, Default)]
pub struct Spare(Mutex<Option<File>>);

impl Spare {
    /// With a descriptor, unless the system has none to give.
    pub fn new() -> Spare {
        Spare(Mutex::new(open()))
    }

    /// Calls `look`, which opens one descriptor at a time; after a shortage once more, with the number that was kept.
    ///
    /// # Errors
    /// Those of `look`.
    pub fn lend<T>(&self, look: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match look() {
            Err(error) if is_shortage(&error) => {
                let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                let was_kept = kept.take().is_some();
                let again = if was_kept { look() } else { Err(error) };
                *kept = open();
                again
            }
            looked => looked,
        }
    }
}

fn open() -> Option<File> {
    File::open("/dev/null").ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn after_a_shortage_a_look_has_the_number_that_was_kept() {
        let (spare, calls) = (Spare::new(), Cell::new(0));
        let look = || {
            calls.set(calls.get() + 1);
            if calls.get() < 2 { Err(io::Error::from_raw_os_error(libc::EMFILE)) } else { Ok(calls.get()) }
        };
        assert_eq!(spare.lend(look).unwrap(), 2);
        assert!(spare.0.lock().unwrap().is_some());
        let refused = spare.lend(|| -> io::Result<()> { Err(io::ErrorKind::NotFound.into()) });
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::NotFound);
        // Nothing was kept: the shortage is what it is.
        let calls = Cell::new(0);
        let look = || -> io::Result<()> {
            calls.set(calls.get() + 1);
            Err(io::Error::from_raw_os_error(libc::EMFILE))
        };
        assert!(Spare::default().lend(look).is_err());
        assert_eq!(calls.get(), 1);
    }
}
