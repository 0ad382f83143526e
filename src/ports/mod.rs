//! Ports: which one a server gets, and on which ones it really listens.
//!
//! Owns: the map. `reserve` gives ports out, and `holder` names who stands in the way; `watch` finds out what servers
//! listen on, and `choose` decides which of several is the one to show. Never: a server's life.

mod choose;
mod holder;
mod reserve;
mod watch;

pub use choose::{Chosen, Listening};
pub use holder::Holder;
pub use reserve::{Ports, Reservation, Strictness, Unavailable};
pub use watch::{Notify, Pace, Refreshed, Watch, Watcher};
