//! Data streams: creation, duplicates, rollover, deletion.

use std::sync::Arc;

use query::{Query, SearchRequest, SortOrder};
use serde_json::{Value, json};

use super::{Limits, as_written, bulk, fill, one, source};
use crate::{Operation, Refresh, RejectionKind, Store};

pub(super) async fn run(store: &Arc<dyn Store>, prefix: &str, limits: Limits) {
    only_appends_are_taken(store, &format!("logs-{prefix}.append-default")).await;
    duplicates_are_refused(store, &format!("logs-{prefix}.duplicate-default")).await;
    rollover_starts_a_new_index(store, &format!("metrics-{prefix}.roll-default"), limits).await;
    templates_make_data_streams(store, prefix).await;
    if !limits.data_streams_stay {
        streams_are_deleted_whole(store, &format!("logs-{prefix}.gone-default")).await;
    }
}

fn event(n: u64) -> Value {
    json!({"@timestamp": "2026-01-01T00:00:00Z", "n": n})
}

async fn only_appends_are_taken(store: &Arc<dyn Store>, stream: &str) {
    let written = one(store, Operation::append(stream, source(&event(1))))
        .await
        .expect("appended");
    assert!(
        written.index.starts_with(&format!(".ds-{stream}-")),
        "{}",
        written.index
    );
    assert!(written.index.ends_with("-000001"), "{}", written.index);
    let found = store
        .get(stream, &written.id)
        .await
        .expect("answers")
        .expect("is there");
    assert_eq!((as_written(&found.source), found.seq_no), (event(1), written.seq_no));
    assert!(store.get(&written.index, &written.id).await.expect("answers").is_some());
    for refused in [
        Operation::index(stream, "a", source(&event(2))),
        Operation::delete(stream, "a"),
        Operation::append(written.index.as_str(), source(&event(3))),
    ] {
        assert_eq!(
            one(store, refused).await.expect_err("refused").kind,
            RejectionKind::IllegalArgument
        );
    }
    let mut required = Operation::append("no-stream-at-all", source(&event(4)));
    required.require_data_stream = true;
    assert_eq!(
        one(store, required).await.expect_err("refused").kind,
        RejectionKind::IndexNotFound
    );
}

async fn duplicates_are_refused(store: &Arc<dyn Store>, stream: &str) {
    let create = |id: &str| Operation::create(stream, id, source(&event(1)));
    let soon = store
        .bulk(vec![create("a"), create("a"), create("b")], Refresh::Soon)
        .await
        .expect("answers");
    let shown: Vec<_> = soon
        .into_iter()
        .map(|outcome| outcome.written().map_err(|rejection| rejection.kind).is_ok())
        .collect();
    assert_eq!(shown, [true, false, true]);
    assert!(
        store.get(stream, "a").await.expect("answers").is_some(),
        "visible to get at once"
    );
    store.refresh(stream).await.expect("refreshed");
    let again = bulk(store, vec![create("a"), create("c")]).await;
    let kinds: Vec<_> = again
        .into_iter()
        .map(|outcome| outcome.written().err().map(|rejection| rejection.kind))
        .collect();
    assert_eq!(kinds, [Some(RejectionKind::VersionConflict), None]);
    assert_eq!(
        store
            .count(&[stream.to_owned()], &Query::MatchAll)
            .await
            .expect("answers"),
        3
    );
}

async fn rollover_starts_a_new_index(store: &Arc<dyn Store>, stream: &str, limits: Limits) {
    fill(store, stream, 10, false).await;
    let before = store.checkpoint(stream).await.expect("answers");
    let (old, new) = store.rollover(stream).await.expect("rolled over");
    assert!(new.ends_with("-000002"), "{new}");
    let written = one(store, Operation::append(stream, source(&event(11))))
        .await
        .expect("appended");
    assert_eq!(written.index, new);
    assert!(
        limits.numbers_start_anew || Some(written.seq_no) > before,
        "numbers go on"
    );
    let info = store
        .data_streams(&[stream.to_owned()])
        .await
        .expect("answers")
        .remove(0);
    assert_eq!(info.backing_indices, [old.clone(), new]);
    assert_eq!(info.documents, 11);
    assert_eq!(info.newest_timestamp.as_deref(), Some("2026-01-01T00:09:00.000Z"));
    let request = SearchRequest::new(stream)
        .size(2)
        .sort_by("_seq_no", SortOrder::Descending);
    let found = store.search(request).await.expect("answers");
    assert_eq!((found.total, found.hits.len()), (11, 2));
    assert!(limits.numbers_start_anew || found.hits[0].document.id == written.id);
    assert!(store.delete_index(&old).await.expect("answers"));
    assert_eq!(
        store
            .count(&[stream.to_owned()], &Query::MatchAll)
            .await
            .expect("answers"),
        1
    );
    assert!(
        store.delete_index(&info.backing_indices[1]).await.is_err(),
        "the written one stays"
    );
}

async fn templates_make_data_streams(store: &Arc<dyn Store>, prefix: &str) {
    let body = json!({"index_patterns": [format!("{prefix}-own-*")], "data_stream": {}, "priority": 500});
    store
        .put_index_template(&format!("{prefix}-template"), body)
        .await
        .expect("set");
    let stream = format!("{prefix}-own-a");
    one(store, Operation::append(&stream, source(&event(1))))
        .await
        .expect("appended");
    let info = store
        .data_streams(&[format!("{prefix}-own-*")])
        .await
        .expect("answers")
        .remove(0);
    assert_eq!((info.name, info.template), (stream, Some(format!("{prefix}-template"))));
}

async fn streams_are_deleted_whole(store: &Arc<dyn Store>, stream: &str) {
    fill(store, stream, 5, true).await;
    assert!(store.delete_index(stream).await.expect("answers"));
    assert!(!store.delete_index(stream).await.expect("answers"));
    assert!(
        store
            .data_streams(&[stream.to_owned()])
            .await
            .expect("answers")
            .is_empty()
    );
    assert!(store.get(stream, "id-1").await.expect("answers").is_none());
    fill(store, stream, 5, true).await;
    assert_eq!(
        store
            .count(&[stream.to_owned()], &Query::MatchAll)
            .await
            .expect("answers"),
        5
    );
}
