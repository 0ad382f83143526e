//! What the fuzz targets in `tests/fuzz` reach into beyond the public modules. Built for them alone.
//!
//! Owns: names. Never: code.

pub use crate::door::Limits;
pub use crate::door::answer::Refusal;
pub use crate::door::body::{Chunked, Progress};
pub use crate::door::head::{Expects, Framing, Head, end, vet};
pub use crate::logs::buffer::{Batch, Cursor, LogBuffer, Reading, Selection, StreamId};
pub use crate::logs::{Lines, Shown};
pub use crate::prober::head::Head as ProbeHead;
