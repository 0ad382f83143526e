//! servisor keeps managed servers alive inside a sandbox and answers an HTTP API about them.
//!
//! # Reading order
//!
//! [`model::machine`] decides about the life of a server; everything else observes, carries out or reports. From the
//! outside in; a module uses its own layer and those below, and `http` never uses `api`; a test (`tidy`) checks that:
//!
//! - [`cli`]: the command line, a client of the API.
//! - [`config`]: options and environment to a `Config`. [`daemon`]: start, signals, shutdown. [`setup`]: the setup
//!   payload. [`boot`]: stored servers, and the processes that an earlier daemon has left.
//! - [`http`]: the public listener (the front): accept, slots, deadlines, vetting of heads, bodies, responses.
//! - [`api`]: the meaning of requests. `api::route` parses a target, `api::handlers` executes it, `api::wire` writes
//!   JSON.
//! - [`proxy`]: requests to managed servers by host name: what passes, held requests, the relay.
//! - [`registry`]: the table of servers.
//! - [`supervisor`]: one actor for each server; it drives the machine and owns the processes of the run. It sees the
//!   kernel through `supervisor::system`; its tests replace that.
//! - [`runs`]: the history of ended runs.
//! - [`overlay`]: copies of templates. [`logs`]: output of servers. [`ports`]: allocation and detection of ports.
//!   [`prober`]: health checks. [`store`]: the state directory.
//!   [`error`]: error codes and sentences of the API. [`access`]: the token, and which web pages may read answers.
//! - [`process`]: which processes belong to a run; reaping. Policy, no `unsafe`. [`handoff`]: what [`http`] and [`api`]
//!   hand each other.
//! - [`os`]: system calls made safe. All `unsafe` is there.
//! - [`model`]: types and decisions, without I/O, clock or thread.
//!
//! Used by all, also by [`os`]: [`control`], [`json`], [`log`], [`packed`], [`sorted`], [`sync`], the types of
//! [`model`].
//!
//! # Language
//!
//! Names and comments use the words of the kernel's manual, the RFCs and the field. A doc comment begins with an
//! imperative or a noun phrase that says what the item is, then come units, errors and reasons. Sentences are short and
//! active. A comment that only repeats the name is left out. One type name means one thing.
//!
//! # Invariants
//!
//! - Only a server's supervisor decides about it, and only by [`model::machine`].
//! - A leader and its group are signalled by number, which is in use until the leader is reaped ([`process::reaper`]);
//!   every other process through a pidfd that was verified after it was opened ([`os::pidfd`]). Without a pidfd (before
//!   Linux 5.3, at the limit on open files, or behind a filter of system calls) that has a small race. SIGKILL is sent
//!   by `supervisor::run` (a stop, and what a run leaves), [`process::reaper`] (a leader that is dropped alive),
//!   `supervisor::launches` (a spawn that hangs), `process::orphans` (at the end of every shutdown) and `boot::sweep`
//!   (what an earlier daemon has left).
//! - A stop ends when no process of the run is left, not before.
//! - No byte of a client reaches tiny_http before the front has vetted the head. No body is read before the access
//!   check.
//! - A host name of a server never gets the API. A byte of a visitor is sent to a server only after the kernel has
//!   confirmed that the listener is its run's; where it can't, the last look at the ports counts (`proxy::proofs`).
//! - A request is executed on the thread of its connection, so a slow one delays no other. Only the parse of its head
//!   takes place on a thread of tiny_http.
//! - A configuration is stored, and synced, before its change is answered; so are deletions and overlays. Runs and the
//!   states of servers are not, and a payload's servers are stored after their start: why is said where it happens.
//!   That a server was stopped by a command is stored before the answer if it starts on visits, but an error there is
//!   only a warning.
//! - No lock is held during a send, a spawn, a join, input or output, or another lock, except as the table of locks
//!   says. What is held over input or output waits for the kernel or a disk, not for a client.
//! - A panic ends the work that it hit, never the daemon. A destructor must not panic: in the release that aborts, as a
//!   second panic does everywhere.
//!
//! # Threads
//!
//! | name | created by | ends |
//! |---|---|---|
//! | main: reads signals, reaps | the kernel | when `control` closes the signal inbox; last of all |
//! | `control`: carries out the shutdown | [`daemon`] | at the end of the shutdown |
//! | `accept`, one for each front (two with `--proxy-listen`) | [`http`] | when the front is closed |
//! | `conn-N` for each connection | [`http`] | with its connection |
//! | `reserve`, one for each front | [`http`] (`os::reserve_thread`) | with the front |
//! | `http`: of tiny_http, one accepts and four are its pool | `api::http`, for each parser | within 5 s of its drop |
//! | `sup:SLUG` | [`supervisor`] | when the server is deleted or the daemon ends |
//! | `log:SLUG`: reads stdout and stderr of a run | `supervisor::kernel` | at the end of both pipes, or soon after its run |
//! | `files`: writes log files | [`logs`], with `--log-dir` | at the end of the shutdown |
//! | `books`: writes how runs ended | [`runs`], for the first run | at the end of the shutdown |
//! | `prober`: all health checks | [`prober`] | at the end of the shutdown |
//! | `ports`: finds listening sockets | [`ports`] | at the end of the shutdown |
//! | `ovl:ID`, helpers `ovl:ID.N` | [`overlay`] | at the end of the copy, or on stop |
//! | `look`: a call that may hang in a file system | `os::deadline` | when the call returns |
//! | `environ`: reads `/proc/PID/environ` | `os::proc` | when the read returns |
//!
//! # Locks
//!
//! Each protects one structure, and most are held for a look-up or a change in memory. The third column has what else
//! happens under a lock, the last one what is locked inside. `log::LINE` is left out there: it is the innermost of all,
//! since a line may be logged under another lock. Poisoned locks are used on: their data is valid at every point where
//! a panic is possible. A test (`tests/it/map.rs`) checks that every lock is here; none proves that no others nest.
//!
//! | lock | file | held over | locks taken inside |
//! |---|---|---|---|
//! | `Registry.table` | registry.rs | the count of a deletion | `Changes.state` |
//! | `Shared.view` | supervisor/mod.rs | | |
//! | `Changes.state` | supervisor/changes.rs | writes to the eventfds of readers | |
//! | `Launches` | supervisor/launches.rs | | |
//! | `Traffic` | supervisor/traffic.rs | the making of an eventfd | |
//! | `Book.state` | runs/mod.rs | the number of the change that shows a run (`Book::end`) | `Changes.state` |
//! | `Books.restored` | runs/books.rs | | |
//! | `BookWriter.state` | runs/writer.rs | the start of its thread; a join without a wait | `Channel.state` |
//! | `SharedLog.state` | logs/mod.rs | a copy in or out; writes to the eventfds of followers | |
//! | `FilesNotifier.position` | logs/files.rs | | |
//! | `Ports.held` | ports/reserve.rs | | |
//! | `WatchState.looked` | ports/watch.rs | | |
//! | `Reaper.watches` | process/reaper.rs | `waitid` and `kill(2)` with signal 0, which do not block | |
//! | `ProcessTracker.last` | process/tracker.rs | a walk of `/proc`, for all who ask meanwhile | the two below |
//! | `ProcessTracker.trees` | process/tracker.rs | | |
//! | `proc::STUCK` | os/proc.rs | | `Channel.state`, of a result that is not waited for |
//! | `OomCounter` | process/oom.rs | a read of the kernel's counter | |
//! | `Leaders.used` | store/leaders.rs | | |
//! | `Home.unsynced` | store/home.rs | the sync of new directories | |
//! | `Overlays.table` | overlay/mod.rs | | |
//! | `Overlay.thread` | overlay/state.rs | | |
//! | `Overlay.keeping` | overlay/state.rs | the write or removal of the record | `Home.unsynced` |
//! | `Overlay.state` | overlay/state.rs | | |
//! | `CopyProgress.skipped`, `CopyProgress.halt` | overlay/progress.rs | | |
//! | `TreeCopy.deferred` | overlay/copy.rs | | |
//! | `CopyTree.first_names` | overlay/pair.rs | | |
//! | `FirstName` | overlay/pair.rs | the copy of one file with hard links | those of `CopyProgress` |
//! | `TaskQueue.state` | overlay/workers.rs | | |
//! | `Slots.entries` | http/slots.rs | `shutdown(2)` of evicted connections | |
//! | `Budget.state` | http/budget.rs | | |
//! | `Heads.unfinished` | http/heads.rs | `shutdown(2)` of the oldest connection | |
//! | `Parsers.state` | api/http/parsers.rs | | |
//! | `Api.reading` | api/mod.rs | one parse of a body, so that only one takes memory | |
//! | `Gateway.state` | api/gateway.rs | | |
//! | `Proxy.occupied` | proxy/mod.rs | | |
//! | `Proofs.alone` | proxy/proofs.rs | | |
//! | `ListenerLookup` | os/sockets.rs | a netlink send and its answer, which the kernel gives at once | |
//! | `Channel.state` | os/oneshot.rs | | |
//! | `JobSlot.state` | os/reserve_thread.rs | | |
//! | `reserve_thread::job` | os/reserve_thread.rs | | |
//! | `deadline::CALLS` | os/deadline.rs | | |
//! | `deadline::result` | os/deadline.rs | | |
//! | `log::LINE` | log.rs | one write that does not block | |
//!
//! The turn of the gateway (`GatewayState.turn`) and the deletion of an overlay (`OverlayDeletion`) are states with
//! guards, not locks; who waits for one holds no lock. The inboxes (`os::inbox`) lock inside their library.
//!
//! # Four traces
//!
//! A death. The kernel sends SIGCHLD; main calls `Reaper::sweep`, which learns the exit by `waitid(WNOWAIT)` and
//! notifies the supervisor's inbox. `supervisor::actor` asks `supervisor::run` whether other processes of the run live,
//! and gives `Event::LeaderExited` or `Event::Ended` to the machine. `model::machine::after` applies the restart
//! policy (a restart after a delay is `Phase::Waiting`); `supervisor::actor::effects` carries out what follows, stores
//! what has changed, and `publish` shows the new view, which wakes waiting requests.
//!
//! A request. `http::accept` admits the connection to a slot; `http::connection` reads and vets the head; `api::http`
//! has tiny_http parse it, unless the head before it was the same, and calls `api::handlers::admit`: route, access,
//! whether a body is read. The connection's thread reads the body, `api::input` turns it into a spec, the registry
//! passes a command to the supervisor's inbox, and the reply comes back through a one-shot channel. `api::wire` writes
//! the JSON, `http::response` sends it.
//!
//! A visit. `http::connection` reads a head whose `Host` `proxy` claims, and the connection leaves the slots of the
//! API. `proxy::request` vets the head, and the registry finds the server; `proxy::call` checks the access key, holds
//! the client while the server starts, connects to the address that the `ports` thread has seen, and has
//! `proxy::proofs` check whose socket that is. The head is written anew, and `proxy::relay` moves bodies both ways with
//! `poll(2)`, by a `proxy::lane` for each direction, until the answer is over, or the run is (`supervisor::traffic`).
//!
//! A readiness. The `ports` thread finds a listening socket in the kernel's tables (netlink, `/proc`) whose owner
//! belongs to the run, and notifies the supervisor: `Event::Listening`. With a health check, `supervisor::observer`
//! starts [`prober`] on that port; `model::health` judges the answers, and the first success is `Event::Healthy`.
//! `model::machine::readiness` says that the server is ready; `model::status` names it; the published view wakes
//! `GET /ready?wait` and the waits of one server.
//!
//! # To change X, touch Y
//!
//! - A field of a spec: `model/spec.rs`, `api/input.rs` (read), `api/input/slips.rs` (its names in other tools),
//!   `store/fields.rs` (names, and form in records and answers), `store/server.rs` (records), `api/wire/server.rs`
//!   (answers), `cli/commands/run.rs` (its option), `api/openapi.json`, `docs/reference.md`; tests compare the names.
//! - A query parameter: `api/route.rs`, the arm of its `ApiAction` in `api/handlers.rs`, `api/openapi.json`,
//!   `docs/reference.md`; a new kind of value: `api/route/query.rs`. One for logs is for one server and for many
//!   (`api/follow.rs`, `api/many.rs`).
//! - A route: `api/route.rs` and `api/route/resource.rs` (target), `api/handlers.rs` (action), `api/openapi.json`,
//!   `docs/reference.md`, `tests/it/openapi.rs`.
//! - An event: `api/events.rs` (name and fields), its source (`supervisor/changes.rs` or `runs`), `api/openapi.json`,
//!   `docs/reference.md`, and who reads it: `cli/commands/follow.rs`, `cli/waiting.rs`, `api/page/index.html`.
//! - A metric: `api/metrics.rs`, `docs/reference.md`. A command: `cli/commands`, `cli/help.rs`, `docs/reference.md`,
//!   `docs/guide.md`.
//! - A lock: the table above. A thread: the table above, and `docs/design.md`.
//! - A restart policy: `model/spec.rs`, `model/machine/after.rs`, `check_policy` in
//!   `model/machine/tests/invariants.rs`, `api/openapi.json`, `docs/reference.md`.
//! - When a server starts, stops or restarts: `model/machine.rs`, and the walk in `model/machine/tests.rs`. When it is
//!   healthy: `model/health.rs`. Which processes belong to a run: `process/tracker.rs`, `tests/it/membership.rs`. How a
//!   run's end is described: `model/ending.rs`, `runs/form.rs`, `docs/reference.md`.
//! - A status: `model/status.rs`; its tests and the document's enum follow.
//! - An error code: `error.rs`, `docs/reference.md`. An option: `config/options.rs`, `config.rs`, `config/help.rs`,
//!   `docs/reference.md`.
//! - A rule about a header that passes the proxy: `proxy/request.rs`, `proxy/response.rs`.
//! - A system call: `os/`, with a safe signature and a `SAFETY` comment for each `unsafe` block.

pub mod access;
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
pub mod json;
pub mod log;
pub mod logs;
pub mod model;
pub mod os;
pub mod overlay;
pub mod packed;
pub mod ports;
pub mod prober;
pub mod process;
pub mod proxy;
pub mod registry;
pub mod runs;
pub mod setup;
pub mod sorted;
pub mod store;
pub mod supervisor;
pub mod sync;
#[cfg(test)]
mod testing;
