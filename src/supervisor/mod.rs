//! One thread a server, which alone owns its life-cycle and its run.
//!
//! Owns: the handle by which the rest of the daemon speaks to that thread, and the thread's frame, which outlives a
//! panic. Never: a decision about the life-cycle (see `model::machine`), HTTP.

use std::ffi::OsString;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};

use crate::control::Control;
use crate::log::{self, Level};
use crate::logs::{Files, SharedLog};
use crate::model::machine::{Command, Refusal};
use crate::model::spec::{ServerSpec, Slug};
use crate::model::status::{ServerView, Status};
use crate::os::reaper::Reaper;
use crate::os::thread::{self, Joined, Thread, panic_text};
use crate::os::tree::Forest;
use crate::ports::{Ports, Reservation};

mod actor;
mod command;
mod reader;
mod run;

pub use command::visible as visible_environment;

/// What all supervisors share.
pub struct Context {
    /// Tells of ends.
    pub reaper: Arc<Reaper>,
    /// Knows which process belongs to which run.
    pub forest: Arc<Forest>,
    /// Who holds which port.
    pub ports: Arc<Ports>,
    /// The daemon's own environment as far as servers may see it.
    pub environment: Vec<(OsString, OsString)>,
    /// The soft limit on open files that servers get.
    pub open_files: Option<u64>,
    /// The beginning of each run's marker: this state directory, this life of the daemon.
    pub marker: String,
    /// How much of a server's output is kept, in bytes.
    pub log_bytes: usize,
    /// Where it is also written to.
    pub log_files: Option<Files>,
    /// Hears of the end of each supervisor.
    pub control: Sender<Control>,
}

/// What may be asked of a supervisor.
enum Request {
    Command(Command, Sender<Answer>),
    Replace(Box<Replacement>, Sender<Answer>),
    /// End the run with grace and then the thread.
    Shutdown,
    /// The same without grace.
    Kill,
}

struct Replacement {
    spec: Arc<ServerSpec>,
    reservation: Option<Reservation>,
}

/// What comes of a request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// What was asked for is so; this is how the server was then.
    Done(Arc<ServerView>),
    /// It made no sense, and nothing has changed.
    Refused(Refusal),
    /// The daemon is ending.
    ShuttingDown,
}

/// A request that was sent and not answered yet.
pub struct Pending {
    answer: Receiver<Answer>,
    supervisor: Arc<Supervisor>,
}

/// What waiting for a [`Pending`] came to.
#[derive(Debug, Clone)]
pub enum Waited {
    /// An answer.
    Answered(Answer),
    /// None in time. The work goes on; this is how the server is.
    Late(Arc<ServerView>),
    /// The supervisor is gone, or lost the request in a fault of its own.
    Lost,
}

impl Pending {
    /// How the server is now, without waiting.
    pub fn view(&self) -> Arc<ServerView> {
        self.supervisor.view()
    }

    /// Waits for the answer, but not past `deadline`.
    pub fn wait(&self, deadline: Instant) -> Waited {
        match self.answer.recv_deadline(deadline) {
            Ok(answer) => Waited::Answered(answer),
            Err(RecvTimeoutError::Timeout) => Waited::Late(self.supervisor.view()),
            Err(RecvTimeoutError::Disconnected) => Waited::Lost,
        }
    }
}

/// What the supervisor's thread writes and others read.
struct Shared {
    slug: Slug,
    view: Mutex<Arc<ServerView>>,
    log: Arc<SharedLog>,
}

/// The outside of a supervisor.
pub struct Supervisor {
    shared: Arc<Shared>,
    inbox: Sender<Request>,
    thread: OnceLock<Thread>,
}

/// What a supervisor's thread is made from.
pub struct Unlaunched {
    context: Arc<Context>,
    shared: Arc<Shared>,
    requests: Receiver<Request>,
    spec: Arc<ServerSpec>,
}

