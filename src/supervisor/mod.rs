//! One thread a server, which alone owns its life-cycle and its run.
//!
//! Owns: the handle by which the rest of the daemon speaks to that thread, and the thread's frame, which outlives a
//! panic. Never: a decision about the life-cycle (see `model::machine`), HTTP.

use std::ffi::OsString;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Instant, SystemTime};

use crate::control::Control;
use crate::log::{self, Level};
use crate::logs::{LogFiles, SharedLog};
use crate::model::health::Health;
use crate::model::machine::{Command, RunId};
use crate::model::proxy::{AccessKey, ProxyAccess};
use crate::model::public_url::PublicUrl;
use crate::model::spec::{ServerSpec, Slug};
use crate::model::status::Status;
use crate::model::view::{Activity, ServerView};
use crate::os::inbox::{Inbox, Sender, inbox};
use crate::os::oneshot::{self, oneshot};
use crate::os::thread::{self, Joined, Thread, panic_text};
use crate::overlay::Overlays;
use crate::ports::Ports;
use crate::process::oom::OomCounter;
use crate::runs::Book;
use crate::runs::books::Books;
use crate::store::files::Files;
use crate::sync::lock;

mod actor;
mod changes;
mod command;
mod diagnosis;
mod kernel;
mod launches;
mod observer;
mod preparation;
mod reader;
mod record;
mod reply;
mod run;
mod system;
#[cfg(test)]
mod tests;
mod traffic;
mod visits;

use actor::RunUpdate;
use observer::Attention;
use system::System;

pub use changes::{ChangeCount, Changes, ChangesSince, Deletion, WakeGuard};
pub use command::visible as visible_environment;
pub use kernel::Kernel;
pub use launches::Launches;
pub use record::Origin;
pub use reply::{CommandReply, Pending};
pub use traffic::{EndEvent, Traffic, Visit, VisitTarget};

/// What all supervisors share.
pub struct Context<S: System = Kernel> {
    /// The kernel, or its replacement in tests.
    pub system: Arc<S>,
    /// Who holds which port.
    pub ports: Arc<Ports>,
    /// The overlays, which are copied before servers start.
    pub overlays: Arc<Overlays>,
    /// Where servers are reached.
    pub public_url: PublicUrl,
    /// The daemon's side of the proxy; `None` without one.
    pub proxy: Option<ProxyDefaults>,
    /// The stored records of servers.
    pub files: Arc<Files>,
    /// How the runs of each server ended.
    pub books: Arc<Books>,
    /// Counts the kernel's kills for lack of memory.
    pub oom: OomCounter,
    /// The daemon's own environment as far as servers may see it.
    pub environment: Vec<(OsString, OsString)>,
    /// The soft limit on open files that servers get.
    pub open_files: Option<u64>,
    /// The beginning of each run's marker: this state directory, this life of the daemon.
    pub marker: String,
    /// How much of a server's output is kept, in bytes.
    pub log_bytes: usize,
    /// The files to which the output is also written.
    pub log_files: Option<LogFiles>,
    /// Receives the end of each supervisor.
    pub control: Sender<Control>,
    /// Receives all visible changes.
    pub changes: Arc<Changes>,
}

/// What the proxy of the daemon means for its servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyDefaults {
    /// Who may visit a server whose spec does not say.
    pub access: ProxyAccess,
    /// The ports of the daemon's own listeners, to which no visit leads.
    pub own_ports: Vec<u16>,
}

/// A message to a supervisor. One inbox is for both kinds, so that they are taken in the order in which they came.
enum Message {
    Requested(Request),
    Run(RunId, RunUpdate),
}

/// The side of the supervisor that replies to a request.
type Replier = oneshot::OnceSender<CommandReply>;

/// A request to a supervisor.
enum Request {
    Command(Command, Replier),
    /// Store the configuration, report [`CommandReply::Stored`], and start the server.
    Create(Replier),
    /// The same with another configuration.
    Replace(Arc<ServerSpec>, Replier),
    /// End the run with grace and then the thread.
    Shutdown,
    /// The same without grace.
    Kill,
    /// The number of clients that wait for its status has changed.
    Attention,
    /// Reply when the effects of all earlier messages are visible.
    Settle(Replier),
    /// Store the configuration that came with the daemon's start.
    KeepGiven(Replier),
    /// A client visits the server: start it, if its spec says so and no command stopped it.
    Visit,
}

