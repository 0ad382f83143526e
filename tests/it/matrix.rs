//! Wherever a server listens and however it was started: its port, its URL, and health checks that reach it.

use std::thread;

use serde_json::json;

use crate::support::{Daemon, quiet_port, testchild, wait_until};

const ADDRESSES: [&str; 4] = ["0.0.0.0", "[::]", "127.0.0.1", "[::1]"];
const WAYS: [Way; 4] = [Way::Directly, Way::ByShell, Way::ByNpm, Way::ByPython];
const WRAPPER: &str = "import subprocess, sys\nsys.exit(subprocess.call(sys.argv[1:]))\n";

#[derive(Debug, Clone, Copy)]
enum Way {
    Directly,
    ByShell,
    ByNpm,
    ByPython,
}

struct Case {
    slug: String,
    ip: &'static str,
    way: Way,
    /// The port that it is given, and the one that it takes.
    given: u16,
    taken: u16,
}

impl Case {
    fn all() -> Vec<Case> {
        let mut all = Vec::new();
        for ip in ADDRESSES {
            for way in WAYS {
                for ignores in [false, true] {
                    let given = quiet_port();
                    let taken = if ignores { given + 1 } else { given };
                    all.push(Case { slug: format!("s{}", all.len()), ip, way, given, taken });
                }
            }
        }
        all
    }

    fn start(&self, daemon: &Daemon) -> String {
        let port = if self.given == self.taken { "PORT".to_owned() } else { self.taken.to_string() };
        let serve = format!("{} serve {}:{port} 200 stay", testchild(), self.ip);
        let write = |name: &str, text: &str| std::fs::write(daemon.root.join(&self.slug).join(name), text).unwrap();
        match self.way {
            Way::Directly => serve,
            Way::ByShell => format!("true && {serve} && true"),
            Way::ByNpm => {
                write("package.json", &json!({"scripts": {"dev": serve}}).to_string());
                "npm run dev".into()
            }
            Way::ByPython => {
                write("wrapper.py", WRAPPER);
                format!("python3 wrapper.py {serve}")
            }
        }
    }

    /// What is wrong with what the daemon makes of it.
    fn check(&self, daemon: &Daemon) -> Result<(), String> {
        std::fs::create_dir(daemon.root.join(&self.slug)).unwrap();
        let spec = json!({
            "slug": self.slug, "start": self.start(daemon), "path": self.slug, "port": self.given,
            "health_check": {"path": "/health"}, "environment": {"NO_UPDATE_NOTIFIER": "1"},
        });
        daemon.client.create(&spec).server(201);
        let server = daemon.client.get(&format!("/servers/{}?wait_for=ready&timeout_ms=50000", self.slug)).server(200);
        let expected = json!({
            "status": "ready", "port": self.taken, "requested_port": self.given, "ports": [self.taken],
            "url": format!("http://localhost:{}", self.taken), "healthy": true, "health_status": "healthy",
        });
        for (field, value) in expected.as_object().unwrap() {
            if server[field] != *value {
                return Err(format!("{field} is {}, not {value}, of {server:#}", server[field]));
            }
        }
        let reached = match self.ip {
            "[::1]" => format!(" to [::1]:{}", self.taken),
            "[::]" => format!(" to [::ffff:127.0.0.1]:{}", self.taken),
            _ => format!(" to 127.0.0.1:{}", self.taken),
        };
        // The answer that made it ready may be faster than its line in the log.
        let request = wait_until("its request is in the log", || {
            let logs = daemon.client.logs(&self.slug, "");
            logs.lines().find(|line| line.starts_with("request ")).map(str::to_owned)
        });
        let host = format!("Host: localhost:{},", self.taken);
        if !(request.contains("GET_/health_") && request.contains(&reached) && request.contains(&host)) {
            return Err(format!("no request{reached} with {host} but {request}"));
        }
        Ok(())
    }
}

#[test]
fn wherever_it_listens_and_however_it_was_started() {
    let daemon = Daemon::start();
    let cases = Case::all();
    let results: Vec<_> = thread::scope(|scope| {
        let checks: Vec<_> = cases.iter().map(|case| scope.spawn(|| case.check(&daemon))).collect();
        checks.into_iter().map(|check| check.join().unwrap()).collect()
    });
    let wrong: Vec<_> = cases
        .iter()
        .zip(results)
        .filter_map(|(case, result)| {
            let ignores = if case.given == case.taken { "honours" } else { "ignores" };
            result.err().map(|why| format!("{} {:?} {ignores} PORT: {why}", case.ip, case.way))
        })
        .collect();
    println!("{} of {} right", cases.len() - wrong.len(), cases.len());
    assert_eq!((cases.len(), wrong.len()), (32, 0), "{}", wrong.join("\n"));
}
