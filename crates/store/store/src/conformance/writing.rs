//! Writes, versions, conflicts, checkpoints.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Limits, bulk, one, source};
use crate::{Action, Expected, Newer, Operation, RejectionKind, Store, StoreError, Update, WriteResult};

pub(super) async fn run(store: &Arc<dyn Store>, prefix: &str, limits: Limits) {
    versions_and_numbers_rise(store, &format!("{prefix}-rise")).await;
    what_is_remembered_can_be_checked(store, &format!("{prefix}-newer")).await;
    conflicts_are_refused(store, &format!("{prefix}-conflict")).await;
    clients_may_count_versions(store, &format!("{prefix}-version")).await;
    updates_merge_and_run_scripts(store, &format!("{prefix}-update")).await;
    outcomes_keep_their_places(store, &format!("{prefix}-places")).await;
    deletes_never_give_numbers_back(store, &format!("{prefix}-delete")).await;
    checkpoints_can_be_waited_for(store, &format!("{prefix}-checkpoint")).await;
    indices_come_and_go(store, &format!("{prefix}-index"), limits).await;
    many_writers_lose_nothing(store, &format!("{prefix}-many")).await;
}

async fn versions_and_numbers_rise(store: &Arc<dyn Store>, index: &str) {
    let first = one(store, Operation::create(index, "a", source(&json!({"n": 1}))))
        .await
        .expect("created");
    assert_eq!((first.version, first.result), (1, WriteResult::Created));
    let second = one(store, Operation::index(index, "a", source(&json!({"n": 2}))))
        .await
        .expect("updated");
    assert_eq!((second.version, second.result), (2, WriteResult::Updated));
    assert!(second.seq_no > first.seq_no);
    let document = store.get(index, "a").await.expect("answers").expect("is there");
    assert_eq!((document.version, document.seq_no), (2, second.seq_no));
    assert_eq!(document.source.to_value(), json!({"n": 2}));
    assert!(store.get(index, "b").await.expect("answers").is_none());
    assert!(store.get("no-such-index", "a").await.expect("answers").is_none());
}

async fn what_is_remembered_can_be_checked(store: &Arc<dyn Store>, index: &str) {
    let newer = async |id, known| store.get_newer(index, id, known).await.expect("answers");
    assert!(matches!(newer("a", 0).await, Newer::Missing));
    let create = Operation::create(index, "a", source(&json!({"n": 1})));
    let first = one(store, create).await.expect("created");
    assert!(matches!(newer("a", first.seq_no).await, Newer::Unchanged));
    let replace = Operation::index(index, "a", source(&json!({"n": 2})));
    let second = one(store, replace).await.expect("updated");
    match newer("a", first.seq_no).await {
        Newer::Changed(document) => {
            assert_eq!((document.seq_no, document.version), (second.seq_no, second.version));
            assert_eq!(document.source.to_value(), json!({"n": 2}));
        }
        other => panic!("it was changed: {other:?}"),
    }
    one(store, Operation::delete(index, "a")).await.expect("deleted");
    assert!(matches!(newer("a", second.seq_no).await, Newer::Missing));
}

async fn conflicts_are_refused(store: &Arc<dyn Store>, index: &str) {
    let first = one(store, Operation::create(index, "a", source(&json!({"n": 1}))))
        .await
        .expect("created");
    let again = one(store, Operation::create(index, "a", source(&json!({"n": 2}))))
        .await
        .expect_err("exists");
    assert_eq!(again.kind, RejectionKind::VersionConflict);
    let replaced = one(
        store,
        Operation::replace(index, "a", source(&json!({"n": 3})), first.seq_no),
    )
    .await
    .expect("replaced");
    let stale = one(
        store,
        Operation::replace(index, "a", source(&json!({"n": 4})), first.seq_no),
    )
    .await
    .expect_err("stale");
    assert_eq!(stale.kind, RejectionKind::VersionConflict);
    let absent = one(store, Operation::replace(index, "x", source(&json!({})), 0))
        .await
        .expect_err("absent");
    assert_eq!(absent.kind, RejectionKind::VersionConflict);
    let mut delete = Operation::delete(index, "a");
    delete.action = Action::Delete {
        expected: Some(first.seq_no.into()),
    };
    assert_eq!(
        one(store, delete).await.expect_err("stale").kind,
        RejectionKind::VersionConflict
    );
    let document = store.get(index, "a").await.expect("answers").expect("is there");
    assert_eq!(
        (document.source.to_value(), document.seq_no),
        (json!({"n": 3}), replaced.seq_no)
    );
}