impl Supervisor {
    /// A supervisor whose thread does not run yet; requests wait until it does.
    pub fn new(context: &Arc<Context>, spec: Arc<ServerSpec>) -> (Arc<Supervisor>, Unlaunched) {
        let (inbox, requests) = unbounded();
        let now = SystemTime::now();
        let view = ServerView {
            spec: Arc::clone(&spec),
            status: Status::Stopped,
            reason: None,
            pid: None,
            port: None,
            restarts: 0,
            exit: None,
            created_at: now,
            updated_at: now,
            started_at: None,
        };
        let shared = Arc::new(Shared {
            slug: spec.slug.clone(),
            view: Mutex::new(Arc::new(view)),
            log: match &context.log_files {
                Some(files) => SharedLog::with_files(context.log_bytes, &spec.slug, files),
                None => Arc::new(SharedLog::new(context.log_bytes)),
            },
        });
        let unlaunched = Unlaunched { context: Arc::clone(context), shared: Arc::clone(&shared), requests, spec };
        (Arc::new(Supervisor { shared, inbox, thread: OnceLock::new() }), unlaunched)
    }

    /// Starts the thread. `forget` is called when the server has been deleted, before anyone is told so.
    ///
    /// # Errors
    /// The system has no thread to give. Requests that wait are lost.
    pub fn launch(
        &self,
        parts: Unlaunched,
        reservation: Option<Reservation>,
        forget: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let name = format!("sup:{}", self.slug());
        let thread = thread::spawn(&name, thread::STACK, move || parts.live(reservation, Box::new(forget)))?;
        // A supervisor is launched once; a second thread would be let go here.
        let _ = self.thread.set(thread);
        Ok(())
    }

    /// Its server's name.
    pub fn slug(&self) -> &Slug {
        &self.shared.slug
    }

    /// How its server is, without asking the thread.
    pub fn view(&self) -> Arc<ServerView> {
        self.shared.view()
    }

    /// What its server has written.
    pub fn log(&self) -> &Arc<SharedLog> {
        &self.shared.log
    }

    /// Gives a command.
    pub fn command(self: &Arc<Self>, command: Command) -> Pending {
        self.ask(|reply| Request::Command(command, reply))
    }

    /// Gives another configuration and starts it, which is refused while the server is active.
    pub fn replace(self: &Arc<Self>, spec: Arc<ServerSpec>, reservation: Option<Reservation>) -> Pending {
        self.ask(|reply| Request::Replace(Box::new(Replacement { spec, reservation }), reply))
    }

    /// Tells it to end the run with grace and leave.
    pub fn shut_down(&self) {
        // One that has gone already needs no telling.
        let _ = self.inbox.send(Request::Shutdown);
    }

    /// Tells it to end the run without grace and leave.
    pub fn kill(&self) {
        let _ = self.inbox.send(Request::Kill);
    }

    /// Waits for the end of the thread, but not past `deadline`.
    pub fn join_by(&self, deadline: Instant) -> Joined {
        self.thread.get().map_or(Joined::Ended, |thread| thread.join_by(deadline))
    }

    fn ask(self: &Arc<Self>, request: impl FnOnce(Sender<Answer>) -> Request) -> Pending {
        let (reply, answer) = bounded(1);
        // If the thread is gone the request is dropped with its reply, and waiting says `Lost`.
        let _ = self.inbox.send(request(reply));
        Pending { answer, supervisor: Arc::clone(self) }
    }
}

impl Shared {
    fn view(&self) -> Arc<ServerView> {
        Arc::clone(&self.view.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn publish(&self, view: ServerView) {
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
    }
}

/// Tells the control thread on every way out.
struct Farewell {
    control: Sender<Control>,
    slug: Slug,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        let _ = self.control.send(Control::SupervisorEnded(self.slug.clone()));
    }
}

impl Unlaunched {
    /// The whole life of the thread. A panic costs the server's run, and nothing else: it is failed then, and can be
    /// started again.
    fn live(self, reservation: Option<Reservation>, forget: Box<dyn FnOnce() + Send>) {
        let shared = Arc::clone(&self.shared);
        let _farewell = Farewell { control: self.context.control.clone(), slug: shared.slug.clone() };
        let mut actor = actor::Actor::new(self, reservation, forget);
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| actor.run())) {
            let text = panic_text(&*panic).to_owned();
            log::server(Level::Error, &shared.slug, format_args!("its supervisor panicked: {text}"));
            actor.recover(&text);
        }
    }
}
