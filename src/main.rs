//! The program `servisor`.
//!
//! Owns: arguments in, exit code out. Never: anything that a test could want to call.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use servisor::cli::{self, CliExit};
use servisor::config::{self, Invocation};
use servisor::daemon::{self, ShutdownResult};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    match arguments.first() {
        Some(first) if first == "serve" => serve(arguments),
        Some(_) | None => ExitCode::from(cli::run(arguments, &|name| env::var_os(name))),
    }
}

fn serve(arguments: Vec<OsString>) -> ExitCode {
    match config::parse(arguments.into_iter().skip(1), env::vars_os()) {
        Ok(Invocation::Help(text)) => print(text),
        Ok(Invocation::Serve(config)) => match daemon::serve(&config) {
            Ok(ShutdownResult::Clean) => ExitCode::SUCCESS,
            Ok(ShutdownResult::LeftBehind) => ExitCode::FAILURE,
            Err(error) => complain(&error, CliExit::Failed),
        },
        Err(error) => complain(&error, CliExit::Usage),
    }
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn complain(error: &dyn std::fmt::Display, exit: CliExit) -> ExitCode {
    // If stderr is closed the exit code has to be enough.
    let _ = writeln!(io::stderr(), "servisor: {error}");
    ExitCode::from(exit.code())
}