async fn clients_may_count_versions(store: &Arc<dyn Store>, index: &str) {
    let write = |new: u64, or_equal: bool| {
        let mut operation = Operation::index(index, "a", source(&json!({ "n": new })));
        if let Action::Index { expected, .. } = &mut operation.action {
            *expected = Some(Expected::Version { new, or_equal });
        }
        operation
    };
    let first = one(store, write(5, false)).await.expect("there is none yet");
    assert_eq!((first.version, first.result), (5, WriteResult::Created));
    let equal = one(store, write(5, false)).await.expect_err("not newer");
    assert_eq!(equal.kind, RejectionKind::VersionConflict);
    let equal = one(store, write(5, true)).await.expect("as new is new enough");
    assert_eq!((equal.version, equal.result), (5, WriteResult::Updated));
    assert_eq!(one(store, write(9, false)).await.expect("newer").version, 9);
    let old = one(store, write(7, true)).await.expect_err("older");
    assert_eq!(old.kind, RejectionKind::VersionConflict);
    let mut delete = Operation::delete(index, "a");
    delete.action = Action::Delete {
        expected: Some(Expected::Version {
            new: 12,
            or_equal: false,
        }),
    };
    let gone = one(store, delete).await.expect("newer");
    assert_eq!((gone.version, gone.result), (12, WriteResult::Deleted));
}

fn map(value: Value) -> Map<String, Value> {
    value.as_object().cloned().expect("an object")
}

async fn updates_merge_and_run_scripts(store: &Arc<dyn Store>, index: &str) {
    one(
        store,
        Operation::create(index, "a", source(&json!({"a": {"b": 1}, "c": [1], "policy_id": "p"}))),
    )
    .await
    .expect("created");
    let merged = one(
        store,
        Operation::merge(index, "a", map(json!({"a": {"d": 2}, "c": [2]}))),
    )
    .await
    .expect("merged");
    assert_eq!(merged.result, WriteResult::Updated);
    let same = one(store, Operation::merge(index, "a", map(json!({"c": [2]}))))
        .await
        .expect("noop");
    assert_eq!((same.result, same.seq_no), (WriteResult::Noop, merged.seq_no));
    let missing = one(store, Operation::merge(index, "x", map(json!({}))))
        .await
        .expect_err("missing");
    assert_eq!(missing.kind, RejectionKind::DocumentMissing);
    let update = |id: &str, update: Update| Operation {
        index: index.to_owned(),
        id: Some(id.to_owned()),
        require_data_stream: false,
        action: Action::Update { update, expected: None },
    };
    let upsert = Update::Merge {
        partial: map(json!({"x": 1})),
        upsert: Some(map(json!({"new": true}))),
    };
    assert_eq!(
        one(store, update("u", upsert)).await.expect("upserted").result,
        WriteResult::Created
    );
    let script = Update::Script(map(json!({"id": "p", "rev": 3, "ts": "t"})));
    assert_eq!(
        one(store, update("a", script)).await.expect("ran").result,
        WriteResult::Updated
    );
    let script = Update::Script(map(json!({"id": "q", "rev": 3, "ts": "t"})));
    assert_eq!(
        one(store, update("a", script)).await.expect("ran").result,
        WriteResult::Noop
    );
    let script = Update::Script(map(json!({"what": 1})));
    assert_eq!(
        one(store, update("a", script)).await.expect_err("unknown").kind,
        RejectionKind::IllegalArgument
    );
    let document = store
        .get(index, "a")
        .await
        .expect("answers")
        .expect("is there")
        .source
        .to_value();
    assert_eq!(
        document,
        json!({"a": {"b": 1, "d": 2}, "c": [2], "policy_id": "p", "policy_revision_idx": 3, "updated_at": "t"})
    );
}

async fn outcomes_keep_their_places(store: &Arc<dyn Store>, index: &str) {
    let stream = format!("logs-{index}-default");
    let outcomes = bulk(
        store,
        vec![
            Operation::create(index, "a", source(&json!({"n": 1}))),
            Operation::append(&stream, source(&json!({"@timestamp": "2026-01-01T00:00:00Z", "n": 2}))),
            Operation::create(index, "a", source(&json!({"n": 3}))),
            Operation::append(&stream, source(&json!({"no": "timestamp"}))),
            Operation::delete(index, "absent"),
            Operation::index("Not-A-Name", "a", source(&json!({}))),
        ],
    )
    .await;
    let shown: Vec<_> = outcomes
        .into_iter()
        .map(|outcome| {
            outcome
                .written()
                .map(|written| written.result)
                .map_err(|rejection| rejection.kind)
        })
        .collect();
    assert_eq!(
        shown,
        [
            Ok(WriteResult::Created),
            Ok(WriteResult::Created),
            Err(RejectionKind::VersionConflict),
            Err(RejectionKind::Malformed),
            Ok(WriteResult::NotFound),
            Err(RejectionKind::IllegalArgument),
        ]
    );
}

