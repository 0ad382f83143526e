//! The daemon as a black box: the real binary, real processes, real sockets.
//!
//! - `lifecycle` from start to stop, statuses and fields; `restart` policies; `stop` of whole trees; `membership`
//!   of processes; what is `left` is said; `runs` how they ended
//! - `environment` what a server is given; `logs` what it writes; `follow` how that is read as it is written;
//!   `files` where else it goes; `stats` what it uses
//! - `gateway` the SDK's sandboxes
//! - `api` routes; `openapi` that the document of the API is true; `events` what a reader of them sees; `large`
//!   requests and answers; `access` who gets in and what is kept secret; `input` what can't be
//! - `listen` the sockets and the token; `attacks` on the listener; `mixed` good clients beside bad ones;
//!   `planted` files of another user
//! - `proxy` public URLs; `visits` what servers, clients and the disk see of it
//! - `matrix` ports and URLs of all sorts of servers; `ports` which one a server gets and has; `choice` which one
//!   is its own; `places` where a listener is found and what its URL names; `ready` when it is ready; `health`
//!   what checks find; `waiting` for it; `latency` how soon it is known; `idle` that nothing is done for it
//! - `state` what outlives the daemon; `lost` a state directory that is removed, replaced or copied; `crash` the
//!   daemon's death at any moment; `boot` payload and start
//! - `cli` the command line
//! - `overlays` copies of templates; `prepare` servers that wait for them
//! - `starve` what it does without descriptors, threads, disk, time or a reader of its log; `silent` file systems
//!   that never answer
//! - `pid1` the first process of a container
//! - `shutdown` signals and start-up; `scale` many servers, idleness, figures
//! - `soak` all at once and at random, against a model
//! - `tidy` the rules that hold for all files; `map` the tables of threads and locks; `circles` files that use
//!   each other
//! - `support` what the tests have in common
//!
//! Every test has a daemon of its own. No sleep decides, except where nothing must happen meanwhile, or a time that
//! is promised has to pass: facts are waited for, with a limit that only a failing test reaches. A failing test
//! prints what its daemon logged. A test that asserts a short time is in a module `timed`: these run alone (see
//! `TIMED` in the Makefile).

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
