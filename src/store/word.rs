//! Members of the state directory that have one word in them: the access token, the name of the instance.
//!
//! Owns: how such a word is read, checked, and made when there is none. Never: what it is for.

use std::fs;
use std::io;

use super::home::{Durable, Home, report, set_aside};
use super::name;
use crate::os::fs::plain::Rejected;
use crate::os::random;

/// Two instances on one machine must not be mistaken for each other; nobody attacks this.
const INSTANCE_BYTES: usize = 8;
/// As much of the boot's id, in hexadecimal digits.
const BOOT_DIGITS: usize = 8;

/// The name of this instance: the kept word, which file it is in, and since which boot.
///
/// A process carries this name, and a daemon ends what carries its own. So a copy of a state directory has another name: it
/// lies in another file (inode), or on another file system (device), as a snapshot or a cloned disk does, or on another
/// machine (boot id), where no process of this one can be. A bind mount shows the same file, and is the same instance.
///
/// # Errors
/// The word can't be read or written.
pub fn instance(home: &Home, member: &str) -> io::Result<String> {
    let is_instance = |word: &str| {
        word.len() == 2 * INSTANCE_BYTES
            && word.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    // No process outlives the system, and until something is stored there is nothing to lose with the name.
    let word = kept(home, member, INSTANCE_BYTES, Durable::Later, is_instance)?;
    let (device, inode) = home.dir().stat(&name(member)?)?.identity;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let boot: String = boot.chars().filter(char::is_ascii_hexdigit).take(BOOT_DIGITS).collect();
    Ok(format!("{word}-{device:x}-{inode:x}-{boot}"))
}

/// The word in `member`. If there is none, a random one of `bytes` bytes is put there; one that is not `valid`, or is in
/// an unsafe file, is set aside first.
///
/// # Errors
/// It can't be read or written.
pub fn kept(
    home: &Home,
    member: &str,
    bytes: usize,
    durable: Durable,
    valid: impl Fn(&str) -> bool,
) -> io::Result<String> {
    let member = name(member)?;
    let unfit = match home.dir().read_plain(&member, home.demands()) {
        Ok(text) => match str::from_utf8(&text).map(str::trim) {
            Ok(word) if valid(word) => return Ok(word.to_owned()),
            // An empty file is what is left when the system went down in the middle of the first start.
            Ok("") => Some(("it is empty".into(), "corrupt")),
            Ok(_) | Err(_) => Some(("its content is not what servisor writes there".into(), "corrupt")),
        },
        Err(Rejected::Unfit(why)) => Some((why, "unsafe")),
        Err(Rejected::Failed(error)) if error.kind() == io::ErrorKind::NotFound => None,
        Err(Rejected::Failed(error)) => return Err(error),
    };
    if let Some((why, word)) = unfit {
        report(home.path(), &member, &why, set_aside(home.dir(), &member, word));
    }
    let word = random::hex(bytes)?;
    let mut unfinished = member.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = unfinished.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
    home.write(&member, &name(unfinished)?, format!("{word}\n").as_bytes(), durable)?;
    Ok(word)
}