async fn deletes_never_give_numbers_back(store: &Arc<dyn Store>, index: &str) {
    let first = one(store, Operation::create(index, "a", source(&json!({}))))
        .await
        .expect("created");
    let deleted = one(store, Operation::delete(index, "a")).await.expect("deleted");
    assert_eq!(deleted.result, WriteResult::Deleted);
    assert!(deleted.seq_no > first.seq_no);
    let second = one(store, Operation::create(index, "a", source(&json!({}))))
        .await
        .expect("created");
    assert!(second.seq_no > deleted.seq_no);
    assert_eq!(store.checkpoint(index).await.expect("answers"), Some(second.seq_no));
}

async fn checkpoints_can_be_waited_for(store: &Arc<dyn Store>, index: &str) {
    assert_eq!(store.checkpoint(index).await.expect("answers"), None);
    let short = Duration::from_millis(20);
    assert_eq!(
        store.wait_for_checkpoint(index, None, short).await.expect("answers"),
        None
    );
    let waiting = {
        let (store, index) = (store.clone(), index.to_owned());
        async move { store.wait_for_checkpoint(&index, None, Duration::from_secs(30)).await }
    };
    let writing = one(store, Operation::create(index, "a", source(&json!({}))));
    let (seen, written) = tokio::join!(waiting, writing);
    let written = written.expect("created");
    assert_eq!(seen.expect("answers"), Some(written.seq_no));
    let same = store
        .wait_for_checkpoint(index, Some(written.seq_no), short)
        .await
        .expect("answers");
    assert_eq!(same, Some(written.seq_no), "a timeout gives the checkpoint as it is");
}

async fn indices_come_and_go(store: &Arc<dyn Store>, index: &str, limits: Limits) {
    store
        .create_index(index, json!({"mappings": {"properties": {"a": {"type": "keyword"}}}}))
        .await
        .expect("made");
    let again = store.create_index(index, json!({})).await.expect_err("exists");
    assert!(matches!(again, StoreError::AlreadyExists(_)), "{again}");
    one(store, Operation::create(index, "a", source(&json!({"b": {"c": 1}}))))
        .await
        .expect("created");
    let mapping = store.mapping(index).await.expect("answers").expect("is there");
    assert_eq!(mapping["properties"]["a"]["type"], "keyword");
    assert_eq!(mapping["properties"]["b"]["properties"]["c"]["type"], "long");
    let listed = store.indices(&[index.to_owned()]).await.expect("answers");
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].documents, listed[0].data_stream.clone()), (1, None));
    let before = store.checkpoint(index).await.expect("answers").expect("is there");
    assert!(store.delete_index(index).await.expect("answers"));
    assert!(!store.delete_index(index).await.expect("answers"));
    assert!(store.get(index, "a").await.expect("answers").is_none());
    let next = one(store, Operation::create(index, "a", source(&json!({}))))
        .await
        .expect("created again");
    assert!(
        limits.numbers_start_anew || next.seq_no > before,
        "numbers go on in an index that is made again"
    );
}

async fn many_writers_lose_nothing(store: &Arc<dyn Store>, index: &str) {
    let writers = (0..20).map(|writer: u64| {
        let (store, index) = (store.clone(), index.to_owned());
        async move {
            for round in 0..10 {
                let operation =
                    Operation::create(&index, format!("{writer}-{round}"), source(&json!({"writer": writer})));
                one(&store, operation).await.expect("created");
            }
        }
    });
    let mut tasks = tokio::task::JoinSet::new();
    writers.for_each(|writer| drop(tasks.spawn(writer)));
    while let Some(done) = tasks.join_next().await {
        done.expect("no writer panics");
    }
    let count = store
        .count(&[index.to_owned()], &query::Query::MatchAll)
        .await
        .expect("answers");
    assert_eq!(count, 200);
    assert_eq!(store.checkpoint(index).await.expect("answers"), Some(199));
}
