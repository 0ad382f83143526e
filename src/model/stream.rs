//! The two output streams of a process, and selections of them.
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

/// The streams that a reader requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Selection {
    Stdout,
    Stderr,
    /// Both, by lines, in the order in which the lines ended.
    #[default]
    Combined,
}

impl Selection {
    /// All of them, by their names in the API.
    pub const ALL: [(&'static str, Selection); 3] =
        [("stdout", Self::Stdout), ("stderr", Self::Stderr), ("combined", Self::Combined)];

    /// Its name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => StreamId::Stdout.as_str(),
            Self::Stderr => StreamId::Stderr.as_str(),
            Self::Combined => "combined",
        }
    }

    pub fn has(self, stream: StreamId) -> bool {
        match (self, stream) {
            (Self::Combined, _) | (Self::Stdout, StreamId::Stdout) | (Self::Stderr, StreamId::Stderr) => true,
            (Self::Stdout, StreamId::Stderr) | (Self::Stderr, StreamId::Stdout) => false,
        }
    }
}
