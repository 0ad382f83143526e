//! The state directory: everything that survives the daemon.
//!
//! Owns: the list of its members: the name of the instance, the generated access token, the address, a file for each
//! server and each overlay. [`home`] opens and locks it, [`files`] stores records. Never: a decision about a server.
//! Only its owner can read it.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::os::fs::Name;

pub mod fields;
pub mod files;
pub mod home;
pub mod leaders;
pub mod members;
pub mod server;
mod value;

pub use home::{Lost, lost};

use files::Files;
use home::{Durable, Home};

/// The name of the instance, a part of the marker of each process that belongs to this state directory.
const INSTANCE: &str = "instance";
/// Directories with one file for each server, and for each overlay.
const SERVERS: &str = "servers";
const OVERLAYS: &str = "overlays";
/// The history of runs; losing it is no error.
const RUNS: &str = "runs";
/// The generated access token.
const TOKEN: &str = "access-token";
/// The file with the address of the running daemon.
pub const ADDRESS: &str = "address";
const TOKEN_BYTES: usize = 32;

/// The locked state directory.
#[derive(Debug)]
pub struct Store {
    home: Arc<Home>,
    instance: String,
    servers: Arc<Files>,
    overlays: Arc<Files>,
    runs: Arc<Files>,
    past: Past,
}

/// How the last daemon with this state directory ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Past {
    /// No earlier daemon, or one that left no process behind.
    Clean,
    Unclean,
}

impl Store {
    /// Creates the directory if it is missing, closes it to other users, and locks it.
    ///
    /// # Errors
    /// A sentence for the user: it can't be created or written, belongs to another user, or is in use by another daemon.
    pub fn open(directory: &Path) -> Result<Store, String> {
        let (home, past) = Home::open(directory)?;
        let home = Arc::new(home);
        let cant = |what: &str, error: &io::Error| format!("state directory {}: {what}: {error}", directory.display());
        let instance = value::instance(&home, INSTANCE).map_err(|error| cant(INSTANCE, &error))?;
        let servers = Files::in_home(&home, SERVERS).map_err(|error| cant(SERVERS, &error))?;
        let overlays = Files::in_home(&home, OVERLAYS).map_err(|error| cant(OVERLAYS, &error))?;
        let runs = Arc::new(Files::in_home(&home, RUNS).map_err(|error| cant(RUNS, &error))?);
        Ok(Store { home, instance, servers: Arc::new(servers), overlays: Arc::new(overlays), runs, past })
    }

    pub fn directory(&self) -> &Path {
        self.home.path()
    }

    /// The name of the instance, the same at every start since the system booted.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    pub fn past(&self) -> Past {
        self.past
    }

    /// Records a clean end, so that the next start does not search for processes.
    pub fn end_clean(&self) {
        self.home.end_clean();
    }

    /// The records of servers, by slug.
    pub fn servers(&self) -> &Arc<Files> {
        &self.servers
    }

    /// The histories of runs, by slug.
    pub fn runs(&self) -> &Arc<Files> {
        &self.runs
    }

    /// The records of overlays, by id.
    pub fn overlays(&self) -> &Arc<Files> {
        &self.overlays
    }

    /// Returns the stored access token, generated at the first call. A user may have replaced it.
    ///
    /// # Errors
    /// It can't be read or written.
    pub fn token(&self) -> Result<String, String> {
        let token = value::kept(&self.home, TOKEN, TOKEN_BYTES, Durable::Now, |word| !word.is_empty());
        token.map_err(|error| format!("access token {}: {error}", self.token_path().display()))
    }

    /// Stores the address of the daemon, for clients on this machine.
    ///
    /// # Errors
    /// The system's.
    pub fn put_address(&self, address: &str) -> io::Result<()> {
        let (member, unfinished) = (name(ADDRESS)?, name("address.tmp")?);
        self.home.write(&member, &unfinished, &[address.as_bytes(), b"\n"].concat(), Durable::Never)
    }

    pub fn remove_address(&self) {
        if let Ok(member) = name(ADDRESS) {
            let _ = self.home.dir().unlink(&member);
        }
    }

    pub fn token_path(&self) -> PathBuf {
        self.home.path().join(TOKEN)
    }
}

fn name(text: &str) -> io::Result<Name> {
    Name::new(OsStr::new(text)).ok_or_else(|| io::ErrorKind::InvalidFilename.into())
}

#[cfg(test)]
mod tests;
