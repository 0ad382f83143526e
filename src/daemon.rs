//! The daemon from its first to its last moment.
//!
//! Owns: what is built in which order, which thread handles signals. Never: the order of the shutdown (see `shutdown`), a
//! server's life, a request.
//!
//! The main thread reads signals and is the reaper; it spawns nothing (see `process::reaper`). The thread `control`
//! waits for a signal and carries out the shutdown: no new commands, then all supervisors at once, then the API, which
//! answers until the last server has ended.

use std::env;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::access::{Access, Auth, Names, Token};
use crate::api::Api;
use crate::api::gateway::Gateway;
use crate::api::http::HttpApi;
use crate::api::permits::Permits;
use crate::boot::{self, Processes};
use crate::config::{self, AuthSource, Config};
use crate::control::Control;
use crate::log;
use crate::logs::LogFiles;
use crate::os::environment;
use crate::os::fs::plain::read_named;
use crate::os::inbox::{self, Sender};
use crate::os::inherit;
use crate::os::random;
use crate::os::signals::{self, ReceivedSignal};
use crate::os::stderr;
use crate::os::terminal;
use crate::os::thread;
use crate::overlay::{Overlays, record};
use crate::ports::{Ports, Watcher};
use crate::prober::Prober;
use crate::process::oom::OomCounter;
use crate::proxy::Proxy;
use crate::registry::Registry;
use crate::runs::books::Books;
use crate::setup::{self, Payload};
use crate::store::Store;
use crate::store::files::Files;
use crate::supervisor::{self, Context, Kernel, Launches};

mod fronts;
mod listen;
mod page_link;
mod shutdown;
mod urls;

use fronts::Fronts;
use listen::OpenedListener;
use page_link::page_link;
use shutdown::Shutdown;
use urls::Urls;

/// Answers that are on their way when the daemon ends get this long.
const FRONT_LIMIT: Duration = Duration::from_secs(2);
/// `control` closes the inbox of signals as the last thing that it does, and only its return is left then.
const CONTROL_LIMIT: Duration = Duration::from_secs(1);
/// A file with the access token and nothing else is never longer.
const TOKEN_FILE_MAX: u64 = 4096;
/// Distinguishes two daemons on one state directory; it needs no protection against guessing.
const LIFE_BYTES: usize = 4;

/// What to do about a failed step of the start.
const RAISE_LIMITS: &str =
    "raise the limits on threads, open files and memory (ulimit -u -n -v, the cgroup's pids.max)";
const ALLOW_CALLS: &str = "allow these system calls in the seccomp profile of the container or service";
const READABLE: &str =
    "make it readable and writable for the user that servisor runs as, or give --state-dir another one";
const NO_RANDOM: &str = "can't get random numbers from the system (getrandom)";

/// How the daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownResult {
    /// Nothing of any server is left.
    Clean,
    /// Something could not be ended, or a third signal said not to wait.
    LeftBehind,
}

