//! `top`: processor time and memory of servers, again and again.
//!
//! Owns: the rate between two answers, and the redraw. Never: a look of its own at processes.

use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::CommandContext;
use super::show::{all_or_named, print_json};
use crate::cli::server::{Server, colour, digits, precise, short, size};
use crate::cli::table::Table;
use crate::cli::{CliExit, Failure};
use crate::json::Value;

const EVERY: Duration = Duration::from_secs(2);
/// To the top left corner, and what is below it erased.
const REDRAW: &str = "\x1b[H\x1b[J";

pub fn top(context: &mut CommandContext<'_>) -> Result<CliExit, Failure> {
    let mut before: Vec<Value> = Vec::new();
    let mut asked_at = Instant::now();
    loop {
        let millis = u64::try_from(asked_at.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        asked_at = Instant::now();
        let mut servers = Vec::new();
        let exit = all_or_named(context, "/servers?stats=true", &mut |_, server| servers.push(server))?;
        if context.given.has("--json") {
            servers.iter().for_each(|server| print_json(context, Server(server)));
            return Ok(exit);
        }
        let lives = context.to.is_interactive();
        if lives {
            context.to.print(REDRAW);
        }
        largest_first(&mut servers);
        let mut table = Table::new("NAME|STATUS|UP|CPU|CPU TIME|MEMORY|RESIDENT|PROCESSES");
        let now = SystemTime::now();
        for server in servers.iter().map(Server) {
            let stats = Server(server.field("stats"));
            let last = before.iter().map(Server).find(|last| last.slug() == server.slug());
            let last = last.map(|last| Server(last.field("stats")));
            let share = match (stats.number("cpu_ms"), last.and_then(|last| last.number("cpu_ms"))) {
                (Some(cpu), Some(last)) => Some(cpu.saturating_sub(last) * 100 / millis),
                (_, _) => None,
            };
            table.cell(server.slug());
            table.coloured(server.status(), colour(server.status()));
            table.number(server.up(now), short);
            table.number(share, |share, to| {
                digits(share, to);
                to.push('%');
            });
            table.number(stats.number("cpu_ms"), precise);
            table.number(stats.number("memory_bytes"), size);
            table.number(stats.number("rss_bytes"), size);
            table.number(stats.number("processes"), digits);
        }
        table.print(context.to);
        // An error of stdout is reported at the end.
        context.to.write_out();
        if !lives || context.to.is_closed() {
            return Ok(exit);
        }
        before = servers;
        thread::sleep(EVERY);
    }
}

/// By memory. Selected one by one: for some hundred rows that is as good as a sort of 3 KiB of code.
fn largest_first(servers: &mut [Value]) {
    let memory = |server: &Value| Server(Server(server).field("stats")).number("memory_bytes").unwrap_or(0);
    for place in 0..servers.len() {
        let mut largest = place;
        for other in place + 1..servers.len() {
            if memory(&servers[other]) > memory(&servers[largest]) {
                largest = other;
            }
        }
        servers[place..=largest].rotate_right(1);
    }
}
