//! From slug to supervisor: the only thing that the API sees of the servers.
//!
//! Owns: which servers exist, and whether new ones are taken. Never: what a server does; a wait for one.
//!
//! The table's lock is never held across a send, a spawn or a join.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use crate::control::Admission;
use crate::log::{self, Level};
use crate::model::machine::Command;
use crate::model::public_url::Sought;
use crate::model::run::ServerStats;
use crate::model::spec::{Port, ServerSpec, Slug};
use crate::model::view::ServerView;
use crate::os::Pid;
use crate::process::tracker::ResourceUse;
use crate::sorted::Sorted;
use crate::supervisor::{Changes, Context, Origin, Pending, Supervisor, Unlaunched};
use crate::sync::lock;

/// What the processes use is never older than this.
const STATS_AGE: Duration = Duration::from_secs(1);

/// A visit does not rely on a look at the ports that is older than this.
const VISITED_AGE: Duration = Duration::from_secs(1);
/// A visit waits for so long for a look, which takes a millisecond, on a busy machine.
const VISITED_LOOK: Duration = Duration::from_millis(200);

pub struct Registry {
    context: Arc<Context>,
    table: Mutex<ServerTable>,
    /// For the supervisors, which take themselves out when they are deleted.
    itself: Weak<Registry>,
}

struct ServerTable {
    slots: Sorted<Slug, Arc<Supervisor>>,
    admission: Admission,
}

/// Servers that can be found and don't run yet.
#[must_use]
pub struct Restored {
    registry: Arc<Registry>,
    servers: Vec<(Arc<Supervisor>, Unlaunched)>,
}

impl Restored {
    /// Starts those that are to be started with the daemon, all at the same time. None of them waits until
    /// another one is on the disk: none is stored yet.
    pub fn start(self) -> Started {
        let all: Vec<_> = self.servers.iter().map(|(supervisor, _)| Arc::clone(supervisor)).collect();
        for (supervisor, unlaunched) in self.servers {
            if let Err(Refused::NoThread(error)) = self.registry.launch(&supervisor, unlaunched) {
                let text =
                    format_args!("the system has no thread for it: {error}; it is left out until the next start");
                log::server(Level::Error, supervisor.slug(), text);
            }
        }
        Started(all)
    }
}

/// Servers that were started together.
#[must_use]
pub struct Started(Vec<Arc<Supervisor>>);

impl Started {
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Stores those that are not stored yet. Whether each is stored is the answer that is pending.
    pub fn keep(self) -> Vec<Pending> {
        self.0.iter().map(|supervisor| supervisor.keep_given()).collect()
    }
}

/// The server that a client of the proxy visits.
pub struct Visitable {
    /// Ask its `traffic` where to connect before its view whether the client may: a view is never older than the run.
    pub server: Arc<Supervisor>,
    /// The port that was asked for; `None` for the main one.
    pub port: Option<Port>,
}

/// Why a request was not even passed on.
#[derive(Debug)]
pub enum Refused {
    /// No server has that slug.
    Unknown,
    ShuttingDown,
    /// The system has no thread for another server.
    NoThread(io::Error),
}

/// Why servers that came together were not taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unadmitted {
    /// A server of this slug exists already.
    SlugInUse(Slug),
    ShuttingDown,
}

impl fmt::Display for Unadmitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unadmitted::SlugInUse(slug) => {
                write!(f, "server \"{slug}\" exists already; delete it, or give the new one another slug")
            }
            Unadmitted::ShuttingDown => f.write_str("the daemon is shutting down; start it again"),
        }
    }
}

impl Registry {
    /// Creates a registry without servers.
    pub fn new(context: Arc<Context>) -> Arc<Registry> {
        Arc::new_cyclic(|itself| Registry {
            context,
            table: Mutex::new(ServerTable { slots: Sorted::default(), admission: Admission::Open }),
            itself: itself.clone(),
        })
    }

    /// The present state of every server, sorted by slug.
    pub fn views(&self) -> Vec<Arc<ServerView>> {
        let supervisors: Vec<_> = self.table().slots.values().cloned().collect();
        supervisors.iter().map(|supervisor| supervisor.view()).collect()
    }

    /// All supervisors, sorted by slug.
    pub fn supervisors(&self) -> Vec<Arc<Supervisor>> {
        self.table().slots.values().cloned().collect()
    }

    /// Whether what the views say of ports is newer than `age`, or there is nothing to say.
    pub fn ports_are_newer(&self, now: Instant, age: Duration) -> bool {
        now.checked_sub(age).is_none_or(|moment| self.context.system.watcher.looked_after(moment))
            || self.views().iter().all(|view| view.alive_since.is_none())
    }

