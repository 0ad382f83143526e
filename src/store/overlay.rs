//! What is stored of an overlay: one file each, named after its id.
//!
//! Owns: the form of that file. Never: what a record means.

use std::io;
use std::sync::Arc;

use serde::Serialize;

use super::files::{Files, VERSION};
use crate::model::overlay::OverlayId;
use crate::overlay::record::{OverlayRecord, Records};

/// The files of the overlays.
#[derive(Debug, Clone)]
pub struct OverlayFiles(Arc<Files>);

impl OverlayFiles {
    /// In this directory.
    pub fn new(files: Arc<Files>) -> OverlayFiles {
        OverlayFiles(files)
    }

    /// All records. Files that can't be used are set aside.
    ///
    /// # Errors
    /// The directory can't be read.
    pub fn load(&self) -> io::Result<Vec<OverlayRecord>> {
        self.0.load(|name, text| {
            let record: OverlayRecord = serde_json::from_slice(text).map_err(|error| error.to_string())?;
            let kept = record.parse()?;
            if kept.id.as_str() != name {
                return Err(format!("it is of overlay {}, and not of the one that it is named after", kept.id));
            }
            Ok(record)
        })
    }
}

impl Records for OverlayFiles {
    fn save(&self, record: &OverlayRecord) -> io::Result<()> {
        #[derive(Serialize)]
        struct Written<'a> {
            version: u64,
            #[serde(flatten)]
            record: &'a OverlayRecord,
        }
        self.0.put(&record.id, &Written { version: VERSION, record })
    }

    fn remove(&self, id: &OverlayId) -> io::Result<()> {
        self.0.remove(id.as_str())
    }
}
