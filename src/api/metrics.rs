//! `GET /metrics`: the Prometheus text format 0.0.4.
//!
//! Owns: the names, units and labels of the series. Never: a count of its own. Labels need no escaping: slugs,
//! versions and names of the API have no special characters.

use std::fmt::{Display, Write};
use std::sync::Arc;
use std::time::Duration;

use super::Api;
use crate::handoff::{Client, Reply};
use crate::model::ending::Reason;
use crate::model::health::HealthStatus;
use crate::model::status::Status;
use crate::model::time::since_epoch;
use crate::model::view::ServerView;
use crate::os::proc;
use crate::supervisor::Supervisor;

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The samples of all families, each family under its `# HELP` and `# TYPE`.
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        for text in ["# HELP ", name, " ", help, "\n# TYPE ", name, " ", kind, "\n"] {
            self.0.push_str(text);
        }
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: &dyn Display) {
        self.0.push_str(name);
        for (place, (label, text)) in labels.iter().enumerate() {
            for part in [if place == 0 { "{" } else { "," }, label, "=\"", text, "\""] {
                self.0.push_str(part);
            }
        }
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "{}{value}", if labels.is_empty() { " " } else { "} " });
    }

    /// A family of one sample without labels.
    fn single(&mut self, name: &str, kind: &str, help: &str, value: &dyn Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    /// A family with at most one sample for each server.
    fn each(
        &mut self,
        (name, kind, help): (&str, &str, &str),
        servers: &[(Arc<Supervisor>, Arc<ServerView>)],
        value: &dyn Fn(&Supervisor, &ServerView) -> SampleValue,
    ) {
        self.family(name, kind, help);
        for (supervisor, view) in servers {
            if let Some(value) = value(supervisor, view) {
                self.sample(name, &[("slug", supervisor.slug().as_str())], &*value);
            }
        }
    }
}

type SampleValue = Option<Box<dyn Display>>;

/// Seconds with a fraction, without the code for floating point.
struct Seconds(Duration);

impl Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:06}", self.0.as_secs(), self.0.subsec_micros())
    }
}

fn boxed(value: impl Display + 'static) -> SampleValue {
    Some(Box::new(value))
}

/// What visitors of servers got.
fn visits(page: &mut Page, servers: &[(Arc<Supervisor>, Arc<ServerView>)]) {
    const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
    page.family("servisor_proxy_requests_total", "counter", "Requests of visitors, by class of the answer.");
    for (one, _) in servers {
        for (class, count) in CLASSES.iter().zip(one.traffic().totals().answers).filter(|(_, count)| *count > 0) {
            let labels = [("slug", one.slug().as_str()), ("code", class)];
            page.sample("servisor_proxy_requests_total", &labels, &count);
        }
    }
    page.family("servisor_proxy_bytes_total", "counter", "Bytes between visitors and servers.");
    for (one, _) in servers {
        let totals = one.traffic().totals();
        for (direction, bytes) in [("in", totals.received), ("out", totals.sent)].into_iter().filter(|(_, b)| *b > 0) {
            let labels = [("slug", one.slug().as_str()), ("direction", direction)];
            page.sample("servisor_proxy_bytes_total", &labels, &bytes);
        }
    }
}