    /// Looks at the ports of all servers, and returns when the views show what was found, or at the deadline.
    pub fn refresh_ports(&self, deadline: Instant) {
        self.context.system.watcher.refresh(Instant::now(), deadline);
        let settled: Vec<_> = self.supervisors().iter().map(|supervisor| supervisor.settle()).collect();
        for settled in settled {
            // One that is late, or gone, shows what it knew.
            settled.wait(deadline);
        }
    }

    /// Looks at the processes and returns what the servers that run use. What is younger than a second counts as a
    /// look.
    pub fn stats(&self) -> Sorted<Slug, ServerStats> {
        let now = Instant::now();
        let (at, used) = match self.context.system.tracker.used(now.checked_sub(STATS_AGE).unwrap_or(now)) {
            Ok(found) => found,
            Err(error) => {
                log::warn(format_args!("the use of the servers is not known, /proc can't be read: {error}"));
                return Sorted::default();
            }
        };
        let of = |supervisor: Arc<Supervisor>| {
            let pid = supervisor.view().pid?;
            let ResourceUse { cpu, private: memory_bytes, resident: rss_bytes, processes } =
                *used.get(&Pid::new(i32::try_from(pid).ok()?)?)?;
            let (run, cpu) = supervisor.book().note_cpu(pid, cpu)?;
            Some((supervisor.slug().clone(), ServerStats { run, cpu, memory_bytes, rss_bytes, processes, at }))
        };
        self.supervisors().into_iter().filter_map(of).collect()
    }

    /// Receives all visible changes, creations and deletions of servers included.
    pub fn changes(&self) -> &Changes {
        &self.context.changes
    }

    /// Whether the daemon is ending.
    pub fn is_closed(&self) -> bool {
        match self.table().admission {
            Admission::Open => false,
            Admission::Closed => true,
        }
    }

    pub fn count(&self) -> usize {
        self.table().slots.len()
    }

    pub fn find(&self, slug: &Slug) -> Option<Arc<Supervisor>> {
        self.table().slots.get(slug).cloned()
    }

    /// The server that a client of the proxy visits: the first of `sought` that exists. A port is that of the server
    /// that listens on it, else of the one to which it was allocated last, else of the one that asks for it; never one
    /// of the daemon's own. What is known of ports is not older than a second then: a ready server is not watched, and
    /// may have opened a port since, or left one to another process.
    pub fn visited(&self, sought: &[Sought]) -> Option<Visitable> {
        let now = Instant::now();
        if !self.ports_are_newer(now, VISITED_AGE) {
            self.refresh_ports(now + VISITED_LOOK);
        }
        let supervisors = self.supervisors();
        sought.iter().find_map(|sought| match sought {
            Sought::Slug(slug) => Some(Visitable { server: by_slug(&supervisors, slug)?, port: None }),
            Sought::Port(port) => Some(Visitable { server: self.by_port(&supervisors, *port)?, port: Some(*port) }),
            Sought::SlugAndPort(slug, port) => {
                let server = by_slug(&supervisors, slug)?;
                let server = self.by_port(&[server], *port)?;
                Some(Visitable { server, port: Some(*port) })
            }
        })
    }

    fn by_port(&self, supervisors: &[Arc<Supervisor>], port: Port) -> Option<Arc<Supervisor>> {
        if self.context.proxy.as_ref().is_none_or(|proxy| proxy.own_ports.contains(&port.get())) {
            return None;
        }
        let rank = |supervisor: &&Arc<Supervisor>| {
            let view = supervisor.view();
            match () {
                () if supervisor.traffic().listens_on(port) => Some(0),
                () if view.port == Some(port) && view.pid.is_some() => Some(1),
                () if view.port == Some(port) => Some(2),
                () if view.port.is_none() && view.spec.port == Some(port) => Some(3),
                () => None,
            }
        };
        let ranked = supervisors.iter().filter_map(|supervisor| Some((rank(&supervisor)?, supervisor)));
        ranked.min_by_key(|(rank, _)| *rank).map(|(_, supervisor)| Arc::clone(supervisor))
    }

