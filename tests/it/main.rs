//! The daemon as a black box: the real binary, real processes, real sockets.
//!
//! - `lifecycle` from start to stop, statuses and fields; `restart` policies; `stop` of whole trees
//! - `environment` what a server is given; `logs` what it writes
//! - `api` routes and access; `input` what can't be; `attacks` on the listener
//! - `matrix` ports and URLs of all sorts of servers; `ports` which one a server gets and has; `ready` when it is ready;
//!   `health` what checks find; `waiting` for it; `latency` how soon it is known; `idle` that nothing is done for it
//! - `shutdown` signals and start-up; `scale` many servers, idleness, figures
//! - `tidy` the rules of the house
//!
//! Every test has a daemon of its own. No sleep decides: facts are waited for, with a limit that only a failing test
//! reaches. A failing test prints what its daemon logged.

#![allow(clippy::unwrap_used)]

mod api;
mod attacks;
mod environment;

mod health;
mod idle;
mod input;
mod latency;
mod lifecycle;
mod logs;
mod matrix;
mod ports;
mod ready;
mod restart;
mod scale;
mod shutdown;
mod stop;
mod support;
mod tidy;
mod waiting;