/// Why the daemon did not start: one line for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartError(String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Runs the daemon until a signal ends it. To be called on the main thread before any other thread was made.
///
/// # Errors
/// It could not start; nothing was started then.
pub fn serve(config: &Config) -> Result<ShutdownResult, StartError> {
    log::open(config.log_level, stderr::write_now);
    thread::report_panics();
    let start_error = |what: &str, advice: &'static str| {
        let what = what.to_owned();
        move |error: io::Error| StartError(format!("{what}: {error}; {advice}"))
    };
    environment::erase(&config::SECRET_VARIABLES);
    let inherited = inherit::set_up_process().map_err(start_error(
        "can't set up this process (signals, inherited descriptors, child subreaper)",
        ALLOW_CALLS,
    ))?;
    // Before anything that takes time: the defaults of most of them would end the daemon.
    let mut inbox = signals::SignalInbox::open().map_err(start_error("can't set up signal handlers", RAISE_LIMITS))?;
    for warning in &config.warnings {
        log::warn(format_args!("{warning}"));
    }
    if !config.root.is_dir() {
        return Err(StartError(format!("root {} is not a directory; make it or give --root", config.root.display())));
    }
    let payload = match &config.setup {
        Some(source) => setup::read(source, &config.root).map_err(StartError)?,
        None => Payload::default(),
    };
    for warning in &payload.warnings {
        log::warn(format_args!("setup payload: {warning}"));
    }
    let store = Store::open(&config.state_dir).map_err(StartError)?;
    let cant_read = format!("state directory {} can't be read", store.directory().display());
    let stored = boot::stored(store.servers(), &config.root).map_err(start_error(&cant_read, READABLE))?;
    let kept = record::stored(store.overlays()).map_err(start_error(&cant_read, READABLE))?;
    let overlays = Overlays::new(&config.root, Arc::<Files>::clone(store.overlays()), kept);
    warn_of_exposed_secrets(config);
    let OpenedListener { listener, address, local, socket } =
        listen::listen(&config.listen, &config.auth).map_err(StartError)?;
    let visits = fronts::listen_for_servers(config).map_err(StartError)?;
    let urls = Urls::of(config, listener.address(), visits.as_ref().and_then(|visits| visits.listener.address()));
    let names = Names::new(listener.address(), urls.template.clone());
    let auth = auth(config, &store)?;
    // Not into a file, a pipe or a journal.
    let link = listener.address().filter(|_| terminal::is_stderr()).map(|address| page_link(address, &auth));
    let access = Access::new(auth, names, config.allow_origins.clone());

    let (control_tx, control_rx) = inbox::inbox();
    let log_files = match &config.log_dir {
        Some(directory) => Some(LogFiles::start(directory, config.log_file_bytes).map_err(StartError)?),
        None => None,
    };
    let gateway = config.gateway.then(|| Gateway::open(store.directory(), config.sandbox_url.clone()));
    let gateway = gateway.transpose().map_err(start_error(&cant_read, READABLE))?;
    let life = random::hex(LIFE_BYTES).map_err(start_error(NO_RANDOM, ALLOW_CALLS))?;
    // No port is looked at before what an earlier life has left is gone.
    let processes = boot::processes(&store, &life, inherited.strangers).map_err(start_error(NO_RANDOM, ALLOW_CALLS))?;
    let logs = (config.log_buffer_bytes, log_files);
    let context = context(urls, &store, processes, inherited.open_files, logs, &overlays, control_tx.clone()).map_err(
        start_error(
            "can't start the threads \"ports\" and \"prober\", which watch listeners and check health",
            RAISE_LIMITS,
        ),
    )?;
    let registry = Registry::new(Arc::clone(&context));
    let proxy = context.proxy.as_ref().map(|proxy| {
        Proxy::new(Arc::clone(&registry), access.clone(), context.public_url.clone(), proxy.own_ports.clone())
    });
    overlays.resume();
    let servers = boot::with_overlays(payload.servers, payload.overlays, &overlays);
    let taken = registry.restore(boot::servers(stored, servers));
    let restored = taken.map_err(|why| StartError(format!("the stored servers can't be taken over: {why}")))?;
    let api = Api {
        registry: Arc::clone(&registry),
        overlays: Arc::clone(&overlays),
        root: config.root.clone(),
        access,
        gateway,
        address: address.clone(),
        streams: Permits::for_streams(),
        event_readers: Permits::for_event_readers(),
        epoch: life,
        waits: Permits::for_waits(),
        open_waits: Permits::for_open_waits(),
        reading: Mutex::default(),
        proxy: proxy.clone(),
    };
    let service = HttpApi::new(api, store.directory())
        .map_err(start_error("can't start an HTTP parser (a thread and a unix socket)", RAISE_LIMITS))?;
    let (visits, visits_address, visits_socket) = match visits {
        Some(OpenedListener { listener, address, socket, .. }) => (Some(listener), Some(address), socket),
        None => (None, None, None),
    };
    let fronts = Fronts::open(listener, visits, Arc::new(service), proxy.as_ref())
        .map_err(start_error("can't start the threads that accept clients", RAISE_LIMITS))?;
    if let Err(error) = store.put_address(&local) {
        log::warn(format_args!(
            "the address can't be written to the state directory: {error}; give it to clients with --address {local}"
        ));
    }
    log::info(format_args!("servisor {} is listening on {address}", env!("CARGO_PKG_VERSION")));
    if let Some(address) = visits_address {
        log::info(format_args!("the servers alone are reached at {address}"));
    }
    if matches!(config.auth, AuthSource::Kept) {
        log::info(format_args!("the access token is in {}", store.token_path().display()));
    }
    if let Some(link) = link {
        log::info(format_args!("the status page is at {link}"));
    }

    // Before the shutdown can begin: every supervisor that it has to stop has its thread by then.
    let ending = Shutdown {
        unkept: Some(restored.start()),
        control: control_rx,
        registry,
        overlays,
        context: Arc::clone(&context),
        fronts,
        closer: inbox.closer(),
        result: Arc::new(AtomicU8::new(ShutdownResult::LeftBehind as u8)),
    };
    let result = Arc::clone(&ending.result);
    let control = thread::spawn("control", thread::STACK, move || ending.carry_out())
        .map_err(start_error("can't start the thread \"control\", which ends the daemon", RAISE_LIMITS))?;
    inbox.for_each(|signal| match signal {
        ReceivedSignal::ChildEnded => context.system.reaper.sweep(),
        ReceivedSignal::Terminate { name } => drop(control_tx.send(Control::Terminate { signal: name })),
        ReceivedSignal::Ignored { name } => {
            log::info(format_args!("{name} is ignored: nothing is read or opened again; SIGTERM ends servisor"));
        }
    });
    control.join_by(Instant::now() + CONTROL_LIMIT);
    drop((socket, visits_socket));
    store.remove_address();
    if result.load(Ordering::SeqCst) == ShutdownResult::Clean as u8 {
        store.end_clean();
        Ok(ShutdownResult::Clean)
    } else {
        Ok(ShutdownResult::LeftBehind)
    }
}

