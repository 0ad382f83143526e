//! Overlays in responses.
//!
//! Owns: their names on the wire. Never: a decision. An overlay has no envelope, as the SDK expects.

use std::borrow::Cow;

use serde::Serialize;

use crate::model::time::rfc3339;
use crate::overlay::OverlayView;
use crate::overlay::progress::Stats;

#[derive(Debug, Serialize)]
struct OverlayInfo<'a> {
    id: &'a str,
    source: Cow<'a, str>,
    target: &'a str,
    resolved_target: Cow<'a, str>,
    strategy: &'static str,
    ignore: &'a [String],
    created_at: String,
    stats: &'a Stats,
    copy_status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    copy_error: Option<&'a str>,
}

impl<'a> OverlayInfo<'a> {
    fn of(view: &'a OverlayView) -> OverlayInfo<'a> {
        OverlayInfo {
            id: view.id.as_str(),
            source: view.source.to_string_lossy(),
            target: &view.target,
            resolved_target: view.resolved_target.to_string_lossy(),
            strategy: view.strategy.as_str(),
            ignore: &view.ignore,
            created_at: rfc3339(view.created_at),
            stats: &view.stats,
            copy_status: view.status.as_str(),
            copy_error: view.error.as_deref(),
        }
    }
}

/// An overlay in the response about readiness.
#[derive(Debug, Serialize)]
pub struct OverlayBrief<'a> {
    id: &'a str,
    source: Cow<'a, str>,
    target: &'a str,
    copy_status: &'static str,
}

impl<'a> OverlayBrief<'a> {
    /// What is visible without the token.
    pub fn of(view: &'a OverlayView) -> OverlayBrief<'a> {
        OverlayBrief {
            id: view.id.as_str(),
            source: view.source.to_string_lossy(),
            target: &view.target,
            copy_status: view.status.as_str(),
        }
    }
}

pub fn overlay<'a>(view: &'a OverlayView, warnings: &'a [String]) -> impl Serialize + use<'a> {
    #[derive(Serialize)]
    struct OverlayAnswer<'a> {
        #[serde(flatten)]
        overlay: OverlayInfo<'a>,
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        warnings: &'a [String],
    }
    OverlayAnswer { overlay: OverlayInfo::of(view), warnings }
}

/// All overlays, in the given order.
pub fn overlay_list<'a>(views: &'a [OverlayView], warnings: &'a [String]) -> impl Serialize + use<'a> {
    #[derive(Serialize)]
    struct OverlaysAnswer<'a> {
        overlays: Vec<OverlayInfo<'a>>,
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        warnings: &'a [String],
    }
    OverlaysAnswer { overlays: views.iter().map(OverlayInfo::of).collect(), warnings }
}
