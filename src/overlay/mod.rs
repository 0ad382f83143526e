//! x
pub mod glob;
