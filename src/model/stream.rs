//! The two output streams of a process.
//!
//! Owns: their names. Never: a byte.

/// One of the two streams of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamId {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl StreamId {
    /// Both of them.
    pub const BOTH: [StreamId; 2] = [StreamId::Stdout, StreamId::Stderr];

    /// Its name in answers, records and names of files.
    pub fn as_str(self) -> &'static str {
        match self {
            StreamId::Stdout => "stdout",
            StreamId::Stderr => "stderr",
        }
    }
}
