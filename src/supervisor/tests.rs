//! The life of a server in a world without processes: deaths, restarts, stops, shortages, faults.
//!
//! The test is the supervisor's thread, and its clock: whatever follows from a step has happened when the step returns.

use crate::testing::Scratch;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::actor::{Actor, Flow};
use super::system::System;
use super::{ChangeCount, Changes, CommandReply, Context, Origin, Pending, ProxyDefaults, Supervisor};
use crate::api::input;
use crate::control::Control;
use crate::model::machine::{Command, Exit};
use crate::model::public_url::PublicUrl;
use crate::model::spec::ServerSpec;
use crate::model::status::Status;
use crate::model::view::ServerView;
use crate::os::Pid;
use crate::os::inbox::{Inbox, inbox};
use crate::overlay::Overlays;
use crate::overlay::record::NoRecords;
use crate::ports::Ports;
use crate::runs::ClosedBook;
use crate::runs::books::Books;
use crate::store::files::Files;

mod ends;
mod faults;
mod health;
mod stops;
mod visits;
mod world;

use world::{AtStop, Group, World};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const TERM: i32 = libc::SIGTERM;
const KILL: i32 = libc::SIGKILL;
const CONT: i32 = libc::SIGCONT;

impl Scratch {
    fn with_root() -> Scratch {
        let scratch = Scratch::new();
        std::fs::create_dir(scratch.0.join("root")).unwrap();
        scratch
    }
}

/// One server, its supervisor, and the world around them.
struct Scene {
    world: Arc<World>,
    supervisor: Arc<Supervisor>,
    actor: Actor<World>,
    /// The next alarm of the supervisor; `None` when it has ended.
    alarm: Option<Option<Instant>>,
    changes: Arc<Changes>,
    _control: Inbox<Control>,
    scratch: Scratch,
}

/// The configuration `fields`, with a slug and a start command.
fn spec(scratch: &Scratch, mut fields: Value) -> Arc<ServerSpec> {
    fields["slug"] = json!("web");
    if fields["start"].is_null() {
        fields["start"] = json!("serve");
    }
    let (spec, _) = input::server_spec(fields.to_string().as_bytes(), &scratch.0.join("root")).unwrap();
    Arc::new(spec)
}

fn context(
    world: &Arc<World>,
    scratch: &Scratch,
    proxy: Option<ProxyDefaults>,
) -> (Arc<Context<World>>, Inbox<Control>) {
    let (control, inbox) = inbox();
    let files = Arc::new(Files::open(scratch.0.join("servers")).unwrap());
    let books = Arc::new(Files::open(scratch.0.join("runs")).unwrap());
    let context = Context {
        system: Arc::clone(world),
        ports: Arc::new(Ports::new("test".into())),
        overlays: Overlays::new(&scratch.0.join("root"), Arc::new(NoRecords), Vec::new()),
        public_url: if proxy.is_some() { PublicUrl::by_slug(18080) } else { PublicUrl::default() },
        proxy,
        files,
        books: Arc::new(Books::load(books)),
        oom: Default::default(),
        environment: Vec::new(),
        open_files: None,
        marker: "test".into(),
        log_bytes: 1 << 16,
        log_files: None,
        control,
        changes: Arc::default(),
    };
    (Arc::new(context), inbox)
}

impl Scene {
    /// A server that was not started.
    fn new(fields: Value) -> Scene {
        Scene::of(Origin::Client, fields)
    }

    fn of(origin: Origin, fields: Value) -> Scene {
        Scene::with(origin, fields, None)
    }

    fn with(origin: Origin, fields: Value, proxy: Option<ProxyDefaults>) -> Scene {
        let (world, scratch) = (World::new(), Scratch::with_root());
        let (context, control) = context(&world, &scratch, proxy);
        let (supervisor, parts) = Supervisor::new(&context, spec(&scratch, fields), origin);
        let (changes, slug) = (Arc::clone(&context.changes), supervisor.slug().clone());
        let actor = Actor::new(parts, Box::new(move || changes.delete(&slug, ClosedBook::default())));
        Scene {
            world,
            supervisor,
            actor,
            alarm: Some(None),
            changes: Arc::clone(&context.changes),
            _control: control,
            scratch,
        }
    }

    /// A server that was just created and runs.
    fn running(fields: Value) -> Scene {
        let mut scene = Scene::new(fields);
        let created = scene.supervisor.create();
        scene.settle();
        assert!(matches!(created.wait(Instant::now()), CommandReply::Done(_)), "{:?}", scene.view());
        scene
    }

    /// Lets everything happen that follows without time passing.
    fn settle(&mut self) {
        loop {
            let message = match self.actor.turn() {
                Flow::Over => return self.alarm = None,
                Flow::Due => None,
                Flow::Wait(alarm) => match self.actor.next_message() {
                    Some(message) => Some(message),
                    None => return self.alarm = Some(alarm),
                },
            };
            self.actor.take(message);
        }
    }

    /// Lets time pass, alarm by alarm.
    fn pass(&mut self, time: Duration) {
        let end = self.world.now() + time;
        loop {
            self.settle();
            let alarms = [self.alarm.flatten(), self.world.alarm()];
            match alarms.into_iter().flatten().min() {
                Some(alarm) if alarm <= end => self.world.set_clock(alarm),
                Some(_) | None => break,
            }
        }
        self.world.set_clock(end);
        self.settle();
    }

    /// Gives a command and lets everything happen that follows at once.
    fn send(&mut self, command: Command) -> Pending {
        let pending = self.supervisor.command(command);
        self.settle();
        pending
    }

    /// The same for a command that is done at once.
    #[track_caller]
    fn obeys(&mut self, command: Command) {
        let pending = self.send(command);
        let reply = pending.wait(Instant::now());
        assert!(matches!(reply, CommandReply::Done(_)), "{command:?}: {reply:?}");
    }

    /// The leader ends by itself.
    fn exit(&mut self, exit: Exit) -> Pid {
        let leader = self.world.leader();
        self.world.exit(leader, exit);
        self.settle();
        leader
    }

    fn view(&self) -> Arc<ServerView> {
        self.supervisor.view()
    }

    /// The status and its reason.
    fn status(&self) -> (Status, String) {
        let view = self.view();
        (view.status, view.reason.clone().unwrap_or_default())
    }

    /// The times between the spawns.
    fn gaps(&self) -> Vec<u128> {
        let spawned = self.world.spawned();
        spawned.windows(2).map(|pair| (pair[1].0 - pair[0].0).as_millis()).collect()
    }

    /// Whether its configuration is stored.
    fn is_stored(&self) -> bool {
        self.scratch.0.join("servers/web.json").exists()
    }
}

fn is_late(pending: &Pending) -> bool {
    matches!(pending.wait(Instant::now()), CommandReply::Late(_))
}

fn is_done(pending: &Pending) -> bool {
    matches!(pending.wait(Instant::now()), CommandReply::Done(_))
}
