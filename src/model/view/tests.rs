//! What counts for readiness, and when a status that is waited for is reached.

use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use super::*;
use crate::model::spec::{CommandLine, HealthCheck, RestartPolicy, RestartRules, Slug, Stdin, WorkDir};
use crate::model::stop::StopRules;

fn view(change: impl FnOnce(&mut ServerSpec, &mut Facts)) -> Arc<ServerView> {
    let mut spec = ServerSpec {
        slug: Slug::parse("web").unwrap(),
        start: CommandLine::parse("node server.js").unwrap(),
        install: None,
        path: WorkDir { original: None, resolved: PathBuf::from("/") },
        port: None,
        strict_port: false,
        ignore_ports: Vec::new(),
        environment: Default::default(),
        env_file: None,
        restart: RestartRules { policy: RestartPolicy::Never, max: None, delay: Duration::ZERO, delay_max: None },
        stop_timeout: Duration::ZERO,
        stop: StopRules::default(),
        autostart: true,
        health_check: None,
        overlays: Vec::new(),
        depends_on: Vec::new(),
        stdin: Stdin::Null,
        proxy: Default::default(),
    };
    let mut facts =
        Facts { status: Status::Running, activity: Activity::Active, listens: false, health: None, since: None };
    change(&mut spec, &mut facts);
    Arc::new(ServerView {
        spec: Arc::new(spec),
        status: facts.status,
        reason: None,
        pid: None,
        port: None,
        ports: if facts.listens { vec![Port::new(3000).unwrap()] } else { Vec::new() },
        is_listening: facts.listens,
        url: facts.listens.then(|| "http://localhost:3000".to_owned()),
        key: None,
        starts_on_visit: false,
        health: facts.health.map(|status| Health { status, ..Health::default() }),
        activity: facts.activity,
        overlays: Vec::new(),
        waits_for: Vec::new(),
        restarts: 0,
        exit: None,
        created_at: UNIX_EPOCH,
        updated_at: UNIX_EPOCH,
        started_at: None,
        ready_at: None,
        alive_since: facts.since,
        last_run: None,
    })
}

struct Facts {
    status: Status,
    activity: Activity,
    listens: bool,
    health: Option<HealthStatus>,
    since: Option<Instant>,
}

fn check() -> HealthCheck {
    HealthCheck {
        path: "/".into(),
        interval: Duration::from_secs(2),
        timeout: Duration::from_secs(1),
        delay: Duration::ZERO,
        restart_after_failures: None,
    }
}

#[test]
fn with_no_servers_everything_is_ready() {
    assert_eq!(Readiness::of(&[], Instant::now()), Readiness { reachable: true, healthy: true, recheck_at: None });
}

#[test]
fn who_counts_and_who_does_not() {
    let now = Instant::now();
    let of = |view| Readiness::of(&[view], now);
    let ready = |view| of(view).reachable;
    assert!(ready(view(|_, facts| facts.listens = true)));
    assert!(!ready(view(|_, facts| facts.since = Some(now))));
    // A failed server never has its URL; one that is not started by itself, or was stopped, does not hold up readiness.
    assert!(!ready(view(|_, facts| (facts.status, facts.activity) = (Status::Failed, Activity::Ended))));
    assert!(!ready(view(|_, facts| (facts.status, facts.activity) = (Status::Stopped, Activity::Ended))));
    assert!(ready(view(|_, facts| (facts.status, facts.activity) = (Status::Stopped, Activity::Stopped))));
    assert!(ready(view(|spec, _| spec.autostart = false)));
    let checked = |status| of(view(|_, facts| (facts.listens, facts.health) = (true, Some(status))));
    for (status, healthy) in
        [(HealthStatus::Healthy, true), (HealthStatus::Checking, false), (HealthStatus::Unhealthy, false)]
    {
        assert_eq!(checked(status), Readiness { reachable: true, healthy, recheck_at: None });
    }
}

#[test]
fn a_worker_is_known_by_its_silence() {
    let since = Instant::now();
    let at = |seconds| since + Duration::from_secs(seconds);
    let worker = view(|_, facts| facts.since = Some(since));
    let early = Readiness::of(&[Arc::clone(&worker)], at(9));
    assert_eq!(early, Readiness { reachable: false, healthy: true, recheck_at: Some(at(10)) });
    assert!(Readiness::of(&[worker], at(10)).reachable);
    for expected in [
        view(|spec, facts| (spec.port, facts.since) = (Port::new(3000), Some(since))),
        view(|spec, facts| (spec.health_check, facts.since) = (Some(check()), Some(since))),
    ] {
        assert_eq!(
            Readiness::of(&[expected], at(3600)),
            Readiness { reachable: false, healthy: true, recheck_at: None }
        );
    }
}

#[test]
fn a_status_is_reached_on_the_way_or_out_of_reach() {
    let at = |status, rests| view(|_, facts| (facts.status, facts.activity) = (status, rests));
    let progress = |status, rests, goal| at(status, rests).reach_of(goal);
    assert_eq!(progress(Status::Starting, Activity::Active, Status::Ready), Reach::Possible);
    assert_eq!(progress(Status::Ready, Activity::Active, Status::Running), Reach::Reached);
    assert_eq!(progress(Status::Ready, Activity::Active, Status::Ready), Reach::Reached);
    assert_eq!(progress(Status::Restarting, Activity::Active, Status::Ready), Reach::Possible);
    assert_eq!(progress(Status::Running, Activity::Active, Status::Stopped), Reach::Possible);
    assert_eq!(progress(Status::Failed, Activity::Ended, Status::Ready), Reach::Impossible);
    assert_eq!(progress(Status::Stopped, Activity::Stopped, Status::Failed), Reach::Impossible);
    assert_eq!(progress(Status::Stopped, Activity::Stopped, Status::Stopped), Reach::Reached);
}