/// Warns of secrets among the files that servers work on: a file server there would publish them.
fn warn_of_exposed_secrets(config: &Config) {
    let below = |path: &Path| match (path.canonicalize(), config.root.canonicalize()) {
        (Ok(path), Ok(root)) => path.starts_with(root),
        (Err(_), _) | (_, Err(_)) => false,
    };
    let root = config.root.display();
    if below(&config.state_dir) {
        log::warn(format_args!(
            "the state directory {} lies under the root {root}: a server that serves the root's files serves the access \
             token and the servers' variables too; give --state-dir or --root another place",
            config.state_dir.display()
        ));
    }
    if let AuthSource::File(path) = &config.auth
        && below(path)
    {
        log::warn(format_args!(
            "the access token file {} lies under the root {root}: a server that serves the root's files serves it too; \
             put it in another place",
            path.display()
        ));
    }
}

fn context(
    urls: Urls,
    store: &Store,
    processes: Processes,
    open_files: Option<u64>,
    (log_bytes, log_files): (usize, Option<LogFiles>),
    overlays: &Arc<Overlays>,
    control: Sender<Control>,
) -> io::Result<Arc<Context>> {
    let Processes { reaper, tracker, leaders, marker } = processes;
    Ok(Arc::new(Context {
        system: Arc::new(Kernel {
            reaper,
            watcher: Watcher::start(Arc::clone(&tracker))?,
            prober: Prober::start()?,
            tracker,
            leaders,
            launches: Launches::default(),
        }),
        public_url: urls.template,
        proxy: urls.proxy,
        overlays: Arc::clone(overlays),
        ports: Arc::new(Ports::new(marker.clone())),
        files: Arc::clone(store.servers()),
        books: Arc::new(Books::load(Arc::clone(store.runs()))),
        oom: OomCounter::new(),
        environment: supervisor::visible_environment(env::vars_os()),
        open_files,
        marker,
        log_bytes,
        log_files,
        control,
        changes: Arc::default(),
    }))
}

fn auth(config: &Config, store: &Store) -> Result<Auth, StartError> {
    match &config.auth {
        AuthSource::Off => Ok(Auth::Off),
        AuthSource::Given(token) => Ok(Auth::Token(token.clone())),
        AuthSource::Kept => read_token(&store.token_path(), store.token().map_err(StartError)),
        AuthSource::File(path) => {
            let read = read_named(path, TOKEN_FILE_MAX)
                .and_then(|text| String::from_utf8(text).map_err(|_| io::Error::other("it is not UTF-8")));
            let shown = path.display();
            let failed = |error| StartError(format!("access token file {shown} can't be read: {error}"));
            read_token(path, read.map_err(failed))
        }
    }
}

fn read_token(path: &Path, word: Result<String, StartError>) -> Result<Auth, StartError> {
    let token = Token::parse(word?.trim())
        .map_err(|why| StartError(format!("the access token in {} {why}; write one word", path.display())))?;
    Ok(Auth::Token(token))
}
