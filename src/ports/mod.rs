//! Ports: which one a server gets, and on which ones it really listens.
//!
//! Owns: the map. `reserve` gives ports out, and `holder` names who has a port; `watch` finds out what servers
//! listen on, `listening` says where each port is reached, and `choose` decides which of several is the server's.
//! Never: a server's life.

mod choose;
mod holder;
mod listening;
mod reserve;
mod watch;

pub use choose::{CheckTarget, Choice, Rules};
pub use holder::Holder;
pub use listening::{Listening, Localhost, OpenPort, RequestedPort};
pub use reserve::{Ports, Reservation, Strictness, Unavailable};
pub use watch::{ListeningFn, Pace, Refreshed, Watch, Watcher};
