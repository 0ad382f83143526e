//! Members of the state directory with a single value: the access token, the name of the instance.
//!
//! Owns: how such a value is read, checked, and generated. Never: its use.

use std::fs;
use std::io;

use super::home::{Durable, Home, report, set_aside};
use super::name;
use crate::os::fs::plain::Rejected;
use crate::os::random;

/// Enough for distinct names on one machine; not a secret.
const INSTANCE_BYTES: usize = 8;
/// The number of hexadecimal digits taken of the boot id.
const BOOT_DIGITS: usize = 8;

/// Returns the name of the instance: the stored value, the identity of its file, and the boot id.
///
/// Processes carry this name, and a daemon kills those that carry its own. So a copy of a state directory has another
/// name: another inode, or another device (a snapshot, a cloned disk), or another boot id (another machine). A bind
/// mount shows the same file, and is the same instance.
///
/// # Errors
/// The value can't be read or written.
pub fn instance(home: &Home, member: &str) -> io::Result<String> {
    let is_instance = |value: &str| {
        value.len() == 2 * INSTANCE_BYTES
            && value.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    // Not synced: no process survives a crash of the system, and without stored records the name does not matter.
    let value = kept(home, member, INSTANCE_BYTES, Durable::Later, is_instance)?;
    let (device, inode) = home.dir().stat(&name(member)?)?.identity;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let boot: String = boot.chars().filter(char::is_ascii_hexdigit).take(BOOT_DIGITS).collect();
    Ok(format!("{value}-{device:x}-{inode:x}-{boot}"))
}

/// Returns the value in `member`. A missing one is generated from `bytes` random bytes; a file that is unsafe, or whose
/// value is not `valid`, is renamed first.
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
            Ok(value) if valid(value) => return Ok(value.to_owned()),
            // A crash of the system during the first start can leave an empty file.
            Ok("") => Some(("it is empty".into(), "corrupt")),
            Ok(_) | Err(_) => Some(("its content is not what servisor writes there".into(), "corrupt")),
        },
        Err(Rejected::Unfit(why)) => Some((why, "unsafe")),
        Err(Rejected::Failed(error)) if error.kind() == io::ErrorKind::NotFound => None,
        Err(Rejected::Failed(error)) => return Err(error),
    };
    if let Some((why, value)) = unfit {
        report(home.path(), &member, &why, set_aside(home.dir(), &member, value));
    }
    let value = random::hex(bytes)?;
    let mut unfinished = member.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = unfinished.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
    home.write(&member, &name(unfinished)?, format!("{value}\n").as_bytes(), durable)?;
    Ok(value)
}
