//! The signals that the daemon handles, as a blocking sequence.
//!
//! Owns: the handlers, the names, and on which threads the handlers run: the main thread alone. Never: what follows
//! from a signal (see `daemon`).

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::iterator::{Handle, Signals};

/// The number of SIGRTMIN+3 for the kernel, systemd and Docker. A C library that keeps more real-time signals for
/// itself calls the same number by another name.
const REAL_TIME_3: libc::c_int = 37;
/// The signals that end the daemon: those of `kill`, of terminals, of init systems and container runtimes.
const ENDING: [(libc::c_int, &str); 5] = [
    (libc::SIGTERM, "SIGTERM"),
    (libc::SIGINT, "SIGINT"),
    (libc::SIGQUIT, "SIGQUIT"),
    (libc::SIGPWR, "SIGPWR"),
    (REAL_TIME_3, "SIGRTMIN+3"),
];
/// The signals whose default would end the daemon and that mean nothing to it.
const IGNORED: [(libc::c_int, &str); 4] =
    [(libc::SIGHUP, "SIGHUP"), (libc::SIGUSR1, "SIGUSR1"), (libc::SIGUSR2, "SIGUSR2"), (libc::SIGALRM, "SIGALRM")];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceivedSignal {
    /// Some child has ended, perhaps several.
    ChildEnded,
    /// The daemon shall end.
    Terminate {
        /// By which signal.
        name: &'static str,
    },
    /// A signal without an effect.
    Ignored {
        /// Which signal.
        name: &'static str,
    },
}

/// The signals, in the order in which they are seen.
pub struct SignalInbox {
    signals: Signals,
}

/// Blocks the handled signals on the calling thread until it is dropped. A thread that is created meanwhile keeps them
/// blocked: the kernel would run a handler on any thread, and its frame of 3 KiB would stay resident on each stack.
/// With SIGXFSZ blocked a write past the limit on the size of files fails with EFBIG.
pub struct BlockedSignals {
    before: libc::sigset_t,
}

impl BlockedSignals {
    pub fn block() -> BlockedSignals {
        let handled = ENDING.iter().chain(&IGNORED).map(|(number, _)| *number).chain([libc::SIGCHLD, libc::SIGXFSZ]);
        let (mut set, mut before) = (MaybeUninit::<libc::sigset_t>::uninit(), MaybeUninit::<libc::sigset_t>::uninit());
        // SAFETY: sigemptyset fills the set before it is read. The last call fills `before`: it can't fail, and changes
        // only this thread's mask.
        let before = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for number in handled {
                libc::sigaddset(set.as_mut_ptr(), number);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), before.as_mut_ptr());
            before.assume_init()
        };
        BlockedSignals { before }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: the mask was this thread's before; only this thread's mask is changed.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut()) };
    }
}

/// Ends the sequence of an [`SignalInbox`] from another thread.
#[derive(Clone)]
pub struct SignalCloser(Handle);

impl SignalCloser {
    /// [`SignalInbox::for_each`] returns, now or as soon as it is called.
    pub fn close(&self) {
        self.0.close();
    }
}

impl SignalInbox {
    /// Installs the handlers.
    ///
    /// # Errors
    /// The system has no descriptor for it.
    pub fn open() -> io::Result<SignalInbox> {
        // A limit on the size of files shall fail a write, not end the daemon. Servers don't inherit a handler.
        signal_hook::flag::register(libc::SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
        let numbers = ENDING.iter().chain(&IGNORED).map(|(number, _)| *number).chain([libc::SIGCHLD]);
        Ok(SignalInbox { signals: Signals::new(numbers)? })
    }

    /// The way to end the sequence.
    pub fn closer(&self) -> SignalCloser {
        SignalCloser(self.signals.handle())
    }

    /// Calls `act` for each signal, until the sequence is closed.
    pub fn for_each(&mut self, mut act: impl FnMut(ReceivedSignal)) {
        for number in self.signals.forever() {
            let name = |signals: &[(libc::c_int, &'static str)]| {
                signals.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
            };
            if number == libc::SIGCHLD {
                act(ReceivedSignal::ChildEnded);
            } else if let Some(name) = name(&ENDING) {
                act(ReceivedSignal::Terminate { name });
            } else if let Some(name) = name(&IGNORED) {
                act(ReceivedSignal::Ignored { name });
            }
        }
    }
}
