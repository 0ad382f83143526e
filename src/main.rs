//! The program `servisor`.
//!
//! Owns: arguments in, exit code out. Never: anything that a test could want to call.

#![no_main]

use std::env;
use std::ffi::OsString;
use std::fmt::Display;

use servisor::cli::{self, CliExit};
use servisor::config::{self, Invocation};
use servisor::daemon::{self, ShutdownResult};
use servisor::os::terminal::{write_stderr, write_stdout};

servisor::program!(run);

fn run(arguments: Vec<OsString>) -> u8 {
    match arguments.first() {
        Some(first) if first == "serve" => serve(arguments).code(),
        Some(_) | None => cli::run(arguments, &|name| env::var_os(name)),
    }
}

fn serve(arguments: Vec<OsString>) -> CliExit {
    match config::parse(arguments.into_iter().skip(1), env::vars_os()) {
        Ok(Invocation::Help(text)) => match write_stdout(text.as_bytes()) {
            Ok(()) => CliExit::Done,
            Err(_) => CliExit::Failed,
        },
        Ok(Invocation::Serve(config)) => match daemon::serve(&config) {
            Ok(ShutdownResult::Clean) => CliExit::Done,
            Ok(ShutdownResult::LeftBehind) => CliExit::Failed,
            Err(error) => complain(&error, CliExit::Failed),
        },
        Err(error) => complain(&error, CliExit::Usage),
    }
}

fn complain(error: &dyn Display, exit: CliExit) -> CliExit {
    write_stderr(format!("servisor: {error}\n").as_bytes());
    exit
}
