//! What of an overlay outlives the daemon.
//!
//! Owns: the form of a record, and the seam behind which records are kept. Never: a file.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::progress::Stats;
use crate::model::overlay::{CopyStatus, OverlayId, OverlaySpec, Strategy, Target, source_path};

/// An overlay as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayRecord {
    /// Its name.
    pub id: String,
    /// The template.
    pub source: PathBuf,
    /// The target, as it was sent.
    pub target: String,
    /// The patterns.
    pub ignore: Vec<String>,
    /// The word for the strategy.
    pub strategy: String,
    /// Milliseconds since 1970.
    pub created_at_ms: u64,
    /// The word for how far it is.
    pub copy_status: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_error: Option<String>,
    /// What was done. What was skipped is also what tells the overlay's files from those that it found.
    pub stats: Stats,
}

/// A record in types that can't be wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub id: OverlayId,
    /// What was asked for.
    pub spec: OverlaySpec,
    /// When.
    pub created_at: SystemTime,
    /// How far it is.
    pub status: CopyStatus,
    /// Why it failed.
    pub error: Option<String>,
    /// What was done.
    pub stats: Stats,
}

impl OverlayRecord {
    /// The record of `kept`.
    pub fn of(kept: &Kept) -> OverlayRecord {
        let since = kept.created_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        OverlayRecord {
            id: kept.id.to_string(),
            source: kept.spec.source.clone(),
            target: kept.spec.target.as_str().to_owned(),
            ignore: kept.spec.ignore.clone(),
            strategy: kept.spec.strategy.word().to_owned(),
            created_at_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            copy_status: kept.status.word().to_owned(),
            copy_error: kept.error.clone(),
            stats: kept.stats.clone(),
        }
    }

    /// Reads it again.
    ///
    /// # Errors
    /// A phrase: what in it can't be.
    pub fn parse(&self) -> Result<Kept, String> {
        let word = |what: &str, word: &str| format!("{what} can't be {word:?}");
        let id = OverlayId::parse(&self.id).ok_or_else(|| word("id", &self.id))?;
        let source = source_path(&self.source.to_string_lossy()).map_err(|why| format!("source {why}"))?;
        let target = Target::parse(&self.target).map_err(|why| format!("target {why}"))?;
        let strategy = Strategy::ALL.into_iter().find(|(known, _)| *known == self.strategy);
        let (_, strategy) = strategy.ok_or_else(|| word("strategy", &self.strategy))?;
        let status = CopyStatus::ALL.into_iter().find(|(known, _)| *known == self.copy_status);
        let (_, status) = status.ok_or_else(|| word("copy_status", &self.copy_status))?;
        Ok(Kept {
            id,
            spec: OverlaySpec { source, target, ignore: self.ignore.clone(), strategy },
            created_at: UNIX_EPOCH + Duration::from_millis(self.created_at_ms.min(i64::MAX.unsigned_abs() / 1000)),
            status,
            error: self.copy_error.clone(),
            stats: self.stats.clone(),
        })
    }
}

/// Where records are kept.
pub trait Records: Send + Sync {
    /// Keeps `record` in place of the one that has its id, if there is one. When it returns, it is kept.
    ///
    /// # Errors
    /// It can't be stored; what was kept before still is.
    fn save(&self, record: &OverlayRecord) -> io::Result<()>;

    /// Forgets the record `id`, if there is one.
    ///
    /// # Errors
    /// It can't be removed, and is still kept.
    fn remove(&self, id: &OverlayId) -> io::Result<()>;
}

/// Keeps nothing beyond the daemon's life.
#[derive(Debug, Default)]
pub struct Forgetful;

impl Records for Forgetful {
    fn save(&self, _: &OverlayRecord) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _: &OverlayId) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Kept {
        Kept {
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

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let text = serde_json::to_string(&OverlayRecord::of(&kept())).unwrap();
        let record: OverlayRecord = serde_json::from_str(&text).unwrap();
        assert_eq!(record.parse(), Ok(kept()));
    }

    #[test]
    fn what_can_not_be_is_refused() {
        let good = OverlayRecord::of(&kept());
        for bad in [
            OverlayRecord { id: "../x".into(), ..good.clone() },
            OverlayRecord { source: "x".into(), ..good.clone() },
            OverlayRecord { target: "../x".into(), ..good.clone() },
            OverlayRecord { strategy: "fast".into(), ..good.clone() },
            OverlayRecord { copy_status: "done".into(), ..good.clone() },
        ] {
            assert!(bad.parse().is_err(), "{bad:?}");
        }
        assert!(OverlayRecord { created_at_ms: u64::MAX, ..good }.parse().is_ok());
    }
}