/// All series.
pub fn answer(api: &Api, client: &dyn Client) -> Reply {
    let stats = api.registry.stats();
    let servers: Vec<_> = api.registry.supervisors().into_iter().map(|one| (Arc::clone(&one), one.view())).collect();
    let mut page = Page(String::with_capacity(4096 + 2048 * servers.len()));
    page.family("servisor_build_info", "gauge", "The version of the daemon.");
    page.sample("servisor_build_info", &[("version", env!("CARGO_PKG_VERSION"))], &1);
    page.family("servisor_servers", "gauge", "Servers by status.");
    for (word, status) in Status::ALL {
        let count = servers.iter().filter(|(_, view)| view.status == status).count();
        page.sample("servisor_servers", &[("status", word)], &count);
    }
    page.family("servisor_server_status", "gauge", "1 for the present status of a server, 0 for the others.");
    for (one, view) in &servers {
        for (word, status) in Status::ALL {
            let labels = [("slug", one.slug().as_str()), ("status", word)];
            page.sample("servisor_server_status", &labels, &u8::from(view.status == status));
        }
    }
    let health = |view: &ServerView| view.health.clone().filter(|_| view.pid.is_some());
    let family = ("servisor_server_healthy", "gauge", "1 if the health check passes.");
    page.each(family, &servers, &|_, view| boxed(u8::from(health(view)?.status == HealthStatus::Healthy)));
    let family = ("servisor_server_health_check_seconds", "gauge", "Duration of the last health check.");
    page.each(family, &servers, &|_, view| boxed(Seconds(health(view)?.last_took?)));
    let family = ("servisor_server_start_time_seconds", "gauge", "Start of the present run, since the epoch.");
    let began = |one: &Supervisor| Some(one.book().newest(0).0?.0).filter(|run| run.pid.is_some());
    page.each(family, &servers, &|one, _| boxed(Seconds(since_epoch(began(one)?.started_at))));
    let family =
        ("servisor_server_start_to_ready_seconds", "gauge", "Time from the start of the present run to ready.");
    page.each(family, &servers, &|one, _| boxed(Seconds(began(one)?.ready_after?)));
    let family = ("servisor_server_restarts_total", "counter", "Automatic restarts.");
    page.each(family, &servers, &|one, _| boxed(one.book().counters().restarts));
    page.family("servisor_server_exits_total", "counter", "Ended runs by reason.");
    for (one, _) in &servers {
        for ((word, _), count) in Reason::ALL.iter().zip(one.book().counters().exits).filter(|(_, count)| *count > 0) {
            let labels = [("slug", one.slug().as_str()), ("reason", word)];
            page.sample("servisor_server_exits_total", &labels, &count);
        }
    }
    let family = ("servisor_server_cpu_seconds_total", "counter", "Processor time of all runs.");
    page.each(family, &servers, &|one, _| boxed(Seconds(one.book().counters().cpu)));
    page.family("servisor_server_memory_bytes", "gauge", "Memory of the process tree.");
    for (slug, used) in stats.iter() {
        for (kind, bytes) in [("private", used.memory_bytes), ("resident", used.rss_bytes)] {
            page.sample("servisor_server_memory_bytes", &[("slug", slug.as_str()), ("kind", kind)], &bytes);
        }
    }
    let family = ("servisor_server_processes", "gauge", "Processes of the tree.");
    page.each(family, &servers, &|one, _| boxed(stats.get(one.slug())?.processes));
    page.family("servisor_server_log_bytes_total", "counter", "Bytes of output.");
    for (one, _) in &servers {
        for (stream, bytes) in ["stdout", "stderr"].iter().zip(one.log().totals().written) {
            let labels = [("slug", one.slug().as_str()), ("stream", stream)];
            page.sample("servisor_server_log_bytes_total", &labels, &bytes);
        }
    }
    let family = ("servisor_server_log_dropped_bytes_total", "counter", "Bytes of output that are not kept any more.");
    page.each(family, &servers, &|one, _| boxed(one.log().totals().dropped));
    page.single("servisor_api_connections", "gauge", "Connections to the API.", &client.connections());
    visits(&mut page, &servers);
    let visitors = api.proxy.as_ref().map_or(0, |proxy| proxy.connections());
    page.single("servisor_proxy_connections", "gauge", "Connections that serve visitors of servers.", &visitors);
    let own = proc::own();
    if let Some(cpu) = own.cpu {
        page.single("process_cpu_seconds_total", "counter", "Processor time of the daemon.", &Seconds(cpu));
    }
    page.single("process_resident_memory_bytes", "gauge", "Resident memory of the daemon.", &own.resident);
    if let Some(open) = own.open_fds {
        page.single("process_open_fds", "gauge", "Open descriptors of the daemon.", &open);
    }
    if let Some(began) = own.started {
        let help = "Start of the daemon, since the epoch.";
        page.single("process_start_time_seconds", "gauge", help, &Seconds(since_epoch(began)));
    }
    Reply { status: 200, headers: Vec::new(), content_type: Some(CONTENT_TYPE), body: page.0.into_bytes().into() }
}
