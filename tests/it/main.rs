//! The daemon as a black box: the real binary, real processes, real sockets.
//!
//! - `lifecycle` from start to stop, statuses and fields; `restart` policies; `stop` of whole trees;
//!   `membership` of processes; what is `left` is said
//! - `environment` what a server is given; `logs` what it writes; `follow` how that is read as it is
//!   written; `files` where else it goes
//! - `gateway` the SDK's sandboxes
//! - `api` routes; `access` who gets in and what is kept secret; `input` what can't be; `attacks` on the listener
//! - `matrix` ports and URLs of all sorts of servers; `ports` which one a server gets and has; `choice` which one is
//!   its own; `places` where a listener is found and what its URL names; `ready` when it is ready; `health` what checks
//!   find; `waiting` for it; `latency` how soon it is known; `idle` that nothing is done for it
//! - `state` what outlives the daemon; `crash` its death at any moment; `boot` payload and start
//! - `cli` the command line
//! - `overlays` copies of templates; `prepare` servers that wait for them
//! - `starve` what it does without descriptors, threads, disk, time or a reader of its log
//! - `pid1` the first process of a container
//! - `shutdown` signals and start-up; `scale` many servers, idleness, figures
//! - `soak` all at once and at random, against a model
//! - `tidy` the rules that hold for all files
//!
//! Every test has a daemon of its own. No sleep decides: facts are waited for, with a limit that only a failing test
//! reaches. A failing test prints what its daemon logged.

#![allow(clippy::unwrap_used)]

mod access;
mod api;
mod attacks;
mod boot;
mod choice;
mod circles;
mod cli;
mod crash;
mod environment;
mod events;
mod files;
mod follow;
mod gateway;
mod health;
mod idle;
mod input;
mod large;
mod latency;
mod left;
mod lifecycle;
mod listen;
mod logs;
mod lost;
mod map;
mod matrix;
mod membership;
mod mixed;
mod openapi;
mod overlays;
mod pid1;
mod places;
mod planted;
mod ports;
mod prepare;
mod proxy;
mod ready;
mod restart;
mod runs;
mod scale;
mod shutdown;
mod silent;
mod soak;
mod starve;
mod state;
mod stats;
mod stop;
mod support;
mod tidy;
mod visits;
mod waiting;
