//! How a server is asked to end.
//!
//! Owns: the stop signal, its names, the stop mode. Never: a process, a deadline.

use std::fmt;

use super::signal::{RTMIN, SIGNAL_MAX, signal_name};

/// CHLD, CONT, STOP, TSTP, TTIN, TTOU, URG, and those of the C library: none of these asks a process to end.
const UNFIT: [i32; 9] = [17, 18, 19, 20, 21, 22, 23, 32, 33];

/// The signal that asks a server to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopSignal(i32);

impl StopSignal {
    pub const TERM: StopSignal = StopSignal(15);

    /// Parses a number, or a name with or without `SIG`, in any case; `RTMIN+n` and `RTMAX-n` too.
    ///
    /// # Errors
    /// The broken rule, as a phrase that follows the name of the field.
    pub fn parse(text: &str) -> Result<StopSignal, &'static str> {
        let name = text.to_ascii_uppercase();
        let name = name.strip_prefix("SIG").unwrap_or(&name);
        let offset = |rest: &str, sign: char| match rest.strip_prefix(sign) {
            Some(digits) if digits.len() <= 2 && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok()
            }
            Some(_) => None,
            None => rest.is_empty().then_some(0),
        };
        let number: Option<i32> = if let Some(rest) = name.strip_prefix("RTMIN") {
            offset(rest, '+').map(|more: i32| RTMIN + more)
        } else if let Some(rest) = name.strip_prefix("RTMAX") {
            offset(rest, '-').map(|less: i32| SIGNAL_MAX - less).filter(|number| *number >= RTMIN)
        } else if text.bytes().all(|byte| byte.is_ascii_digit()) {
            text.parse().ok()
        } else {
            (1..RTMIN).find(|number| signal_name(*number).strip_prefix("SIG") == Some(name))
        };
        match number.filter(|number| (1..=SIGNAL_MAX).contains(number)) {
            Some(number) if UNFIT.contains(&number) => Err("must be a signal that can end a process"),
            Some(number) => Ok(StopSignal(number)),
            None => Err("must be the name of a signal or a number from 1 to 64, as in \"SIGQUIT\" or \"RTMIN+3\""),
        }
    }

    /// The kernel's number for it.
    pub fn number(self) -> i32 {
        self.0
    }
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&signal_name(self.0))
    }
}

/// Which processes get the stop signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// The whole process tree.
    Tree,
    /// The first process alone; SIGKILL at the deadline is for the whole tree. A master then drains its workers.
    Mixed,
}

impl StopMode {
    /// All variants with their API names.
    pub const ALL: [(&'static str, StopMode); 2] = [("tree", Self::Tree), ("mixed", Self::Mixed)];

    /// The API name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tree => "tree",
            Self::Mixed => "mixed",
        }
    }
}

/// How a run is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopRules {
    pub signal: StopSignal,
    pub mode: StopMode,
}

impl Default for StopRules {
    fn default() -> StopRules {
        StopRules { signal: StopSignal::TERM, mode: StopMode::Tree }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_has_one_name_and_is_found_by_many() {
        for (text, number, name) in [
            ("SIGQUIT", 3, "SIGQUIT"),
            ("quit", 3, "SIGQUIT"),
            ("sigUsr1", 10, "SIGUSR1"),
            ("3", 3, "SIGQUIT"),
            ("WINCH", 28, "SIGWINCH"),
            ("KILL", 9, "SIGKILL"),
            ("RTMIN", 34, "SIGRTMIN"),
            ("rtmin+3", 37, "SIGRTMIN+3"),
            ("SIGRTMAX", 64, "SIGRTMIN+30"),
            ("SIGRTMAX-1", 63, "SIGRTMIN+29"),
            ("37", 37, "SIGRTMIN+3"),
        ] {
            let signal = StopSignal::parse(text).unwrap();
            assert_eq!((signal.number(), &*signal.to_string()), (number, name), "{text}");
        }
        for number in 1..=SIGNAL_MAX {
            match StopSignal::parse(&number.to_string()) {
                Ok(signal) => assert_eq!(StopSignal::parse(&signal.to_string()), Ok(signal)),
                Err(_) => assert!(UNFIT.contains(&number)),
            }
        }
        let wrong =
            ["", "SIG", "0", "65", "-3", "+3", " 3", "3 ", "SIGNAL", "RTMIN+31", "RTMIN+", "RTMIN-1", "RTMAX-31"];
        for bad in wrong.into_iter().chain(["STOP", "cont", "SIGCHLD", "32", "99999999999", "RTMIN++1", "signal 32"]) {
            assert!(StopSignal::parse(bad).is_err(), "{bad:?}");
        }
    }
}
