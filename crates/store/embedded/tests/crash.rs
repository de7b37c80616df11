//! kill -9 in the middle of ingest: what was acknowledged is there afterwards.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use camino::Utf8PathBuf;
use embedded::{EmbeddedOptions, EmbeddedStore};
use query::Query;
use serde_json::json;
use store::{Operation, Refresh, Source, Store};

/// Tells the child where to write; not set in an ordinary test run.
const FOLDER: &str = "FLOTILLA_CRASH_FOLDER";
const STREAM: &str = "logs-crash-default";

/// Writes until it is killed, and says each id after its acknowledgement.
#[test]
fn writer_child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Utf8PathBuf::from(folder.into_string().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = EmbeddedStore::open(EmbeddedOptions::new(folder, clock::system())).unwrap();
        let run = uuid::Uuid::new_v4().simple().to_string();
        for batch in 0.. {
            let source = Source::of(&json!({"@timestamp": "2026-01-01T00:00:00Z", "run": run, "batch": batch}));
            let mut operations = vec![
                Operation::create(STREAM, format!("{run}-{batch}"), source.clone()),
                Operation::create("state", format!("{run}-{batch}"), source.clone()),
            ];
            operations.extend((0..20).map(|_| Operation::append(STREAM, source.clone())));
            let outcomes = store.bulk(operations, Refresh::Soon).await.unwrap();
            let mut out = std::io::stdout().lock();
            for outcome in outcomes {
                let written = outcome.written().unwrap();
                writeln!(
                    out,
                    "ack {} {}",
                    if written.index == "state" { "state" } else { STREAM },
                    written.id
                )
                .unwrap();
            }
            out.flush().unwrap();
        }
    });
}

#[test]
fn nothing_acknowledged_is_lost() {
    let rounds = std::env::var_os("FLOTILLA_SOAK_ROUNDS")
        .and_then(|text| text.into_string().ok()?.parse().ok())
        .unwrap_or(20);
    let directory = tempfile::tempdir().unwrap();
    let folder = Utf8PathBuf::from_path_buf(directory.path().join("data")).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let mut all_appended = 0;
    for round in 0..rounds {
        // A different moment each round: before, within and after commits.
        let acknowledged = write_until_killed(&folder, 22 * (1 + round * 37 % 150));
        all_appended += acknowledged.iter().filter(|(index, _)| index == STREAM).count() as u64;
        runtime.block_on(async {
            let store = EmbeddedStore::open(EmbeddedOptions::new(&folder, clock::system())).unwrap();
            for (index, id) in &acknowledged {
                let found = store.get(index, id).await.unwrap();
                assert!(
                    found.is_some(),
                    "round {round}: {index}/{id} was acknowledged and is gone"
                );
            }
            store.refresh("*").await.unwrap();
            let count = store.count(&[STREAM.to_owned()], &Query::MatchAll).await.unwrap();
            assert!(
                count >= all_appended,
                "round {round}: {count} documents, {all_appended} were acknowledged"
            );
            // What was written and not acknowledged may be there, too; from here on it counts.
            all_appended = count;
            let (_, id) = acknowledged
                .iter()
                .find(|(_, id)| id.contains('-') && id.len() > 32)
                .unwrap();
            let again = Operation::create(STREAM, id.as_str(), Source::of(&json!({"@timestamp": 0})));
            let outcome = store.bulk(vec![again], Refresh::Soon).await.unwrap().remove(0);
            assert!(
                outcome.written().is_err(),
                "round {round}: {id} was taken a second time"
            );
            store.close();
        });
    }
}

fn write_until_killed(folder: &Utf8PathBuf, lines: usize) -> Vec<(String, String)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writer_child", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let mut seen: Vec<String> = reader
        .by_ref()
        .filter(|line| line.contains("ack "))
        .take(lines)
        .collect();
    child.kill().unwrap();
    child.wait().unwrap();
    // What it managed to say before it died was acknowledged, too; the last line may be cut.
    seen.extend(reader);
    seen.pop();
    let parse = |line: String| {
        let mut words = line.split("ack ").nth(1)?.split(' ');
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    };
    let acknowledged: Vec<_> = seen.into_iter().filter_map(parse).collect();
    assert!(!acknowledged.is_empty(), "the child wrote nothing");
    acknowledged
}
