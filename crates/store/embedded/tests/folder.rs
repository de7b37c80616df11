//! The folder: one process, clear refusals, upgrades, backups, retention.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use clock::TestClock;
use embedded::{EmbeddedOptions, EmbeddedStore, OpenError};
use jiff::SignedDuration;
use query::Query;
use serde_json::json;
use store::{Operation, Refresh, Source, Store};

fn temporary() -> (tempfile::TempDir, Utf8PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(directory.path().join("data")).unwrap();
    (directory, path)
}

fn open(path: &Utf8Path) -> Result<Arc<EmbeddedStore>, OpenError> {
    EmbeddedStore::open(EmbeddedOptions::new(path, clock::system()))
}

fn event(n: u64) -> Source {
    Source::of(&json!({"@timestamp": "2026-01-01T00:00:00Z", "message": format!("event {n}")}))
}

async fn append(store: &EmbeddedStore, stream: &str, count: u64) {
    let operations = (0..count).map(|n| Operation::append(stream, event(n))).collect();
    for outcome in store.bulk(operations, Refresh::WaitFor).await.unwrap() {
        outcome.written().unwrap();
    }
}

async fn count(store: &EmbeddedStore, index: &str) -> u64 {
    store.count(&[index.to_owned()], &Query::MatchAll).await.unwrap()
}

#[track_caller]
fn check_refused(path: &Utf8Path, names: &[&str]) {
    let error = open(path).expect_err("it must be refused").to_string();
    for name in names {
        assert!(error.contains(name), "{error} does not name {name}");
    }
}

#[test]
fn a_folder_has_one_owner() {
    let (_guard, path) = temporary();
    let first = open(&path).unwrap();
    check_refused(
        &path,
        &[
            "in use by another process",
            path.as_str(),
            &std::process::id().to_string(),
        ],
    );
    first.close();
    open(&path).unwrap();
}

#[test]
fn foreign_newer_and_damaged_folders_are_refused() {
    let (guard, path) = temporary();
    fs_err::create_dir_all(&path).unwrap();
    fs_err::write(path.join("letter.txt"), "hello").unwrap();
    check_refused(&path, &["not a store's data folder", "letter.txt"]);
    assert!(
        !path.join("state.db").exists(),
        "nothing may be made in a foreign folder"
    );

    let newer = Utf8PathBuf::from_path_buf(guard.path().join("newer")).unwrap();
    open(&newer).unwrap().close();
    fs_err::write(newer.join("format"), "7\n").unwrap();
    check_refused(&newer, &["format 7", "newer program"]);

    let damaged = Utf8PathBuf::from_path_buf(guard.path().join("damaged")).unwrap();
    open(&damaged).unwrap().close();
    fs_err::write(damaged.join("state.db"), vec![7; 8192]).unwrap();
    check_refused(&damaged, &["state.db", "is damaged", "backup"]);

    let file = Utf8PathBuf::from_path_buf(guard.path().join("file")).unwrap();
    fs_err::write(&file, "").unwrap();
    check_refused(&file, &["cannot use the data folder", "file"]);
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let (_guard, path) = temporary();
    let store = open(&path).unwrap();
    append(&store, "logs-a-default", 10).await;
    store
        .bulk(vec![Operation::create(".fleet-agents", "a", event(1))], Refresh::Soon)
        .await
        .unwrap();
    // Acknowledged and neither committed nor flushed.
    store
        .bulk(
            vec![Operation::create("logs-a-default", "late", event(99))],
            Refresh::Soon,
        )
        .await
        .unwrap();
    let checkpoint = store.checkpoint(".fleet-agents").await.unwrap();
    store.close();
    assert!(
        store
            .bulk(vec![Operation::append("logs-a-default", event(1))], Refresh::Soon)
            .await
            .is_err()
    );
    let store = open(&path).unwrap();
    assert_eq!(store.checkpoint(".fleet-agents").await.unwrap(), checkpoint);
    store.refresh("*").await.unwrap();
    assert_eq!(count(&store, "logs-a-default").await, 11);
    assert!(store.get("logs-a-default", "late").await.unwrap().is_some());
    append(&store, "logs-a-default", 1).await;
    assert_eq!(store.checkpoint("logs-a-default").await.unwrap(), Some(11));
}

#[tokio::test]
async fn documents_become_visible_by_themselves() {
    let (_guard, path) = temporary();
    let store = open(&path).unwrap();
    store
        .bulk(vec![Operation::append("logs-a-default", event(1))], Refresh::Soon)
        .await
        .unwrap();
    let seen = store
        .wait_for_checkpoint("logs-a-default", None, Duration::from_secs(30))
        .await
        .unwrap();
    assert_eq!(seen, Some(0));
    assert_eq!(count(&store, "logs-a-default").await, 1);
}

