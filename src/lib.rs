//! temp
#![allow(missing_docs)]
pub mod handoff;
pub mod log;
pub mod model;
pub mod os;
