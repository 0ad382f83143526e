//! The routes of overlays.
//!
//! Owns: how long a client waits for an overlay, and the response to each outcome. Never: JSON (see `input`, `wire`), a
//! copy.

use std::time::{Duration, Instant};

use super::{reply, wire};
use crate::error::{Code, Error, Wrong};
use crate::handoff::Reply;
use crate::model::overlay::{OverlayId, OverlaySpec, Strategy};
use crate::overlay::{CreateError, DeleteError, DeleteFiles, Overlays, Until};

/// The creation of a `smart` overlay is answered when all of it can be used, at the latest after this.
const USABLE_LIMIT: Duration = Duration::from_secs(1);

pub fn list(overlays: &Overlays, warnings: &[String]) -> Reply {
    reply::json(200, &wire::overlay_list(&overlays.views(), warnings))
}

/// One overlay.
///
/// # Errors
/// There is none of that id.
pub fn show(overlays: &Overlays, id: &OverlayId, warnings: &[String]) -> Result<Reply, Error> {
    let overlay = overlays.find(id).ok_or_else(|| Error::overlay_not_found(id.as_str()))?;
    Ok(reply::json(200, &wire::overlay(&overlay.view(), warnings)))
}

/// Creates an overlay. Blocks until its light part is copied, up to the limit.
///
/// # Errors
/// Why it was not created.
pub fn create(overlays: &Overlays, spec: OverlaySpec, warnings: &[String]) -> Result<Reply, Error> {
    let strategy = spec.strategy;
    let overlay = overlays.create(spec).map_err(refusal)?;
    match strategy {
        Strategy::Smart => overlay.wait(Until::Usable, Instant::now() + USABLE_LIMIT),
        Strategy::Copy => {}
    }
    Ok(reply::json(201, &wire::overlay(&overlay.view(), warnings)))
}

/// Why an overlay was not created.
pub fn refusal(refused: CreateError) -> Error {
    match refused {
        CreateError::Fields(wrong) => {
            let wrong = wrong.into_iter().map(|(field, why)| Wrong { field: field.to_owned(), why });
            Error::invalid(wrong.collect())
        }
        CreateError::ShuttingDown => Error::shutting_down(),
        CreateError::Storage(error) => Error::storage("the overlay", &error),
        CreateError::NoThread(error) => {
            Error::new(Code::Busy, format!("the system has no thread for another overlay ({error}); try again later"))
        }
    }
}

/// Deletes an overlay. Blocks until its copy has stopped and its files are removed.
///
/// # Errors
/// What is left of it, and why.
pub fn delete(overlays: &Overlays, id: &OverlayId, files: DeleteFiles) -> Result<Reply, Error> {
    overlays.delete(id, files).map(|()| reply::no_content()).map_err(|why| undeleted(id, why))
}

/// Why an overlay was not deleted.
pub fn undeleted(id: &OverlayId, undeleted: DeleteError) -> Error {
    let failed = |what: String| Error::new(Code::Internal, what);
    match undeleted {
        DeleteError::Unknown => Error::overlay_not_found(id.as_str()),
        DeleteError::Storage(error) => Error::storage("that the overlay is deleted", &error),
        DeleteError::Stuck => failed(format!(
            "overlay \"{id}\" can't be deleted: its copy hangs in the file system; delete it again later"
        )),
        DeleteError::FilesLater => Error::new(
            Code::Busy,
            format!(
                "overlay \"{id}\" is deleted; the removal of its files takes longer than a client waits and continues"
            ),
        ),
        DeleteError::Files(path, error) => failed(format!(
            "overlay \"{id}\" is deleted, but not all of its files could be removed: {}: {error}; remove the rest by hand",
            path.display()
        )),
    }
}
