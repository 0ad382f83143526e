//! What is stored of one server, kept in step with what its supervisor does.
//!
//! Owns: when something is written, and what it means that it can't be. Never: the form of a file (see `store`).
//!
//! A server's file is touched by its supervisor's thread only, from before its first run until it is removed: no other
//! server waits for the disk, and no lock is needed.

use std::io;
use std::mem;
use std::sync::Arc;
use std::time::SystemTime;

use crate::log::{self, Level};
use crate::model::overlay::OverlayId;
use crate::model::proxy::AccessKey;
use crate::model::spec::{ServerSpec, Slug};
use crate::store::files::Files;
use crate::store::server::{self, Install, Kept, Preparation};

/// Where a server comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// From a client: stored when its creation is accepted.
    Client,
    /// An earlier life of the daemon has stored it.
    Stored(Kept),
    /// From the setup payload or options of the daemon; with the key of the server that it replaces.
    Payload(Option<AccessKey>),
}

impl Origin {
    /// Whether such a server is started by the daemon itself.
    pub fn starts(&self, spec: &ServerSpec) -> bool {
        match self {
            Origin::Client => false,
            Origin::Stored(_) | Origin::Payload(_) => spec.autostart,
        }
    }

    /// The stored access key.
    pub fn key(&self) -> Option<&AccessKey> {
        match self {
            Origin::Client => None,
            Origin::Stored(kept) => kept.key.as_ref(),
            Origin::Payload(key) => key.as_ref(),
        }
    }
}

/// The stored side of a server.
pub struct Record {
    files: Arc<Files>,
    kept: Kept,
    /// Whether the configuration, or the key, came with the daemon's start and was not stored yet.
    is_due: bool,
}

impl Record {
    /// Takes up what is stored, and `key` if it is new.
    pub fn of(origin: Origin, files: &Arc<Files>, key: Option<AccessKey>) -> Record {
        let (mut kept, mut is_due) = match origin {
            Origin::Client => (new(SystemTime::now(), key.clone()), false),
            Origin::Stored(kept) => (kept, false),
            Origin::Payload(key) => (new(SystemTime::now(), key), true),
        };
        if key.is_some() && kept.key != key {
            kept.key = key;
            is_due = true;
        }
        Record { files: Arc::clone(files), kept, is_due }
    }

    /// Stores a configuration from [`Origin::Payload`], or an access key, that is not stored yet. Called after the
    /// start of all servers, so that none waits for the disk.
    ///
    /// # Errors
    /// It can't be stored. At the daemon's start that is no reason not to start it: no client was promised anything,
    /// and the next start repeats it.
    pub fn keep_given(&mut self, spec: &ServerSpec) -> io::Result<()> {
        if !mem::take(&mut self.is_due) {
            return Ok(());
        }
        server::write(&self.files, spec, &self.kept).inspect_err(|error| {
            let text = format_args!("its configuration can't be stored: {error}; it is started all the same");
            log::server(Level::Error, &spec.slug, text);
        })
    }

    /// When the configuration came.
    pub fn created_at(&self) -> SystemTime {
        self.kept.created_at
    }

    /// Whether the install command has succeeded.
    pub fn install(&self) -> Install {
        self.kept.install
    }

    /// Whether what it waits for before its first start was there once.
    pub fn preparation(&self) -> Preparation {
        self.kept.preparation
    }

    /// The overlays that were made for it by now.
    pub fn overlays(&self) -> &[OverlayId] {
        &self.kept.overlays
    }

    /// Stores that its overlay `number` was made. If that is not possible, the next start of the daemon makes another
    /// one, which finds all files there.
    pub fn overlay_made(&mut self, spec: &ServerSpec, number: usize, id: OverlayId) {
        match self.kept.overlays.get_mut(number) {
            Some(before) => *before = id,
            None => self.kept.overlays.push(id),
        }
        self.note(spec, "that an overlay was made for it");
    }

    /// Stores that everything is there. If that is not possible, it is waited for again after the next start.
    pub fn prepared(&mut self, spec: &ServerSpec) {
        self.kept.preparation = Preparation::Done;
        self.note(spec, "that its overlays are complete");
    }

    /// Stores what the daemon can do without.
    fn note(&self, spec: &ServerSpec, what: &str) {
        if let Err(error) = server::write(&self.files, spec, &self.kept) {
            let text =
                format_args!("{what} can't be stored: {error}; after the next start of servisor it is done again");
            log::server(Level::Warn, &spec.slug, text);
        }
    }

    /// The access key, if one was needed by now.
    pub fn key(&self) -> Option<&AccessKey> {
        self.kept.key.as_ref()
    }

    /// Whether a command has stopped it since it last ran.
    pub fn is_stopped_by_hand(&self) -> bool {
        self.kept.is_stopped_by_hand
    }

    /// Stores whether a command has stopped it: a visit does not start it then. Others don't need to know.
    pub fn stopped_by_hand(&mut self, spec: &ServerSpec, by_hand: bool) {
        if self.kept.is_stopped_by_hand != by_hand && spec.proxy.start_on_visit {
            self.kept.is_stopped_by_hand = by_hand;
            self.note(spec, "whether a command has stopped it");
        }
    }

    /// Stores a new configuration, and `key` if one is needed for it.
    ///
    /// # Errors
    /// It can't be stored, and what was stored before still is.
    pub fn keep(&mut self, spec: &ServerSpec, key: Option<AccessKey>) -> io::Result<()> {
        let kept = new(SystemTime::now(), key.or_else(|| self.kept.key.clone()));
        server::write(&self.files, spec, &kept)?;
        self.kept = kept;
        self.is_due = false;
        Ok(())
    }

    /// Stores that the install command has done its work. If that is not possible it will be done again at the next
    /// start of the daemon, which is no reason not to start the server.
    pub fn install_succeeded(&mut self, spec: &ServerSpec) {
        if spec.install.is_none() || self.kept.install == Install::Succeeded {
            return;
        }
        self.kept.install = Install::Succeeded;
        self.note(spec, "that its install command has succeeded");
    }

    /// Removes what is stored.
    ///
    /// # Errors
    /// It can't be removed, and still is stored.
    pub fn remove(&mut self, slug: &Slug) -> io::Result<()> {
        self.files.remove(slug.as_str())?;
        self.is_due = false;
        Ok(())
    }
}

fn new(created_at: SystemTime, key: Option<AccessKey>) -> Kept {
    let (preparation, install) = (Preparation::Due, Install::Due);
    Kept { created_at, overlays: Vec::new(), preparation, install, key, is_stopped_by_hand: false }
}
