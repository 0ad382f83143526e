//! Which daemon is meant, and with which token it is asked.
//!
//! Owns: the order of the places where both are looked up. Never: a request.
//!
//! Address: `--address`, `SERVISOR_ADDRESS`, `STATE_DIR/address` (written by the daemon), 127.0.0.1:18080. Token:
//! `--token-file`, `SERVISOR_ACCESS_TOKEN`, `SERVISOR_ACCESS_TOKEN_FILE`, `STATE_DIR/access-token`. The kept token is sent to
//! this machine only: an address in a variable must not be enough to have it sent elsewhere.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::http::Address;
use super::{Exit, Failure};
use crate::config;
use crate::error::quoted;

/// Both files have one short line.
const FILE_MAX: u64 = 4 * 1024;

/// What the command line says about it.
#[derive(Debug, Default, Clone)]
pub struct Given {
    /// `--address`.
    pub address: Option<String>,
    /// `--state-dir`.
    pub state_dir: Option<String>,
    /// `--token-file`.
    pub token_file: Option<String>,
}

/// A daemon and the way to ask it.
#[derive(Debug, Clone)]
pub struct Daemon {
    /// Where it is.
    pub address: Address,
    /// The token, if there is one to send.
    pub token: Option<String>,
    /// Why there is no token, for the sentence after a 401.
    pub without_token: &'static str,
}

/// Finds the daemon.
///
/// # Errors
/// An address or a file that was named can't be used.
pub fn daemon(given: &Given, variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Daemon, Failure> {
    let text = |name: &str| variable(name).and_then(|value| value.into_string().ok()).filter(|value| !value.is_empty());
    let state_dir = match (&given.state_dir, text("SERVISOR_STATE_DIR")) {
        (Some(directory), _) => PathBuf::from(directory),
        (None, Some(directory)) => PathBuf::from(directory),
        (None, None) => config::default_state_dir(&|name| variable(name).filter(|value| !value.is_empty())),
    };
    let address = match (&given.address, text("SERVISOR_ADDRESS")) {
        (Some(address), _) => parse_address(address).map_err(|why| wrong("--address", address, why))?,
        (None, Some(address)) => parse_address(&address).map_err(|why| wrong("SERVISOR_ADDRESS", &address, why))?,
        (None, None) => {
            let kept = read_line(&state_dir.join("address")).ok();
            kept.and_then(|line| parse_address(&line).ok()).unwrap_or(DEFAULT)
        }
    };
    let from_file = |path: &str| match read_line(Path::new(path)) {
        Ok(token) => Ok(Some(token)),
        Err(error) => Err(Failure::new(Exit::NoDaemon, format!("token file {path} can't be read: {error}"))),
    };
    let (token, without_token) = match (&given.token_file, text("SERVISOR_ACCESS_TOKEN")) {
        (Some(path), _) => (from_file(path)?, ""),
        (None, Some(token)) => (Some(token), ""),
        (None, None) => match text("SERVISOR_ACCESS_TOKEN_FILE") {
            Some(path) => (from_file(&path)?, ""),
            None if !address.is_local() => (None, "the kept token is sent to this machine only"),
            None => match read_line(&state_dir.join("access-token")) {
                Ok(token) => (Some(token), ""),
                Err(_) => (None, "no token was found"),
            },
        },
    };
    Ok(Daemon { address, token, without_token })
}

const DEFAULT: Address = Address::Tcp(std::net::SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 18080));

fn wrong(name: &str, text: &str, why: &str) -> Failure {
    Failure::new(Exit::Usage, format!("{name} {} {why}", quoted(text)))
}

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
    let spelled = match plain.strip_prefix("localhost") {
        Some("") => Some("127.0.0.1:80".to_owned()),
        Some(rest) if rest.starts_with(':') => Some(format!("127.0.0.1{rest}")),
        Some(_) | None => None,
    };
    let plain = spelled.as_deref().unwrap_or(plain);
    let with_port = plain.parse().or_else(|_| format!("{plain}:80").parse());
    with_port.map(Address::Tcp).map_err(|_| {
        "must be http://IP:PORT or unix:PATH, as in \"http://127.0.0.1:18080\" (names other than localhost are not looked up)"
    })
}

/// The first line of a small file. A pipe or a device in its place is refused instead of waited for.
fn read_line(path: &Path) -> io::Result<String> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    file.take(FILE_MAX).read_to_string(&mut text)?;
    match text.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(line.to_owned()),
        Some(_) | None => Err(io::Error::other("its first line is not one word")),
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
        let directory = std::env::temp_dir().join(format!("servisor-find-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("access-token"), "secret\n").unwrap();
        std::fs::write(directory.join("address"), "http://127.0.0.1:7\n").unwrap();
        let found = |address: Option<&str>, variables: &[(&str, &str)]| {
            let given = Given {
                address: address.map(Into::into),
                state_dir: Some(directory.display().to_string()),
                token_file: None,
            };
            let variable = |name: &str| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(*value))
            };
            daemon(&given, &variable).unwrap()
        };
        let kept = found(None, &[]);
        assert_eq!((kept.address.to_string(), kept.token.as_deref()), ("127.0.0.1:7".to_owned(), Some("secret")));
        assert_eq!(found(Some("127.0.0.9:1"), &[]).token.as_deref(), Some("secret"));
        assert_eq!(found(Some("unix:/x"), &[]).token.as_deref(), Some("secret"));
        assert_eq!(found(Some("10.0.0.1:1"), &[]).token, None);
        assert_eq!(found(None, &[("SERVISOR_ADDRESS", "http://192.168.0.1:1")]).token, None);
        let given = [("SERVISOR_ACCESS_TOKEN", "mine")];
        assert_eq!(found(Some("10.0.0.1:1"), &given).token.as_deref(), Some("mine"));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