/// What the supervisor's thread writes and others read.
struct Shared {
    slug: Slug,
    view: Mutex<Arc<ServerView>>,
    log: Arc<SharedLog>,
    traffic: Arc<Traffic>,
    book: Arc<Book>,
    /// How many clients wait for its status.
    waiting: AtomicUsize,
}

/// Keeps a server closely observed until it is dropped: a client waits for its status.
pub struct AttentionGuard(Arc<Supervisor>);

impl Drop for AttentionGuard {
    fn drop(&mut self) {
        self.0.shared.waiting.fetch_sub(1, Ordering::SeqCst);
        self.0.send(Request::Attention);
    }
}

/// The handle of a supervisor.
pub struct Supervisor {
    shared: Arc<Shared>,
    inbox: Sender<Message>,
    thread: OnceLock<Thread>,
}

/// What a supervisor's thread is made from.
pub struct Unlaunched<S: System = Kernel> {
    context: Arc<Context<S>>,
    shared: Arc<Shared>,
    inbox: Inbox<Message>,
    own_inbox: Sender<Message>,
    spec: Arc<ServerSpec>,
    origin: Origin,
    /// What a client needs to visit it; made for it if it is not stored.
    key: Option<AccessKey>,
}

impl Supervisor {
    /// A supervisor whose thread does not run yet; requests wait until it does.
    pub fn new<S: System>(
        context: &Arc<Context<S>>,
        spec: Arc<ServerSpec>,
        origin: Origin,
    ) -> (Arc<Supervisor>, Unlaunched<S>) {
        let (sender, inbox) = inbox();
        let now = SystemTime::now();
        let book = context.books.take(spec.slug.as_str());
        let key = visits::needs_key(context.proxy.as_ref(), &spec).then(|| visits::key(origin.key()));
        let view = ServerView {
            spec: Arc::clone(&spec),
            status: Status::Stopped,
            reason: None,
            pid: None,
            port: None,
            ports: Vec::new(),
            is_listening: false,
            url: None,
            key: key.clone(),
            starts_on_visit: false,
            health: spec.health_check.as_ref().map(|_| Health::default()),
            activity: if origin.starts(&spec) { Activity::Active } else { Activity::Stopped },
            overlays: Vec::new(),
            waits_for: Vec::new(),
            restarts: 0,
            exit: None,
            created_at: match &origin {
                Origin::Stored(kept) => kept.created_at,
                Origin::Client | Origin::Payload(_) => now,
            },
            updated_at: now,
            started_at: None,
            ready_at: None,
            alive_since: None,
            last_run: book.last_ended(),
        };
        let shared = Arc::new(Shared {
            slug: spec.slug.clone(),
            view: Mutex::new(Arc::new(view)),
            log: match &context.log_files {
                Some(files) => SharedLog::with_files(context.log_bytes, &spec.slug, files),
                None => Arc::new(SharedLog::new(context.log_bytes)),
            },
            waiting: AtomicUsize::new(0),
            traffic: Arc::default(),
            book: Arc::new(book),
        });
        let unlaunched = Unlaunched {
            context: Arc::clone(context),
            shared: Arc::clone(&shared),
            inbox,
            own_inbox: sender.clone(),
            spec,
            origin,
            key,
        };
        (Arc::new(Supervisor { shared, inbox: sender, thread: OnceLock::new() }), unlaunched)
    }

    /// Starts the thread. `on_deleted` is called when the server has been deleted, before any client gets the reply.
    ///
    /// # Errors
    /// The system has no thread to give. Requests that wait are lost.
    pub fn launch<S: System>(
        &self,
        parts: Unlaunched<S>,
        on_deleted: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let name = format!("sup:{}", self.slug());
        let thread = thread::spawn(&name, thread::STACK, move || parts.live(Box::new(on_deleted)))?;
        // `launch` is called once; the handle of a second thread would be dropped.
        let _ = self.thread.set(thread);
        Ok(())
    }

    pub fn slug(&self) -> &Slug {
        &self.shared.slug
    }