    /// Makes a server, or gives an inactive one another configuration, and starts it. Its supervisor decides whether
    /// the present one is inactive.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub fn create(&self, spec: ServerSpec) -> Result<Pending, Refused> {
        let spec = Arc::new(spec);
        let (supervisor, unlaunched) = Supervisor::new(&self.context, Arc::clone(&spec), Origin::Client);
        // In its inbox before it can be found: no command of another client comes first.
        let created = supervisor.create();
        let present = {
            let mut table = self.table();
            match (table.admission, table.slots.get(&spec.slug)) {
                (Admission::Closed, _) => return Err(Refused::ShuttingDown),
                (Admission::Open, Some(present)) => Some(Arc::clone(present)),
                (Admission::Open, None) => {
                    table.slots.insert(spec.slug.clone(), Arc::clone(&supervisor));
                    None
                }
            }
        };
        if let Some(present) = present {
            return Ok(present.replace(spec));
        }
        self.launch(&supervisor, unlaunched)?;
        Ok(created)
    }

    /// Takes in servers that come together, all or none. They can be found from now on, and wait for
    /// [`Restored::start`].
    ///
    /// # Errors
    /// None was taken in.
    pub fn restore(self: &Arc<Self>, servers: Vec<(Arc<ServerSpec>, Origin)>) -> Result<Restored, Unadmitted> {
        let servers = servers.into_iter().map(|(spec, origin)| Supervisor::new(&self.context, spec, origin));
        let servers: Vec<_> = servers.collect();
        {
            let mut table = self.table();
            if table.admission == Admission::Closed {
                return Err(Unadmitted::ShuttingDown);
            }
            let mut slugs = servers.iter().map(|(supervisor, _)| supervisor.slug());
            if let Some(slug) = slugs.find(|slug| table.slots.contains_key(*slug)) {
                return Err(Unadmitted::SlugInUse(slug.clone()));
            }
            for (supervisor, _) in &servers {
                table.slots.insert(supervisor.slug().clone(), Arc::clone(supervisor));
            }
        }
        Ok(Restored { registry: Arc::clone(self), servers })
    }

    /// What a client should know of the slug of a server: behind the proxy no public URL has it. `None` if one has.
    pub fn warning_about(&self, slug: &Slug) -> Option<String> {
        if self.context.proxy.is_none() || self.context.public_url.can_name(slug) {
            return None;
        }
        Some(format!(
            "slug \"{slug}\" can't be part of a host name, so the server has no url behind --public-url and is visited as \
             PORT.localhost alone; take a slug of letters, digits and \"-\""
        ))
    }

    fn launch(&self, supervisor: &Arc<Supervisor>, unlaunched: Unlaunched) -> Result<(), Refused> {
        if let Some(warning) = self.warning_about(supervisor.slug()) {
            log::server(Level::Warn, supervisor.slug(), format_args!("{warning}"));
        }
        let (itself, removed) = (self.itself.clone(), Arc::clone(supervisor));
        let forget = move || {
            if let Some(registry) = itself.upgrade() {
                registry.forget(&removed);
            }
        };
        supervisor.launch(unlaunched, forget).map_err(|error| {
            self.forget(supervisor);
            Refused::NoThread(error)
        })
    }

    /// Kills the child of `slug` that hangs before its program runs, if there is one, and returns its number.
    pub fn end_stuck_launch(&self, slug: &Slug) -> Option<Pid> {
        self.context.system.launches.end_stuck(slug)
    }

    /// Gives `command` to the server `slug`.
    ///
    /// # Errors
    /// There is no such server, or the daemon is ending.
    pub fn command(&self, slug: &Slug, command: Command) -> Result<Pending, Refused> {
        let supervisor = {
            let table = self.table();
            match (table.admission, table.slots.get(slug)) {
                (Admission::Closed, _) => return Err(Refused::ShuttingDown),
                (Admission::Open, None) => return Err(Refused::Unknown),
                (Admission::Open, Some(supervisor)) => Arc::clone(supervisor),
            }
        };
        Ok(supervisor.command(command))
    }

    /// Takes no more requests, and gives all supervisors for their end.
    pub fn close(&self) -> Vec<Arc<Supervisor>> {
        let supervisors = {
            let mut table = self.table();
            table.admission = Admission::Closed;
            table.slots.values().cloned().collect()
        };
        self.context.changes.wake_all();
        supervisors
    }

    /// Removes `supervisor` unless its slug belongs to another one by now, and ends the followers of its log.
    fn forget(&self, supervisor: &Arc<Supervisor>) {
        supervisor.log().end();
        let runs = supervisor.book().closed();
        let mut table = self.table();
        if table.slots.get(supervisor.slug()).is_some_and(|present| Arc::ptr_eq(present, supervisor)) {
            table.slots.remove(supervisor.slug());
        }
        // Under the lock: who doesn't find it in the table finds it among the deletions.
        self.context.changes.delete(supervisor.slug(), runs);
    }

    fn table(&self) -> MutexGuard<'_, ServerTable> {
        lock(&self.table)
    }
}

/// The one that is in small letters, of slugs that differ in case alone.
fn by_slug(supervisors: &[Arc<Supervisor>], slug: &str) -> Option<Arc<Supervisor>> {
    let is_like = |supervisor: &&Arc<Supervisor>| supervisor.slug().as_str().eq_ignore_ascii_case(slug);
    let is_same = |supervisor: &&Arc<Supervisor>| supervisor.slug().as_str() == slug;
    supervisors.iter().find(is_same).or_else(|| supervisors.iter().find(is_like)).cloned()
}
