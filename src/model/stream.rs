//! The two output streams of a process, and selections of them.
//!
//! Owns: their names. Never: a byte.

/// One of the two streams of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamId {
    Stdout,
    Stderr,
}

impl StreamId {
    pub const BOTH: [StreamId; 2] = [StreamId::Stdout, StreamId::Stderr];

    /// The name in answers, records and names of files.
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
    /// All variants with their API names.
    pub const ALL: [(&'static str, Selection); 3] =
        [("stdout", Self::Stdout), ("stderr", Self::Stderr), ("combined", Self::Combined)];

    /// The API name.
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
