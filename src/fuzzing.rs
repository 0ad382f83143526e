//! What the fuzz targets in `tests/fuzz` reach into beyond the public modules. Built for them alone.
//!
//! Owns: names. Never: code.

pub use crate::api::events::number_of as event_number;
pub use crate::http::FrontLimits;
pub use crate::http::body::{BodyProgress, Chunked};
pub use crate::http::head::{BodyFraming, Expects, Head, Persistence, Version, end, vet};
pub use crate::http::response::Refusal;
pub use crate::logs::buffer::{Batch, Cursor, LogBuffer, Reading, Selection, StreamId};
pub use crate::logs::{Lines, Shown};
pub use crate::prober::head::AnswerHead as ProbeHead;
pub use crate::proxy::response::{AnswerFraming, Answered, BrokenAnswer, RequestContext, read as read_answer};
pub use crate::runs::ClosedBook;
pub use crate::supervisor::{ChangeCount, Changes, ChangesSince};
