//! Requests and answers that are larger than any buffer on their way, many at a time: none of them may wait for
//! another.

use std::collections::HashMap;

use serde_json::json;

use crate::support::Daemon;

/// Far above what the system keeps of a socket's data, in bytes, and below what a body may have.
const LARGE: usize = 900 * 1024;
const VARIABLES: usize = 8;
const CLIENTS: usize = 8;
const ROUNDS: usize = 2;

#[test]
fn large_bodies_and_large_answers_pass_each_other() {
    let daemon = Daemon::start();
    let client = &daemon.client;
    let value = "x".repeat(LARGE / VARIABLES);
    let environment: HashMap<String, &str> = (0..VARIABLES).map(|number| (format!("V{number}"), &*value)).collect();
    let make_and_read = |number: usize| {
        for round in 0..ROUNDS {
            let slug = format!("s{number}-{round}");
            let answer = client.create(&json!({
                "slug": slug, "start": "true", "autostart": false, "environment": environment,
            }));
            assert_eq!(answer.status, 201, "{:.200}", answer.text());
            assert!(client.get("/servers").text().len() > LARGE);
            assert!(client.get(&format!("/servers/{slug}")).text().len() > LARGE);
        }
    };
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let make_and_read = &make_and_read;
            scope.spawn(move || make_and_read(number));
        }
    });
    let all = client.get("/servers").json();
    assert_eq!(all["data"]["servers"].as_array().unwrap().len(), CLIENTS * ROUNDS);
}
