//! The stored record of an overlay.
//!
//! Owns: the format of a record, and the trait of the store. Never: a file.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::progress::Stats;
use crate::model::names::by_name;
use crate::model::overlay::{CopyStatus, OverlayId, OverlaySpec, Strategy, Target, source_path};
use crate::store::files::{Files, VERSION};
use crate::store::members::Members;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredOverlay {
    pub id: OverlayId,
    pub spec: OverlaySpec,
    pub created_at: SystemTime,
    pub status: CopyStatus,
    pub error: Option<String>,
    pub stats: Stats,
}

/// A record as it is written.
#[derive(Serialize)]
struct OverlayRecord<'a> {
    version: u64,
    id: &'a str,
    source: &'a Path,
    /// As the client sent it.
    target: &'a str,
    ignore: &'a [String],
    strategy: &'static str,
    created_at_ms: u64,
    copy_status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    copy_error: Option<&'a str>,
    /// Its skipped paths also distinguish the overlay's files from those that existed before.
    stats: &'a Stats,
}

impl<'a> OverlayRecord<'a> {
    fn of(kept: &'a StoredOverlay) -> OverlayRecord<'a> {
        let since = kept.created_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        OverlayRecord {
            version: VERSION,
            id: kept.id.as_str(),
            source: &kept.spec.source,
            target: kept.spec.target.as_str(),
            ignore: &kept.spec.ignore,
            strategy: kept.spec.strategy.as_str(),
            created_at_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            copy_status: kept.status.as_str(),
            copy_error: kept.error.as_deref(),
            stats: &kept.stats,
        }
    }
}

/// Parses a record.
///
/// # Errors
/// A phrase about the invalid member.
pub fn parse(mut members: Members) -> Result<StoredOverlay, String> {
    let wrong = |what: &str, word: &str| format!("{what} can't be {word:?}");
    let stats = members.take_object("stats")?;
    let (id, strategy, status) = (members.text("id")?, members.text("strategy")?, members.text("copy_status")?);
    Ok(StoredOverlay {
        id: OverlayId::parse(id).ok_or_else(|| wrong("id", id))?,
        spec: OverlaySpec {
            source: source_path(members.text("source")?).map_err(|why| format!("source {why}"))?,
            target: Target::parse(members.text("target")?).map_err(|why| format!("target {why}"))?,
            ignore: owned(members.texts("ignore")?),
            strategy: by_name(&Strategy::ALL, strategy).ok_or_else(|| wrong("strategy", strategy))?,
        },
        created_at: UNIX_EPOCH
            + Duration::from_millis(members.number("created_at_ms")?.min(i64::MAX.unsigned_abs() / 1000)),
        status: by_name(&CopyStatus::ALL, status).ok_or_else(|| wrong("copy_status", status))?,
        error: members.text("copy_error").ok().map(str::to_owned),
        stats: Stats {
            copied_files: stats.number("copied_files")?,
            copied_dirs: stats.number("copied_dirs")?,
            skipped: owned(stats.texts("skipped")?),
            skipped_count: stats.number("skipped_count")?,
        },
    })
}

fn owned(texts: Vec<&str>) -> Vec<String> {
    texts.into_iter().map(str::to_owned).collect()
}

pub trait Records: Send + Sync {
    /// Stores `record` durably; replaces the one with the same id.
    ///
    /// # Errors
    /// It can't be stored; the previous record is unchanged.
    fn save(&self, record: &StoredOverlay) -> io::Result<()>;

    /// Removes the record `id`, if it exists.
    ///
    /// # Errors
    /// It can't be removed, and still exists.
    fn remove(&self, id: &OverlayId) -> io::Result<()>;
}

impl Records for Files {
    fn save(&self, record: &StoredOverlay) -> io::Result<()> {
        self.put(record.id.as_str(), &OverlayRecord::of(record))
    }

    fn remove(&self, id: &OverlayId) -> io::Result<()> {
        Files::remove(self, id.as_str())
    }
}

/// Loads all records.
///
/// # Errors
/// The directory can't be read.
pub fn stored(files: &Files) -> io::Result<Vec<StoredOverlay>> {
    files.load(|name, members| {
        let kept = parse(members)?;
        if kept.id.as_str() != name {
            return Err(format!("it is the record of another overlay, {}", kept.id));
        }
        Ok(kept)
    })
}

/// A store that keeps nothing.
#[cfg(test)]
#[derive(Debug, Default)]
pub struct NoRecords;

#[cfg(test)]
impl Records for NoRecords {
    fn save(&self, _: &StoredOverlay) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _: &OverlayId) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn kept() -> StoredOverlay {
        StoredOverlay {
            id: OverlayId::parse("a1").unwrap(),
            spec: OverlaySpec {
                source: "/templates/web".into(),
                target: Target::parse("app").unwrap(),
                ignore: vec!["*.log".into()],
                strategy: Strategy::Copy,
            },
            created_at: UNIX_EPOCH + Duration::from_millis(1_764_000_000_123),
            status: CopyStatus::Failed,
            error: Some("a: no".into()),
            stats: Stats { copied_files: 3, copied_dirs: 1, skipped: vec![".git".into()], skipped_count: 1 },
        }
    }

    fn text(of: &StoredOverlay) -> Value {
        serde_json::to_value(OverlayRecord::of(of)).unwrap()
    }

    fn read(text: &Value) -> Result<StoredOverlay, String> {
        parse(Members::read(text.to_string().as_bytes()).unwrap())
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        assert_eq!(read(&text(&kept())), Ok(kept()));
        let whole = StoredOverlay { error: None, status: CopyStatus::Complete, ..kept() };
        assert_eq!(text(&whole).get("copy_error"), None);
        assert_eq!(read(&text(&whole)), Ok(whole));
    }

    #[test]
    fn what_can_not_be_is_refused() {
        let with = |name: &str, value: Value| {
            let mut record = text(&kept());
            record[name] = value;
            read(&record)
        };
        for (name, bad) in [
            ("id", json!("../x")),
            ("source", json!("x")),
            ("target", json!("../x")),
            ("strategy", json!("fast")),
            ("copy_status", json!("done")),
            ("ignore", json!([1])),
            ("created_at_ms", json!("now")),
            ("stats", json!({})),
        ] {
            assert!(with(name, bad.clone()).is_err(), "{name} {bad}");
        }
        assert!(with("created_at_ms", json!(u64::MAX)).is_ok());
    }
}
