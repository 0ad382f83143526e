//! Which daemon is meant, and with which token it is asked.
//!
//! Owns: the order of the places where both are looked up. Never: a request.
//!
//! Address: `--address`, `SERVISOR_ADDRESS`, `STATE_DIR/address` (written by the daemon), 127.0.0.1:18080. Token:
//! `--token-file`, `SERVISOR_ACCESS_TOKEN`, `SERVISOR_ACCESS_TOKEN_FILE`, `STATE_DIR/access-token`. The kept token is
//! sent to this machine only: an address in a variable must not be enough to have it sent elsewhere.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::arguments::{Parsed, shown};
use super::http::Address;
use super::{CliExit, Failure, joined, keep};
use crate::config;
use crate::os::fs::read_bounded;

/// Both files have one short line.
const FILE_MAX: u64 = 4 * 1024;

pub type Variable<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// A daemon and the way to ask it.
#[derive(Debug)]
pub struct Daemon {
    pub address: Address,
    pub token: Option<&'static str>,
    /// Why there is no token, for the sentence after a 401.
    pub without_token: &'static str,
}

/// Finds the daemon that the options, the environment or the state directory name.
///
/// # Errors
/// An address or a file that was named can't be used.
pub fn daemon(given: &Parsed, variable: Variable<'_>) -> Result<Daemon, Failure> {
    let text = |option: &str, name: &str| {
        given.value(option).or_else(|| {
            let value = variable(name)?.into_string().ok().filter(|value| !value.is_empty())?;
            Some(keep(value))
        })
    };
    let state_dir = match text("--state-dir", "SERVISOR_STATE_DIR") {
        Some(directory) => PathBuf::from(directory),
        None => config::default_state_dir(&|name| variable(name).filter(|value| !value.is_empty())),
    };
    let address = match text("--address", "SERVISOR_ADDRESS") {
        Some(address) => parse_address(address).map_err(|why| {
            let name = if given.has("--address") { "--address " } else { "SERVISOR_ADDRESS " };
            Failure::usage(&[name, shown(address), " ", why])
        })?,
        None => read_line(&state_dir.join("address")).ok().and_then(|line| parse_address(line).ok()).unwrap_or(DEFAULT),
    };
    let token = match given.value("--token-file") {
        Some(file) => Some(named_token(file)?),
        None => match (text("", "SERVISOR_ACCESS_TOKEN"), text("", "SERVISOR_ACCESS_TOKEN_FILE")) {
            (Some(token), _) => Some(token),
            (None, Some(file)) => Some(named_token(file)?),
            (None, None) if !address.is_local() => {
                let without_token = "the kept token is sent to this machine only";
                return Ok(Daemon { address, token: None, without_token });
            }
            (None, None) => read_line(&state_dir.join("access-token")).and_then(one_word).ok(),
        },
    };
    Ok(Daemon { address, token, without_token: "no token was found" })
}

fn named_token(file: &str) -> Result<&'static str, Failure> {
    read_line(Path::new(file)).and_then(one_word).map_err(|error| {
        Failure::new(CliExit::NoDaemon, &["token file ", file, " can't be read: ", &error.to_string()])
    })
}

const DEFAULT: Address = Address::Tcp(std::net::SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 18080));

/// Reads `http://127.0.0.1:18080`, `127.0.0.1:18080`, `localhost:18080`, `unix:PATH`.
pub fn parse_address(text: &str) -> Result<Address, &'static str> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return if path.is_empty() { Err("has no path after \"unix:\"") } else { Ok(Address::Unix(path.into())) };
    }
    if text.starts_with("https://") {
        return Err("is an https address; servisor speaks plain HTTP: use the daemon's own address, or a tunnel to it");
    }
    let plain = text.strip_prefix("http://").unwrap_or(text);
    let plain = plain.strip_suffix('/').unwrap_or(plain);
    let (host, rest) = match plain.strip_prefix("localhost") {
        Some(rest) if rest.is_empty() || rest.starts_with(':') => ("127.0.0.1", rest),
        Some(_) | None => (plain, ""),
    };
    let parsed = [":80", ""].into_iter().find_map(|port| joined(&[host, rest, port]).parse().ok());
    parsed.map(Address::Tcp).ok_or(
        "must be http://IP:PORT or unix:PATH, as in \"http://127.0.0.1:18080\" (names other than localhost are not looked up)",
    )
}

/// The first line of a small file. A pipe or a device in its place is refused instead of waited for.
fn read_line(path: &Path) -> io::Result<&'static str> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let text = String::from_utf8(read_bounded(&file, FILE_MAX)?).unwrap_or_default();
    let line = keep(text).split('\n').next().unwrap_or_default().trim_ascii();
    match line.is_empty() || line.bytes().any(|byte| byte.is_ascii_control()) {
        false => Ok(line),
        true => Err(io::Error::other("its first line is no text")),
    }
}

fn one_word(line: &'static str) -> io::Result<&'static str> {
    match line.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(line),
        false => Err(io::Error::other("its first line is not one word")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let tcp = |text: &str| Ok(Address::Tcp(text.parse().unwrap()));
        for (text, expected) in [
            ("http://127.0.0.1:18080", tcp("127.0.0.1:18080")),
            ("http://127.0.0.1:18080/", tcp("127.0.0.1:18080")),
            ("127.0.0.1:1", tcp("127.0.0.1:1")),
            ("localhost:18080", tcp("127.0.0.1:18080")),
            ("http://localhost", tcp("127.0.0.1:80")),
            ("[::1]:18080", tcp("[::1]:18080")),
            ("http://10.0.0.1", tcp("10.0.0.1:80")),
            ("unix:/run/x", Ok(Address::Unix("/run/x".into()))),
            ("unix:///run/x", Ok(Address::Unix("/run/x".into()))),
        ] {
            assert_eq!(parse_address(text), expected, "{text}");
        }
        for text in ["", "example.com:80", "https://127.0.0.1:1", "unix:", "127.0.0.1:99999", "localhostx:1"] {
            assert!(parse_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_kept_token_goes_to_this_machine_only() {
        let scratch = crate::testing::Scratch::new();
        let directory = &scratch.0;
        std::fs::write(directory.join("access-token"), "secret\n").unwrap();
        std::fs::write(directory.join("address"), "http://127.0.0.1:7\n").unwrap();
        let found = |address: Option<&str>, variables: &[(&str, &str)]| {
            let mut given = Parsed::default();
            let directory = keep(directory.display().to_string());
            let mut arguments = vec!["--state-dir", directory];
            arguments.extend(address.map(|address| joined(&["--address=", address])));
            given.read(&arguments, "", false, "").unwrap();
            let variable = |name: &str| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(*value))
            };
            daemon(&given, &variable).unwrap()
        };
        let kept = found(None, &[]);
        assert_eq!((kept.address.shown(), kept.token), ("127.0.0.1:7", Some("secret")));
        assert_eq!(found(Some("127.0.0.9:1"), &[]).token, Some("secret"));
        assert_eq!(found(Some("unix:/x"), &[]).token, Some("secret"));
        assert_eq!(found(Some("10.0.0.1:1"), &[]).token, None);
        assert_eq!(found(None, &[("SERVISOR_ADDRESS", "http://192.168.0.1:1")]).token, None);
        let given = [("SERVISOR_ACCESS_TOKEN", "mine")];
        assert_eq!(found(Some("10.0.0.1:1"), &given).token, Some("mine"));
    }
}
