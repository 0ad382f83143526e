//! What is stored of one server, kept in step with what its supervisor does.
//!
//! Owns: when something is written, and what it means that it can't be. Never: the form of a file (see `store`).
//!
//! A server's file is touched by its supervisor's thread only, from before its first run until it is removed: no other
//! server waits for the disk, and no lock is needed.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use crate::log::{self, Level};
use crate::model::spec::{ServerSpec, Slug};
use crate::store::files::Files;
use crate::store::server::{self, Install, Kept};

/// Where a server comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A client asks for it; nothing of it is stored before that is granted.
    Client,
    /// An earlier life of the daemon has stored it.
    Stored(Kept),
    /// The daemon was told at its start to have it.
    Payload,
}

impl Origin {
    /// Whether such a server is started without a word from anyone.
    pub fn starts(self, spec: &ServerSpec) -> bool {
        match self {
            Origin::Client => false,
            Origin::Stored(_) | Origin::Payload => spec.autostart,
        }
    }
}

/// The stored side of a server.
pub struct Record {
    files: Arc<Files>,
    kept: Kept,
}

impl Record {
    /// Takes up what is stored, and stores what came with the daemon's start.
    pub fn of(origin: Origin, spec: &ServerSpec, files: &Arc<Files>) -> Record {
        let mut record = Record { files: Arc::clone(files), kept: new(SystemTime::now()) };
        match origin {
            Origin::Client => {}
            Origin::Stored(kept) => record.kept = kept,
            Origin::Payload => {
                if let Err(error) = record.keep(spec) {
                    // There is no one to refuse it to. It comes again with the next start.
                    let text = format_args!("its configuration can't be stored: {error}; it is started all the same");
                    log::server(Level::Error, &spec.slug, text);
                }
            }
        }
        record
    }

    /// When the configuration came.
    pub fn created_at(&self) -> SystemTime {
        self.kept.created_at
    }

    /// What has become of its install command.
    pub fn install(&self) -> Install {
        self.kept.install
    }

    /// Stores a new configuration.
    ///
    /// # Errors
    /// It can't be stored, and what was stored before still is.
    pub fn keep(&mut self, spec: &ServerSpec) -> io::Result<()> {
        let kept = new(SystemTime::now());
        server::write(&self.files, spec, kept)?;
        self.kept = kept;
        Ok(())
    }

    /// Stores that the install command has done its work. If that is not possible it will be done again at the next
    /// start of the daemon, which is no reason not to start the server.
    pub fn install_succeeded(&mut self, spec: &ServerSpec) {
        if spec.install.is_none() || self.kept.install == Install::Succeeded {
            return;
        }
        self.kept.install = Install::Succeeded;
        if let Err(error) = server::write(&self.files, spec, self.kept) {
            let text = format_args!(
                "that its install command has succeeded can't be stored: {error}; after the next start of servisor it \
                 runs again"
            );
            log::server(Level::Warn, &spec.slug, text);
        }
    }

    /// Removes what is stored.
    ///
    /// # Errors
    /// It can't be removed, and still is stored.
    pub fn remove(&self, slug: &Slug) -> io::Result<()> {
        self.files.remove(slug.as_str())
    }
}

fn new(created_at: SystemTime) -> Kept {
    Kept { created_at, install: Install::Due }
}