#[tokio::test]
async fn a_backup_can_be_restored_and_written_to() {
    let (guard, path) = temporary();
    let store = open(&path).unwrap();
    append(&store, "logs-a-default", 10).await;
    append(&store, "logs-a-default", 10).await;
    store
        .bulk(vec![Operation::create(".fleet-agents", "a", event(1))], Refresh::Soon)
        .await
        .unwrap();
    let report = store.check().await.unwrap();
    assert_eq!((report.indices, report.backing_indices, report.damage.len()), (1, 1, 0));
    store.compact().await.unwrap();
    assert_eq!(count(&store, "logs-a-default").await, 20);
    let folder = |name: &str| Utf8PathBuf::from_path_buf(guard.path().join(name)).unwrap();
    store.backup(&folder("backup")).await.unwrap();
    assert!(
        store.backup(&folder("backup")).await.is_err(),
        "a backup never overwrites"
    );
    append(&store, "logs-a-default", 5).await;
    embedded::restore(&folder("backup"), &folder("restored")).unwrap();
    let restored = open(&folder("restored")).unwrap();
    assert_eq!(count(&restored, "logs-a-default").await, 20);
    assert!(restored.get(".fleet-agents", "a").await.unwrap().is_some());
    // Documents written after a restore must survive a restart, though the log began anew.
    restored
        .bulk(
            vec![Operation::create("logs-a-default", "new", event(1))],
            Refresh::Soon,
        )
        .await
        .unwrap();
    restored.close();
    drop(restored);
    let restored = open(&folder("restored")).unwrap();
    restored.refresh("*").await.unwrap();
    assert_eq!(count(&restored, "logs-a-default").await, 21);
    let error = embedded::restore(&folder("backup"), &folder("restored")).unwrap_err();
    assert!(error.to_string().contains("empty folder"), "{error}");
}

#[tokio::test]
async fn damage_is_found_by_a_check() {
    let (_guard, path) = temporary();
    let store = open(&path).unwrap();
    append(&store, "logs-a-default", 10).await;
    let index = fs_err::read_dir(path.join("streams"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let stored = fs_err::read_dir(index).unwrap().map(|entry| entry.unwrap().path());
    let stored = stored
        .into_iter()
        .find(|file| file.extension().is_some_and(|kind| kind == "store"))
        .unwrap();
    let mut bytes = fs_err::read(&stored).unwrap();
    bytes[3] ^= 1;
    fs_err::write(&stored, bytes).unwrap();
    let report = store.check().await.unwrap();
    assert_eq!(report.damage.len(), 1, "{report:?}");
    assert!(report.damage[0].contains("checksum"), "{report:?}");
}

#[tokio::test]
async fn streams_roll_over_and_retire() {
    let (_guard, path) = temporary();
    let clock = TestClock::at("2026-01-01T12:00:00Z".parse().unwrap());
    let store = EmbeddedStore::open(EmbeddedOptions::new(&path, clock.clone())).unwrap();
    append(&store, "logs-a-default", 10).await;
    store.maintain().await.unwrap();
    let backing = async || {
        store
            .data_streams(&["logs-a-default".to_owned()])
            .await
            .unwrap()
            .remove(0)
            .backing_indices
    };
    assert_eq!(backing().await, [".ds-logs-a-default-2026.01.01-000001"]);
    clock.step(SignedDuration::from_hours(24 * 8));
    store.maintain().await.unwrap();
    assert_eq!(backing().await.len(), 2, "older than a week: rolled over");
    assert_eq!(count(&store, "logs-a-default").await, 10);
    clock.step(SignedDuration::from_hours(24 * 30));
    store.maintain().await.unwrap();
    assert_eq!(backing().await, [".ds-logs-a-default-2026.01.09-000002"]);
    assert_eq!(count(&store, "logs-a-default").await, 0);
}

#[tokio::test]
async fn an_index_that_could_not_be_written_recovers_by_itself() {
    let (_guard, path) = temporary();
    let store = open(&path).unwrap();
    append(&store, "logs-a-default", 10).await;
    let index = fs_err::read_dir(path.join("streams"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let away = path.join("away");
    fs_err::rename(&index, &away).unwrap();
    let more = (0..5)
        .map(|n| Operation::create("logs-a-default", format!("id-{n}"), event(n)))
        .collect();
    for outcome in store.bulk(more, Refresh::Soon).await.unwrap() {
        outcome.written().expect("the log takes it");
    }
    assert!(store.refresh("*").await.is_err(), "it cannot be made visible now");
    assert!(
        store.get("logs-a-default", "id-3").await.unwrap().is_some(),
        "and is there all the same"
    );
    store
        .bulk(vec![Operation::append("logs-a-default", event(6))], Refresh::Soon)
        .await
        .unwrap();
    fs_err::rename(&away, &index).unwrap();
    store.refresh("*").await.unwrap();
    assert_eq!(count(&store, "logs-a-default").await, 16);
}
