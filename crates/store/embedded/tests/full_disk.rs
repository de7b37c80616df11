//! A disk that is full: writes are refused by name, reads go on, and with room again writes go on by themselves.
//!
//! Needs the right to mount a small file system; without it the test says so and ends.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::process::Command;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use embedded::{EmbeddedOptions, EmbeddedStore};
use query::Query;
use serde_json::json;
use store::{Operation, Refresh, Source, Store, StoreError};

const STREAM: &str = "logs-full-default";
const INDEX: &str = ".fleet-agents";

/// A file system of a few megabytes in memory.
struct SmallDisk {
    path: Utf8PathBuf,
    _folder: tempfile::TempDir,
}

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=24m", "flotilla-test", path.as_str()])
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then_some(Self { path, _folder: folder })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").args(["-l", self.path.as_str()]).output());
    }
}

fn log(number: u64) -> Operation {
    let text = format!("{number} {}", "x".repeat(4000));
    Operation::append(
        STREAM,
        Source::of(&json!({ "@timestamp": "2026-01-01T00:00:00Z", "message": text })),
    )
}

fn agent(number: u64) -> Operation {
    Operation::index(
        INDEX,
        format!("agent-{number}"),
        Source::of(&json!({ "text": "x".repeat(4000) })),
    )
}

/// Writes a batch at a time until one is refused; tells how many documents were acknowledged.
async fn write_until_refused(store: &EmbeddedStore, make: fn(u64) -> Operation) -> (u64, StoreError) {
    let mut acknowledged = 0;
    for batch in 0..10_000_u64 {
        match store
            .bulk((0..20).map(|n| make(batch * 20 + n)).collect(), Refresh::Soon)
            .await
        {
            Ok(outcomes) => {
                let refused = outcomes.into_iter().find_map(|outcome| outcome.written().err());
                assert_eq!(refused, None);
                acknowledged += 20;
            }
            Err(error) => return (acknowledged, error),
        }
    }
    panic!("the disk never became full");
}

fn open(path: &Utf8Path) -> Arc<EmbeddedStore> {
    EmbeddedStore::open(EmbeddedOptions::new(path.join("store"), clock::system())).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_and_recovers() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("SKIPPED: no small file system can be mounted here");
        return;
    };
    let filler = disk.path.join("filler");
    fs_err::write(&filler, vec![0; 12 << 20]).unwrap();
    let store = open(&disk.path);
    let (agents, error) = write_until_refused(&store, agent).await;
    assert!(matches!(error, StoreError::DiskFull(_)), "{error}");
    let (_, error) = write_until_refused(&store, log).await;
    assert!(matches!(error, StoreError::DiskFull(_)), "{error}");

    let count = store.count(&[INDEX.to_owned()], &Query::MatchAll).await.unwrap();
    assert_eq!(count, agents, "reads go on, and nothing is half there");
    assert!(store.get(INDEX, "agent-0").await.unwrap().is_some());

    fs_err::remove_file(&filler).unwrap();
    let written = store
        .bulk(vec![agent(1_000_000), log(1_000_000)], Refresh::WaitFor)
        .await
        .unwrap();
    let written: Vec<bool> = written.into_iter().map(|outcome| outcome.written().is_ok()).collect();
    assert_eq!(written, [true, true], "with room again writes go on by themselves");
    let logs = store.count(&[STREAM.to_owned()], &Query::MatchAll).await.unwrap();
    store.close();
    drop(store);

    let store = open(&disk.path);
    assert_eq!(
        store.count(&[INDEX.to_owned()], &Query::MatchAll).await.unwrap(),
        agents + 1
    );
    assert_eq!(store.count(&[STREAM.to_owned()], &Query::MatchAll).await.unwrap(), logs);
    store.close();
}
