//! What outlives the daemon: the state directory.
//!
//! Owns: the directory, its lock, the name of this instance, the kept access token, and how files are kept
//! ([`files`]). Never: a decision about a server. Everything in it is for its owner's eyes only.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::os::proc::Process;
use crate::os::{Pid, random};

pub mod files;
pub mod members;
pub mod server;

use files::Files;

/// The lock that keeps a second daemon out.
const LOCK: &str = "lock";
/// The name of this instance: it stands in the marker of each process that belongs to this state directory.
const INSTANCE: &str = "instance";
/// From the death of a daemon to the end of what it was about to spawn, and between two looks for that.
const HEIR_LIMIT: Duration = Duration::from_secs(2);
const HEIR_PAUSE: Duration = Duration::from_millis(1);
/// One file a server, and one an overlay.
const SERVERS: &str = "servers";
const OVERLAYS: &str = "overlays";
/// The access token, if none was given.
const TOKEN: &str = "access-token";
/// 256 bits can't be guessed.
const TOKEN_BYTES: usize = 32;
/// Two instances on one machine must not be mistaken for each other; nobody attacks this.
const INSTANCE_BYTES: usize = 8;
/// A file of ours with a single word in it is never longer.
const WORD_MAX: u64 = 4096;

/// The locked state directory.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    instance: String,
    servers: Arc<Files>,
    overlays: Arc<Files>,
    past: Past,
    /// The lock is held as long as this is open.
    lock: File,
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
    /// A sentence for a person: it can't be made or written, or another daemon has it.
    pub fn open(directory: &Path) -> Result<Store, String> {
        let shown = directory.display();
        let cant = |what: &str, error: &io::Error| format!("state directory {shown}: {what}: {error}");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|error| cant("can't be made", &error))?;
        let is_known = directory.join(INSTANCE).exists();
        let (lock, past) = lock(directory, is_known).map_err(|failure| match failure {
            LockFailure::Held(Some(holder)) => {
                format!(
                    "state directory {shown} is in use by another servisor (pid {holder}); stop it or give --state-dir"
                )
            }
            LockFailure::Held(None) => {
                format!("state directory {shown} is in use by another servisor; stop it or give --state-dir")
            }
            LockFailure::Io(error) => cant("is not writable", &error),
        })?;
        fs::set_permissions(directory, Permissions::from_mode(0o700))
            .map_err(|error| cant("can't be closed to other users", &error))?;
        let instance = instance(&directory.join(INSTANCE)).map_err(|error| cant(INSTANCE, &error))?;
        let servers = Files::open(directory.join(SERVERS)).map_err(|error| cant(SERVERS, &error))?;
        let overlays = Files::open(directory.join(OVERLAYS)).map_err(|error| cant(OVERLAYS, &error))?;
        let (servers, overlays) = (Arc::new(servers), Arc::new(overlays));
        Ok(Store { directory: directory.to_owned(), instance, servers, overlays, past, lock })
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The name of this instance, the same at every start.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// How the last life ended.
    pub fn past(&self) -> Past {
        self.past
    }

    /// Says that nothing is left behind, so that the next start need not look. If that can't be said it looks.
    pub fn end_clean(&self) {
        let _ = self.lock.set_len(0);
    }

    /// What is kept of the servers, by slug.
    pub fn servers(&self) -> &Arc<Files> {
        &self.servers
    }

    /// What is kept of the overlays, by id.
    pub fn overlays(&self) -> &Arc<Files> {
        &self.overlays
    }

    /// The kept access token, made at the first call.
    ///
    /// # Errors
    /// It can't be read or written.
    pub fn token(&self) -> Result<String, String> {
        let path = self.token_path();
        let token = kept_word(&path, TOKEN_BYTES, Outlives::System);
        token.map_err(|error| format!("access token {}: {error}", path.display()))
    }

    /// Where the kept access token is.
    pub fn token_path(&self) -> PathBuf {
        self.directory.join(TOKEN)
    }
}

enum LockFailure {
    Held(Option<Pid>),
    Io(io::Error),
}

/// The lock ends with the process that holds it, however that ends, and with the children that it was just about to
/// make: until a child has become another program it holds all that its parent held. Those are waited for.
///
/// The number of whoever has it stands in the file, and stays there unless that ends clean. If the file was removed from a
/// directory that `is_known`, nothing can be said.
fn lock(directory: &Path, is_known: bool) -> Result<(File, Past), LockFailure> {
    let is_there = directory.join(LOCK).exists();
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(directory.join(LOCK))
        .map_err(LockFailure::Io)?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) => {
                let holder = holder(&mut file);
                let lives = holder.and_then(Process::read).is_some_and(|process| process.is_alive());
                if lives || begun.elapsed() >= HEIR_LIMIT {
                    return Err(LockFailure::Held(holder));
                }
                std::thread::sleep(HEIR_PAUSE);
            }
            Err(TryLockError::Error(error)) => return Err(LockFailure::Io(error)),
        }
    }
    let is_empty = file.metadata().map_err(LockFailure::Io)?.len() == 0;
    let past = if is_empty && (is_there || !is_known) { Past::Clean } else { Past::Unclean };
    // Over the old number and as long as any: at no moment is the file empty again.
    let number = format!("{:<10}\n", std::process::id());
    file.write_all_at(number.as_bytes(), 0).map_err(LockFailure::Io)?;
    Ok((file, past))
}

