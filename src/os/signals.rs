//! The signals that the daemon listens to, as a blocking sequence.
//!
//! Owns: the handlers and the names. Never: what follows from a signal (see `daemon`).

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

/// A signal that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Some child has ended, perhaps several.
    ChildEnded,
    /// Someone asks the daemon to end.
    Terminate {
        /// By which signal.
        name: &'static str,
    },
    /// The terminal is gone, or someone thinks that it reloads a configuration.
    HangUp,
}

/// The signals, in the order in which they are seen.
pub struct Inbox {
    signals: Signals,
}

/// Ends the sequence of an [`Inbox`] from another thread.
#[derive(Clone)]
pub struct Closer(Handle);

impl Closer {
    /// [`Inbox::for_each`] returns, now or as soon as it is called.
    pub fn close(&self) {
        self.0.close();
    }
}

impl Inbox {
    /// Installs the handlers.
    ///
    /// # Errors
    /// The system has no descriptor for it.
    pub fn open() -> io::Result<Inbox> {
        // A limit on the size of files shall fail a write, not end the daemon. Servers don't inherit a handler.
        signal_hook::flag::register(libc::SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
        Ok(Inbox { signals: Signals::new([SIGCHLD, SIGTERM, SIGINT, SIGHUP])? })
    }

    /// The way to end the sequence.
    pub fn closer(&self) -> Closer {
        Closer(self.signals.handle())
    }

    /// Calls `act` for each signal, until the sequence is closed.
    pub fn for_each(&mut self, mut act: impl FnMut(Signal)) {
        for number in self.signals.forever() {
            match number {
                SIGCHLD => act(Signal::ChildEnded),
                SIGTERM => act(Signal::Terminate { name: "SIGTERM" }),
                SIGINT => act(Signal::Terminate { name: "SIGINT" }),
                _ => act(Signal::HangUp),
            }
        }
    }
}
