//! What a command costs.

use std::time::{Duration, Instant};

use serde_json::json;

use super::super::support::{Daemon, median_and_max};
use super::{command, line};

mod timed {
    use super::*;

    #[test]
    fn ps_of_a_hundred_servers() {
        let daemon = Daemon::start();
        for number in 0..100 {
            let spec =
                json!({"slug": format!("s{number}"), "start": "sleep 600", "environment": {"A": "x".repeat(100)}});
            daemon.client.create(&spec).server(201);
        }
        assert_eq!(line(&daemon, "ps").done().lines().count(), 101);
        let mut times = Vec::new();
        for _ in 0..20 {
            let begun = Instant::now();
            assert!(command(&daemon, &["ps"]).output().unwrap().status.success());
            times.push(begun.elapsed());
        }
        let (median, max) = median_and_max(&mut times);
        println!("ps of 100 servers: median {median:?}, max {max:?}");
        // 10 ms by the release build on a quiet machine.
        assert!(median < Duration::from_millis(200), "{times:?}");
    }
}
