//! The names of signals.
//!
//! Owns: the one form in which they are shown. Never: which of them does what.

/// The first real-time signal as systemd, Docker and glibc count; the C library keeps 32 and 33 for itself.
pub const RTMIN: i32 = 34;
/// The last one.
pub const SIGNAL_MAX: i32 = 64;

/// The name of a Linux signal (x86 and ARM, which have the same numbers), in the one form that is shown everywhere.
pub fn signal_name(number: i32) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
        "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
        "WINCH", "IO", "PWR", "SYS",
    ];
    let name = usize::try_from(number).ok().and_then(|number| NAMES.get(number.checked_sub(1)?));
    match (name, number) {
        (Some(name), _) => format!("SIG{name}"),
        (None, RTMIN) => "SIGRTMIN".into(),
        (None, RTMIN..=SIGNAL_MAX) => format!("SIGRTMIN+{}", number - RTMIN),
        (None, _) => format!("signal {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_their_names() {
        for (number, name) in [(1, "SIGHUP"), (9, "SIGKILL"), (15, "SIGTERM"), (11, "SIGSEGV"), (31, "SIGSYS")] {
            assert_eq!(signal_name(number), name);
        }
        for (number, name) in
            [(33, "signal 33"), (34, "SIGRTMIN"), (37, "SIGRTMIN+3"), (64, "SIGRTMIN+30"), (65, "signal 65")]
        {
            assert_eq!(signal_name(number), name);
        }
        assert_eq!(signal_name(0), "signal 0");
    }
}