    /// The last published view, without a request to the thread.
    pub fn view(&self) -> Arc<ServerView> {
        self.shared.view()
    }

    /// The output of the server.
    pub fn log(&self) -> &Arc<SharedLog> {
        &self.shared.log
    }

    pub fn traffic(&self) -> &Arc<Traffic> {
        &self.shared.traffic
    }

    /// A client visits it: it is started if its view says that a visit does that, and is still so then.
    pub fn visit(&self) {
        self.send(Request::Visit);
    }

    /// How its runs ended.
    pub fn book(&self) -> &Book {
        &self.shared.book
    }

    /// Requests close observation while the result lives.
    pub fn attend(self: &Arc<Self>) -> AttentionGuard {
        self.shared.waiting.fetch_add(1, Ordering::SeqCst);
        self.send(Request::Attention);
        AttentionGuard(Arc::clone(self))
    }

    /// Waits for all earlier messages to its thread to be visible.
    pub fn settle(self: &Arc<Self>) -> Pending {
        self.ask(Request::Settle)
    }

    /// Stores a configuration from the setup payload if it is not stored yet.
    pub fn keep_given(self: &Arc<Self>) -> Pending {
        self.ask(Request::KeepGiven)
    }

    /// Sends a command.
    pub fn command(self: &Arc<Self>, command: Command) -> Pending {
        self.ask(|reply| Request::Command(command, reply))
    }

    /// Stores the configuration that it was made with and starts it. Call it first, and once.
    pub fn create(self: &Arc<Self>) -> Pending {
        self.ask(Request::Create)
    }

    /// Gives another configuration and starts it, which is refused while the server is active.
    pub fn replace(self: &Arc<Self>, spec: Arc<ServerSpec>) -> Pending {
        self.ask(|reply| Request::Replace(spec, reply))
    }

    /// Ends the run with grace, and the thread.
    pub fn shut_down(&self) {
        self.send(Request::Shutdown);
    }

    /// Ends the run without grace, and the thread.
    pub fn kill(&self) {
        self.send(Request::Kill);
    }

    /// Waits for the end of the thread, but not past `deadline`.
    pub fn join_by(&self, deadline: Instant) -> Joined {
        self.thread.get().map_or(Joined::Ended, |thread| thread.join_by(deadline))
    }

    fn ask(self: &Arc<Self>, request: impl FnOnce(Replier) -> Request) -> Pending {
        let (replier, reply) = oneshot();
        self.send(request(replier));
        Pending { reply, supervisor: Arc::clone(self) }
    }

    /// If the thread has ended, the request is dropped with its reply, and the wait returns `Lost`.
    fn send(&self, request: Request) {
        let _ = self.inbox.send(Message::Requested(request));
    }
}

impl Drop for Supervisor {
    /// Ends the thread: no handle is left.
    fn drop(&mut self) {
        self.shut_down();
    }
}

impl Shared {
    fn view(&self) -> Arc<ServerView> {
        Arc::clone(&lock(&self.view))
    }

    fn attention(&self) -> Attention {
        if self.waiting.load(Ordering::SeqCst) > 0 { Attention::Some } else { Attention::None }
    }

    fn publish(&self, view: ServerView) {
        *lock(&self.view) = Arc::new(view);
    }
}

/// Notifies the control thread, however the thread ends.
struct EndNotice {
    control: Sender<Control>,
    slug: Slug,
}

impl Drop for EndNotice {
    fn drop(&mut self) {
        let _ = self.control.send(Control::SupervisorEnded(self.slug.clone()));
    }
}

impl<S: System> Unlaunched<S> {
    /// The whole life of the thread. A panic costs the server's run, and nothing else: it is failed then, and can be
    /// started again.
    fn live(self, on_deleted: Box<dyn FnOnce() + Send>) {
        let shared = Arc::clone(&self.shared);
        let _end_notice = EndNotice { control: self.context.control.clone(), slug: shared.slug.clone() };
        let mut actor = actor::Actor::new(self, on_deleted);
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| actor.run())) {
            let text = panic_text(&*panic).to_owned();
            log::server(Level::Error, &shared.slug, format_args!("its supervisor panicked: {text}"));
            actor.recover(&text);
        }
    }
}
