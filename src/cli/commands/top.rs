//! `top`: processor time and memory of servers, again and again.
//!
//! Owns: the rate between two answers, and the redraw. Never: a look of its own at processes.

use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use super::Context;
use super::look::{all_or_named, cell, print_json};
use crate::cli::server::{self, Server, colour};
use crate::cli::table::{Cell, Table};
use crate::cli::{Exit, Failure};

const EVERY: Duration = Duration::from_secs(2);
/// To the top left corner, and what is below it erased.
const REDRAW: &str = "\x1b[H\x1b[J";

/// `servisor top`.
pub fn top(context: &mut Context<'_>) -> Result<Exit, Failure> {
    let mut before: Vec<(String, u64, u64)> = Vec::new();
    let mut asked_at = Instant::now();
    loop {
        let since = asked_at.elapsed();
        asked_at = Instant::now();
        let (mut servers, exit) = all_or_named(context, "/servers?stats=true")?;
        if context.given.has("--json") {
            servers.iter().for_each(|server| print_json(context, server));
            return Ok(exit);
        }
        let lives = context.to.is_interactive();
        if lives {
            context.to.print(REDRAW);
        }
        largest_first(&mut servers);
        let mut table = Table::new(&["NAME", "STATUS", "UP", "CPU", "CPU TIME", "MEMORY", "RESIDENT", "PROCESSES"]);
        for server in &servers {
            table.row(row(server, &before, since));
        }
        table.print(context.to);
        if !lives || context.to.flush().is_err() {
            return Ok(exit);
        }
        before = servers.iter().filter_map(usage).collect();
        thread::sleep(EVERY);
    }
}

/// By memory. Selected one by one: for some hundred rows that is as good as a sort of 3 KiB of code.
fn largest_first(servers: &mut [Value]) {
    let memory = |server: &Value| stat(server, "memory_bytes").unwrap_or(0);
    for place in 0..servers.len() {
        let largest = (place..servers.len()).rev().max_by_key(|&other| memory(&servers[other]));
        servers[place..=largest.unwrap_or(place)].rotate_right(1);
    }
}

fn stat(server: &Value, name: &str) -> Option<u64> {
    server.get("stats")?.get(name)?.as_u64()
}

/// Slug, run and processor time.
fn usage(server: &Value) -> Option<(String, u64, u64)> {
    Some((Server(server).slug().to_owned(), stat(server, "run")?, stat(server, "cpu_ms")?))
}

fn row(server: &Value, before: &[(String, u64, u64)], since: Duration) -> Vec<Cell> {
    let view = Server(server);
    let share = usage(server).and_then(|(slug, run, cpu)| {
        let (_, _, last) = before.iter().find(|(other, number, _)| *other == slug && *number == run)?;
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX).max(1);
        Some(cpu.saturating_sub(*last) * 100 / millis)
    });
    let bytes = |name: &str| cell(stat(server, name).map(server::size).unwrap_or_default());
    vec![
        cell(view.slug()),
        (view.status().to_owned(), colour(view.status())),
        cell(view.up(SystemTime::now()).map(server::short).unwrap_or_default()),
        cell(share.map(|percent| format!("{percent}%")).unwrap_or_default()),
        cell(stat(server, "cpu_ms").map(server::precise).unwrap_or_default()),
        bytes("memory_bytes"),
        bytes("rss_bytes"),
        cell(stat(server, "processes").map(|count| count.to_string()).unwrap_or_default()),
    ]
}
