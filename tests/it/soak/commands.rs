//! The command line, as a program beside the daemon.

use super::Soak;
use super::model::State;
use crate::cli;

impl Soak {
    /// `stop`, `start`, `restart` or `rm`, with the exit code that is documented.
    pub(super) fn act_by_command(&self, what: &str, slug: &str) {
        let ran = cli::run(&self.daemon, &[what, slug]);
        let known = self.model.get(slug);
        let is_new = match what {
            "restart" => true,
            "start" => known.is_some_and(|server| server.state != State::Up),
            _ => false,
        };
        let expected: &[i32] = match known {
            None => &[4],
            // It may be seen before it has failed.
            Some(server) if is_new && server.spec.started().0 == State::Failed => &[0, 1],
            Some(_) => &[0],
        };
        assert!(ran.code.is_some_and(|code| expected.contains(&code)), "{what} {slug}: {expected:?} {ran:?}");
    }

    pub(super) fn look_by_command(&mut self, slug: &str) {
        let is_known = self.model.contains_key(slug);
        let words: &[&str] = match self.random.below(5) {
            0 => {
                let listed = cli::run(&self.daemon, &["ps", "-q"]).done();
                let slugs: Vec<&str> = self.model.keys().map(String::as_str).collect();
                assert_eq!(listed.lines().collect::<Vec<_>>(), slugs);
                return;
            }
            1 => &["status", slug],
            2 => &["logs", "-n", "3", slug],
            3 => &["runs", slug],
            _ => &["ps", "--json", slug],
        };
        let ran = cli::run(&self.daemon, words);
        assert_eq!(ran.code, Some(if is_known { 0 } else { 4 }), "{words:?}: {ran:?}");
        if words[0] == "status" && is_known {
            let status = self.daemon.client.show(slug)["status"].as_str().unwrap().to_owned();
            let is_settled = !["starting", "running", "ready"].contains(&status.as_str());
            assert!(!is_settled || ran.out.starts_with(&format!("{slug} is {status}")), "{status}: {ran:?}");
        }
    }
}
