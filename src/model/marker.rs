//! The two marks that the processes of a run inherit: a variable in their environment, and a resource limit.
//!
//! Owns: how both are made and taken apart. Never: how they get into a process or out of one.
//!
//! A program can write over its environment, and does: nginx, redis and PostgreSQL keep their titles there. A resource
//! limit survives that, `env -i`, `setsid`, `setuid` and the end of the main thread, and every user may read it. The
//! limit is `RLIMIT_LOCKS`, which has had no effect since Linux 2.4. Its values here are
//!
//! ```text
//! bit 63      0
//! bits 62–60  level: 7, and one less for each servisor around this one; never 0
//! bits 59–20  instance: a hash of the name of the state directory
//! bits 19–0   number of the run
//! ```
//!
//! A daemon inside of another one's server may lower its soft limit only. That is why the level comes first, and why
//! the hard limit stays as it is there: the outer daemon's mark is still in it.

use super::machine::RunId;
use super::spec::Slug;

/// The environment variable with the marker of the run.
pub const MARKER_VARIABLE: &str = "SERVISOR_RUN";

const LEVEL_SHIFT: u32 = 60;
const LEVEL_TOP: u64 = 7;
const INSTANCE_SHIFT: u32 = 20;
const INSTANCE_MASK: u64 = (1 << (LEVEL_SHIFT - INSTANCE_SHIFT)) - 1;
const RUN_MASK: u64 = (1 << INSTANCE_SHIFT) - 1;

/// The soft and hard value of the resource limit that carries the mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// What the process may change up to `hard`. The innermost daemon's mark.
    pub soft: u64,
    /// What the process may lower, but not raise without privilege. The outermost daemon's mark.
    pub hard: u64,
}

impl Limits {
    /// No limit (`RLIM_INFINITY`).
    pub const NONE: Limits = Limits { soft: u64::MAX, hard: u64::MAX };
}

/// The mark of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunMark(u64);

impl RunMark {
    /// Whether a process with these limits has inherited this mark.
    pub fn is_in(self, limits: Limits) -> bool {
        limits.hard == self.0 || limits.soft == self.0
    }
}

/// The marks of one daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    level: u64,
    instance: u64,
    /// The hard limit of the daemon's processes, if it is not to be the mark too.
    hard: Option<u64>,
}

impl Marks {
    /// The marks of the daemon with the state directory `instance`, which has the limits `own` itself.
    ///
    /// `None`: there are so many daemons around it that no value is left.
    pub fn new(instance: &str, own: Limits) -> Option<Marks> {
        let around = [own.soft, own.hard].into_iter().filter_map(level_of).min();
        let level = around.map_or(LEVEL_TOP, |level| level - 1);
        // A hard limit that is another daemon's mark has to stay.
        let hard = level_of(own.hard).map(|_| own.hard);
        (level > 0).then_some(Marks { level, instance: hash(instance) & INSTANCE_MASK, hard })
    }

    /// The mark of run `number`; only its lower 20 bits count.
    pub fn of_run(&self, number: u64) -> RunMark {
        RunMark(self.level << LEVEL_SHIFT | self.instance << INSTANCE_SHIFT | number & RUN_MASK)
    }

    /// The limits of a process that begins a run.
    pub fn limits(&self, mark: RunMark) -> Limits {
        Limits { soft: mark.0, hard: self.hard.unwrap_or(mark.0) }
    }

    /// Whether a process with these limits comes from a run of this state directory, in whatever life of the daemon.
    pub fn made(&self, limits: Limits) -> bool {
        [limits.soft, limits.hard]
            .into_iter()
            .any(|value| level_of(value).is_some() && value >> INSTANCE_SHIFT & INSTANCE_MASK == self.instance)
    }
}

/// The level in a value that may be a mark.
fn level_of(value: u64) -> Option<u64> {
    let level = value >> LEVEL_SHIFT;
    (1..=LEVEL_TOP).contains(&level).then_some(level)
}

/// FNV-1a, folded: the upper bits depend on all bytes too.
fn hash(text: &str) -> u64 {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    hash ^ hash >> (64 - INSTANCE_SHIFT)
}

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

    #[test]
    fn a_mark_is_known_in_either_limit_and_no_other_value_is_taken_for_it() {
        let marks = Marks::new("cafe-1", Limits::NONE).unwrap();
        let other = Marks::new("cafe-2", Limits::NONE).unwrap();
        let (one, two) = (marks.of_run(1), marks.of_run(2));
        let limits = marks.limits(one);
        assert_eq!(limits.soft, limits.hard);
        assert!(limits.hard < 1 << 63);
        for limits in [limits, Limits { soft: 0, ..limits }, Limits { hard: u64::MAX, ..limits }] {
            assert!(one.is_in(limits) && !two.is_in(limits));
            assert!(marks.made(limits) && !other.made(limits));
        }
        assert_ne!(marks.of_run(1), other.of_run(1));
        for value in [0, 1, 1024, 8_388_608, u64::MAX, 1 << 63, 1 << 60, u64::MAX >> 4] {
            assert!(!marks.made(Limits { soft: value, hard: value }), "{value:#x}");
        }
    }

    #[test]
    fn a_daemon_in_a_server_of_another_has_lower_values_and_leaves_the_hard_limit() {
        let outer = Marks::new("outer", Limits::NONE).unwrap();
        let mut own = outer.limits(outer.of_run(5));
        for depth in 1..7 {
            let inner = Marks::new(&format!("inner{depth}"), own).unwrap();
            let mark = inner.of_run(depth);
            let limits = inner.limits(mark);
            assert!(limits.soft < own.soft && limits.soft <= limits.hard, "it needs no privilege");
            assert!(mark.is_in(limits) && outer.of_run(5).is_in(limits), "both know it");
            own = limits;
        }
        assert_eq!(Marks::new("too deep", own), None);
    }

    #[test]
    fn a_limit_of_the_administrator_is_no_level() {
        let own = Limits { soft: 100, hard: u64::MAX };
        assert_eq!(Marks::new("a", own), Marks::new("a", Limits::NONE));
    }
}
