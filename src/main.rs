//! The program `servisor`.
//!
//! Owns: arguments in, exit code out. Never: anything that a test could want to call.

use std::env;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::process::ExitCode;

use servisor::cli;
use servisor::config::{self, Invocation};
use servisor::daemon::{self, Ended};

/// As shells have it: a mistake in how the program was called.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    match env::args_os().nth(1).as_deref().map(OsStr::as_encoded_bytes) {
        Some(b"serve" | b"version" | b"--version" | b"-V") => {}
        Some(_) | None => {
            let variable = |name: &str| env::var_os(name);
            return ExitCode::from(cli::run(env::args_os().skip(1).collect(), &variable));
        }
    }
    match config::parse(env::args_os().skip(1), env::vars_os()) {
        Ok(Invocation::Help(text)) => print(text),
        Ok(Invocation::Version) => print(&format!("servisor {}\n", env!("CARGO_PKG_VERSION"))),
        Ok(Invocation::Serve(config)) => match daemon::serve(&config) {
            Ok(Ended::Clean) => ExitCode::SUCCESS,
            Ok(Ended::LeftBehind) => ExitCode::FAILURE,
            Err(error) => complain(&error, ExitCode::FAILURE),
        },
        Err(error) => complain(&error, ExitCode::from(USAGE)),
    }
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn complain(error: &dyn std::fmt::Display, code: ExitCode) -> ExitCode {
    // If stderr is closed the exit code has to be enough.
    let _ = writeln!(io::stderr(), "servisor: {error}");
    code
}
