//! servisor keeps managed servers alive inside a sandbox and answers an HTTP API about them.
//!
//! # The map
//!
//! From the outside in, and in this order to be read; a module may use those below it and none above:
//!
//! - [`config`]: options and environment to a `Config`. [`daemon`]: builds everything, listens to signals, ends it.
//! - [`setup`] and [`boot`]: what it is told to have, and what it finds, when it begins.
//! - [`http`]: the public listener, the front. It reads and vets a head, has it decided about, reads the body, sends the answer.
//! - [`api`]: what a request means and how its answer looks, behind the front and a tiny_http that reads what was vetted.
//! - [`registry`]: which servers there are.
//! - [`supervisor`]: one thread a server: the loop that feeds the life-cycle, and the run of processes it owns.
//! - [`overlay`]: copies of templates, in place before a server needs them.
//! - [`logs`]: what servers have written. [`ports`]: which server holds which port. [`store`]: what outlives the daemon.
//!   [`prober`]: whether servers answer.
//! - [`process`]: which processes belong to a run. [`os`]: processes, signals, descriptors, memory. All `unsafe` is there.
//! - [`model`]: the life-cycle and the types of a spec, without I/O, clock or thread. Start with [`model::machine`].
//!
//! Used by all: [`error`], [`control`], [`handoff`], [`log`], [`sorted`].
//!
//! # What always holds
//!
//! - Only a server's supervisor thread decides about it, and it decides by [`model::machine`] alone.
//! - A process is signalled only by who can prove that its number is not another's by now ([`process::reaper`], [`os::pidfd`]).
//! - A stop is over when no process of the tree is left, and not before.
//! - No stranger's byte reaches tiny_http before the front has vetted the head, and no byte of a body is read before it is
//!   known who asks.
//! - A request is read, carried out and answered on its client's own thread: what takes time costs nobody else any.
//! - No lock is held across a send, a spawn, a join or another lock. A panic costs what it hit, never the daemon.

pub mod api;
pub mod boot;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod handoff;
pub mod http;
pub mod log;
pub mod logs;
pub mod model;
pub mod os;
pub mod overlay;
pub mod ports;
pub mod prober;
pub mod process;
pub mod registry;
pub mod runs;
pub mod setup;
pub mod sorted;
pub mod store;
pub mod supervisor;
