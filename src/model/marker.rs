//! The word that each process of a run carries in its environment, and that proves whose it is.
//!
//! Owns: how the word is made and taken apart. Never: how it gets into an environment or out of one.

use super::machine::RunId;
use super::spec::Slug;

/// The marker of a run of `slug`, for a daemon whose markers all begin with `daemon`.
pub fn of_run(daemon: &str, slug: &Slug, run: RunId) -> String {
    format!("{daemon}.{slug}.{}", run.0)
}

/// The server that `marker` names, if it was made by the same daemon.
pub fn slug_in(daemon: &str, marker: &str) -> Option<Slug> {
    let (slug, run) = marker.strip_prefix(daemon)?.strip_prefix('.')?.rsplit_once('.')?;
    run.parse::<u64>().ok().and_then(|_| Slug::parse(slug).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_names_its_server() {
        for name in ["web", "a.b.c", "1"] {
            let slug = Slug::parse(name).unwrap();
            let marker = of_run("abc.01", &slug, RunId(7));
            assert_eq!(slug_in("abc.01", &marker), Some(slug));
            assert_eq!(slug_in("abc.02", &marker), None);
            assert_eq!(slug_in("abc.0", &marker), None);
        }
        for other in ["", "abc.01", "abc.01.web", "abc.01.web.x", "abc.01..1"] {
            assert_eq!(slug_in("abc.01", other), None, "{other}");
        }
    }
}
