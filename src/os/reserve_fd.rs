//! A reserve descriptor, closed for the time of a short call that must succeed at the limit on open files.
//!
//! Owns: that descriptor. Never: the call.

use std::fs::File;
use std::io;
use std::sync::Mutex;

use super::is_shortage;
use crate::sync::lock;

/// The descriptor; empty if there was none left to open.
#[derive(Debug, Default)]
pub struct ReserveFd(Mutex<Option<File>>);

impl ReserveFd {
    pub fn new() -> ReserveFd {
        ReserveFd(Mutex::new(open()))
    }

    /// Calls `call`, which opens one descriptor at a time. After a shortage, closes the reserve and calls it once more.
    ///
    /// # Errors
    /// Those of `call`.
    pub fn open_with<T>(&self, call: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match call() {
            Err(error) if is_shortage(&error) => {
                let mut kept = lock(&self.0);
                let was_kept = kept.take().is_some();
                let again = if was_kept { call() } else { Err(error) };
                *kept = open();
                again
            }
            looked => {
                // Another thread may have taken its number in a shortage.
                let mut kept = lock(&self.0);
                if kept.is_none() {
                    *kept = open();
                }
                looked
            }
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
    fn after_a_shortage_the_call_is_repeated_without_the_reserve() {
        let (reserve, calls) = (ReserveFd::new(), Cell::new(0));
        let open = || {
            calls.set(calls.get() + 1);
            if calls.get() < 2 { Err(io::Error::from_raw_os_error(libc::EMFILE)) } else { Ok(calls.get()) }
        };
        assert_eq!(reserve.open_with(open).unwrap(), 2);
        assert!(reserve.0.lock().unwrap().is_some());
        let refused = reserve.open_with(|| -> io::Result<()> { Err(io::ErrorKind::NotFound.into()) });
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::NotFound);
        // One that was lost is opened again.
        let lost = ReserveFd::default();
        lost.open_with(|| Ok(())).unwrap();
        assert!(lost.0.lock().unwrap().is_some());
        // Without a reserve the shortage is returned.
        let calls = Cell::new(0);
        let open = || -> io::Result<()> {
            calls.set(calls.get() + 1);
            Err(io::Error::from_raw_os_error(libc::EMFILE))
        };
        assert!(ReserveFd::default().open_with(open).is_err());
        assert_eq!(calls.get(), 1);
    }
}
