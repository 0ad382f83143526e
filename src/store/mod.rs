//! What outlives the daemon: the state directory.
//!
//! Owns: which members it has: the name of this instance, the kept access token, the address, a file each server and each overlay.
//! [`home`] opens and locks it, [`files`] keeps files. Never: a decision about a server. Everything in it is for its
//! owner's eyes only.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::os::fs::Name;

pub mod files;
pub mod home;
pub mod leaders;
pub mod members;
pub mod server;
mod word;

pub use home::{Lost, lost};

use files::Files;
use home::{Durable, Home};

/// The name of this instance: it stands in the marker of each process that belongs to this state directory.
const INSTANCE: &str = "instance";
/// One file a server, and one an overlay.
const SERVERS: &str = "servers";
const OVERLAYS: &str = "overlays";
/// How the runs of each server ended; a loss of it is no fault.
const RUNS: &str = "runs";
/// The access token, if none was given.
const TOKEN: &str = "access-token";
/// Where the daemon listens, while it does.
pub const ADDRESS: &str = "address";
/// 256 bits can't be guessed.
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

/// How the last life of this state directory ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Past {
    /// There was none, or it has seen to it itself that nothing is left.
    Clean,
    /// It may have left processes behind.
    Unclean,
}

impl Store {
    /// Makes the directory if there is none, closes it to others, locks it.
    ///
    /// # Errors
    /// A sentence for a person: it can't be made or written, it is another user's, or another daemon has it.
    pub fn open(directory: &Path) -> Result<Store, String> {
        let (home, past) = Home::open(directory)?;
        let home = Arc::new(home);
        let cant = |what: &str, error: &io::Error| format!("state directory {}: {what}: {error}", directory.display());
        let instance = word::instance(&home, INSTANCE).map_err(|error| cant(INSTANCE, &error))?;
        let servers = Files::in_home(&home, SERVERS).map_err(|error| cant(SERVERS, &error))?;
        let overlays = Files::in_home(&home, OVERLAYS).map_err(|error| cant(OVERLAYS, &error))?;
        let runs = Arc::new(Files::in_home(&home, RUNS).map_err(|error| cant(RUNS, &error))?);
        Ok(Store { home, instance, servers: Arc::new(servers), overlays: Arc::new(overlays), runs, past })
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        self.home.path()
    }

    /// The name of this instance, the same at every start since the system booted.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// How the last life ended.
    pub fn past(&self) -> Past {
        self.past
    }

    /// Says that nothing is left behind, so that the next start need not look.
    pub fn end_clean(&self) {
        self.home.end_clean();
    }

    /// What is kept of the servers, by slug.
    pub fn servers(&self) -> &Arc<Files> {
        &self.servers
    }

    /// How runs ended, by slug.
    pub fn runs(&self) -> &Arc<Files> {
        &self.runs
    }

    /// What is kept of the overlays, by id.
    pub fn overlays(&self) -> &Arc<Files> {
        &self.overlays
    }

    /// The kept access token, made at the first call. A user may have written another one there.
    ///
    /// # Errors
    /// It can't be read or written.
    pub fn token(&self) -> Result<String, String> {
        let token = word::kept(&self.home, TOKEN, TOKEN_BYTES, Durable::Now, |word| !word.is_empty());
        token.map_err(|error| format!("access token {}: {error}", self.token_path().display()))
    }

    /// Writes down where the daemon listens, for clients on this machine.
    ///
    /// # Errors
    /// The system's.
    pub fn put_address(&self, address: &str) -> io::Result<()> {
        let (member, unfinished) = (name(ADDRESS)?, name("address.tmp")?);
        self.home.write(&member, &unfinished, &[address.as_bytes(), b"\n"].concat(), Durable::Never)
    }

    /// Removes the address: nothing listens there any more.
    pub fn remove_address(&self) {
        if let Ok(member) = name(ADDRESS) {
            let _ = self.home.dir().unlink(&member);
        }
    }

    /// Where the kept access token is.
    pub fn token_path(&self) -> PathBuf {
        self.home.path().join(TOKEN)
    }
}

/// The name of a member.
fn name(text: &str) -> io::Result<Name> {
    Name::new(OsStr::new(text)).ok_or_else(|| io::ErrorKind::InvalidFilename.into())
}

#[cfg(test)]
mod tests;
