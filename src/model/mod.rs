//! The domain types and decisions: specs, statuses, the life-cycle.
//!
//! Owns: types that are valid by construction, and the decisions. Never: I/O, a clock, a thread, JSON. Time is an
//! argument, so every decision can be tested without waiting for it.

pub mod dotenv;
pub mod ending;
pub mod health;
pub mod machine;
pub mod marker;
pub mod names;
pub mod nearest;
pub mod overlay;
pub mod proxy;
pub mod public_url;
pub mod run;
pub mod shell;
pub mod signal;
pub mod spec;
pub mod status;
pub mod stop;
pub mod stream;
pub mod time;
pub mod view;
