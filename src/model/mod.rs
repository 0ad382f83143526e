//! What servisor means by its words: specs, statuses and the life-cycle.
//!
//! Owns: the types that can't be wrong and the decisions. Never: I/O, a clock, a thread, JSON. Time comes in as
//! an argument, so that every decision can be tested without waiting for it.

pub mod dotenv;
pub mod ending;
pub mod health;
pub mod machine;
pub mod marker;
pub mod nearest;
pub mod overlay;
pub mod public_url;
pub mod shell;
pub mod spec;
pub mod status;
pub mod time;
pub mod view;