/// The number that the daemon in the directory has put there, for people and for whoever wants to know if it lives.
fn holder(file: &mut File) -> Option<Pid> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(20).read_to_string(&mut text).ok()?;
    Pid::new(text.trim().parse().ok()?)
}

/// The kept word, and which file it is in: a copy of a state directory must not take the processes of the first one for
/// its own. No process outlives the system, so the word need not either.
fn instance(path: &Path) -> io::Result<String> {
    let word = kept_word(path, INSTANCE_BYTES, Outlives::Daemon)?;
    Ok(format!("{word}-{:x}", fs::metadata(path)?.ino()))
}

/// What a word has to be found after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outlives {
    /// The end of the daemon, however it comes.
    Daemon,
    /// A loss of power too.
    System,
}

/// The word in the file at `path`; if there is none, a new random one is put there, whole or not at all.
fn kept_word(path: &Path, bytes: usize, outlives: Outlives) -> io::Result<String> {
    match read_word(path) {
        Ok(word) if !word.is_empty() => return Ok(word),
        // An empty file is what is left when the system went down in the middle of the first start.
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let word = random::hex(bytes)?;
    let unfinished = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    writeln!(file, "{word}")?;
    match outlives {
        Outlives::Daemon => {}
        Outlives::System => file.sync_all()?,
    }
    fs::rename(&unfinished, path)?;
    Ok(word)
}

/// Reads a file that has one word in it.
///
/// # Errors
/// It can't be read, is no UTF-8, or has no end.
pub fn read_word(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(WORD_MAX).read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("servisor-store-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Scratch(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_kept_is_the_same_the_next_time_and_for_its_owner_only() {
        let scratch = Scratch::new("kept");
        let deep = scratch.0.join("a/b");
        let first = Store::open(&deep).unwrap();
        let (instance, token) = (first.instance().to_owned(), first.token().unwrap());
        assert_eq!((instance.split('-').next().map(str::len), token.len()), (Some(16), 64));
        assert_eq!(mode(&deep), 0o700);
        assert_eq!(mode(&first.token_path()), 0o600);
        drop(first);
        let second = Store::open(&deep).unwrap();
        assert_eq!((second.instance(), second.token().unwrap()), (instance.as_str(), token));
    }

    #[test]
    fn a_copy_has_another_name() {
        let scratch = Scratch::new("copy");
        let (first, second) = (scratch.0.join("first"), scratch.0.join("second"));
        let store = Store::open(&first).unwrap();
        fs::create_dir_all(&second).unwrap();
        fs::copy(first.join(INSTANCE), second.join(INSTANCE)).unwrap();
        assert_ne!(Store::open(&second).unwrap().instance(), store.instance());
    }

    #[test]
    fn how_the_last_life_ended_is_known() {
        let scratch = Scratch::new("past");
        let first = Store::open(&scratch.0).unwrap();
        assert_eq!(first.past(), Past::Clean, "there was none");
        drop(first);
        let second = Store::open(&scratch.0).unwrap();
        assert_eq!(second.past(), Past::Unclean);
        second.end_clean();
        drop(second);
        assert_eq!(Store::open(&scratch.0).unwrap().past(), Past::Clean);
        fs::remove_file(scratch.0.join(LOCK)).unwrap();
        assert_eq!(Store::open(&scratch.0).unwrap().past(), Past::Unclean, "nobody knows");
    }

    #[test]
    fn an_existing_directory_is_closed_to_others() {
        let scratch = Scratch::new("open");
        fs::create_dir_all(&scratch.0).unwrap();
        fs::set_permissions(&scratch.0, Permissions::from_mode(0o755)).unwrap();
        let _store = Store::open(&scratch.0).unwrap();
        assert_eq!(mode(&scratch.0), 0o700);
    }

    #[test]
    fn a_second_daemon_is_kept_out_and_told_who_is_in() {
        let scratch = Scratch::new("lock");
        let first = Store::open(&scratch.0).unwrap();
        let refusal = Store::open(&scratch.0).unwrap_err();
        assert!(refusal.contains(&format!("pid {}", std::process::id())), "{refusal}");
        drop(first);
        assert!(Store::open(&scratch.0).is_ok());
    }

    #[test]
    fn what_a_dead_daemon_was_about_to_spawn_is_waited_for() {
        let scratch = Scratch::new("heir");
        let first = Store::open(&scratch.0).unwrap();
        // Its number belongs to nobody, and someone holds the lock all the same.
        fs::write(scratch.0.join(LOCK), format!("{}\n", i32::MAX)).unwrap();
        let heir = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            drop(first);
        });
        assert!(Store::open(&scratch.0).is_ok());
        heir.join().unwrap();
    }

    #[test]
    fn an_empty_token_file_is_filled() {
        let scratch = Scratch::new("empty");
        let store = Store::open(&scratch.0).unwrap();
        fs::write(store.token_path(), "").unwrap();
        assert_eq!(store.token().unwrap().len(), 64);
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let scratch = Scratch::new("file");
        fs::write(&scratch.0, "not a directory").unwrap();
        let refusal = Store::open(&scratch.0).unwrap_err();
        assert!(refusal.contains(&*scratch.0.to_string_lossy()), "{refusal}");
        let _ = fs::remove_file(&scratch.0);
    }
}
