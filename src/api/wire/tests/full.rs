//! Answers with all fields, to compare their names.

use super::*;

/// Answers with everything in them that can be there.
pub(crate) struct FullAnswers {
    pub server: Value,
    pub overlay: Value,
    pub ready: Value,
    pub run: Value,
    /// What is stored of the same server.
    pub record: Value,
}

pub(crate) fn full_answers() -> FullAnswers {
    let mut view = full();
    let run = Arc::new(crate::runs::tests::example());
    view.last_run = Some(Arc::clone(&run));
    let (source, target) = (PathBuf::from("/templates/web"), Target::parse("app").unwrap());
    let spec = Arc::make_mut(&mut view.spec);
    spec.overlays.push(OverlaySpec { source: source.clone(), target, ignore: Vec::new(), strategy: Strategy::Smart });
    spec.depends_on.push(OverlayId::of_number(1));
    let made = OverlayView {
        id: OverlayId::of_number(1),
        source,
        target: "app".into(),
        resolved_target: "/sandbox/app".into(),
        strategy: Strategy::Smart,
        ignore: Vec::new(),
        created_at: at(0),
        stats: Stats::default(),
        status: CopyStatus::Failed,
        error: Some("a: no".into()),
    };
    let readiness = Readiness { reachable: true, healthy: false, recheck_at: None };
    let stats = crate::model::run::ServerStats {
        run: 7,
        cpu: ms(1230),
        memory_bytes: 1,
        rss_bytes: 2,
        processes: 3,
        at: at(0),
    };
    let ready = body(ready(readiness, &[Arc::new(view.clone())], std::slice::from_ref(&made)));
    FullAnswers {
        server: body(server_with("m", &view, Some(stats), &["w".into()]))["data"]["server"].take(),
        overlay: body(overlay(&made, &[])),
        ready,
        record: crate::store::server::recorded(&view.spec).unwrap(),
        run: body(runs(&view.spec.slug, None, &[run], &[]))["data"]["runs"][0].take(),
    }
}
