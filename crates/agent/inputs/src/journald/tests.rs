use std::os::unix::fs::PermissionsExt;

use camino::Utf8Path;
use event::{Reporter, UnitType};
use fs_err as fs;
use proptest::prelude::*;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::Registry;

const ENTRIES: &[u8] = b"__CURSOR=c1\n__REALTIME_TIMESTAMP=1767323045678000\nMESSAGE=hello\nPRIORITY=6\n_PID=42\n_UID=0\n_COMM=cron\n_SYSTEMD_UNIT=cron.service\nMY_FIELD=x\n\n__CURSOR=c2\n__REALTIME_TIMESTAMP=1767323046000000\nMESSAGE\n\x07\0\0\0\0\0\0\0two\nli\x01\nSYSLOG_IDENTIFIER=app\n\n";

async fn parse(bytes: &[u8]) -> io::Result<Vec<JournalEntry>> {
    let mut entries = Entries::new(bytes);
    let mut parsed = Vec::new();
    while let Some(entry) = entries.next().await? {
        parsed.push(entry);
    }
    Ok(parsed)
}

use std::io;

#[tokio::test]
async fn the_export_format_is_read() {
    let entries = parse(ENTRIES).await.unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[1].0[2], ("MESSAGE".to_owned(), "two\nli\u{1}".to_owned()));
    let (time, cursor, fields) = fields::of(entries[0].clone(), jiff::Timestamp::UNIX_EPOCH);
    assert_eq!(
        (clock::rfc3339_millis(time).as_str(), cursor.as_deref()),
        ("2026-01-02T03:04:05.678Z", Some("c1"))
    );
    let expected = json!({
        "message": "hello",
        "syslog": {"priority": 6},
        "log": {"syslog": {"severity": {"code": 6}}},
        "journald": {"pid": 42, "uid": 0, "process": {"name": "cron"}, "custom": {"my_field": "x"}},
        "process": {"pid": 42, "name": "cron"},
        "systemd": {"unit": "cron.service"},
        "user": {"id": "0"},
        "event": {"created": "1970-01-01T00:00:00.000Z"},
    });
    assert_eq!(Value::Object(fields), expected);
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_an_error_or_an_end() {
    assert!(parse(&ENTRIES[..ENTRIES.len() - 30]).await.is_err());
    assert!(parse(b"MESSAGE\n\xff\xff\xff\xff\xff\xff\xff\xff").await.is_err());
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'='), Just(0_u8), any::<u8>()], 0..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _outcome = runtime.block_on(parse(&bytes));
    }
}

#[test]
fn filters_become_arguments() {
    let settings = json!({"include_matches": ["SYSLOG_FACILITY=0", "SYSLOG_FACILITY=1"], "facilities": [4, 10], "units": ["ssh"], "paths": ["/j", "/k.journal"], "syslog_identifiers": ["a"]});
    let config = Config {
        stream: "s",
        settings: settings.as_object().unwrap(),
    };
    let arguments = arguments(config).unwrap();
    let expected = [
        "--directory=/j",
        "--file=/k.journal",
        "--unit=ssh",
        "--identifier=a",
        "SYSLOG_FACILITY=0",
        "SYSLOG_FACILITY=1",
        "SYSLOG_FACILITY=4",
        "SYSLOG_FACILITY=10",
    ];
    assert_eq!(arguments[4..], expected);
    let settings = json!({"include_matches": ["--boot"]});
    assert!(
        super::arguments(Config {
            stream: "s",
            settings: settings.as_object().unwrap()
        })
        .is_err()
    );
}

fn input(program: &str) -> Journald {
    let data_stream = event::DataStream {
        kind: "logs".into(),
        dataset: "d".into(),
        namespace: "n".into(),
    };
    let documents = Documents::new(
        "j".into(),
        "journald".into(),
        data_stream,
        None,
        event::fields::Fields::new(),
        event::Processors::default(),
    );
    Journald {
        stream_id: "j".into(),
        documents: Arc::new(documents),
        program: program.into(),
        arguments: Vec::new(),
        seek: Seek::Head,
    }
}

struct Run {
    events: tokio::sync::mpsc::Receiver<Vec<Event>>,
    reporter: Reporter,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn run(folder: &Utf8Path, program: &str) -> Run {
    let (sender, events) = tokio::sync::mpsc::channel(4);
    let reporter = Reporter::new("u", UnitType::Input);
    let stop = CancellationToken::new();
    let context = InputContext {
        events: sender,
        reporter: reporter.clone(),
        clock: clock::system(),
        registry: Registry::open(&folder.join("registry")).unwrap(),
        stop: stop.clone(),
    };
    Run {
        events,
        reporter,
        stop,
        task: tokio::spawn(Box::new(input(program)).run(context)),
    }
}

#[tokio::test]
async fn the_cursor_moves_on_acknowledgement() {
    let folder = tempfile::tempdir().unwrap();
    let path = Utf8Path::from_path(folder.path()).unwrap();
    fs::write(path.join("entries"), ENTRIES).unwrap();
    let script = path.join("journalctl");
    // Stands in for the program: says what it was asked, then follows for ever.
    fs::write(
        &script,
        format!("#!/bin/sh\necho \"$@\" >> {path}/asked\ncat {path}/entries\nexec tail -f /dev/null\n"),
    )
    .unwrap();
    fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    for expected in ["--no-tail", "--after-cursor=c1"] {
        let mut run = run(path, script.as_str());
        let events = run.events.recv().await.unwrap();
        assert_eq!(events.len(), 2);
        let document: Value = serde_json::from_slice(&events[1].body).unwrap();
        assert_eq!(
            (&document["message"], &document["log"]["syslog"]["appname"]),
            (&json!("two\nli\u{1}"), &json!("app"))
        );
        // Only the first one arrives.
        events.into_iter().next().unwrap().ack.acknowledge();
        run.stop.cancel();
        run.task.await.unwrap();
        let asked = fs::read_to_string(path.join("asked")).unwrap();
        assert!(asked.lines().last().unwrap().ends_with(expected), "{asked}");
    }
}

#[tokio::test]
async fn without_the_program_the_stream_fails_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(Utf8Path::from_path(folder.path()).unwrap(), "/nonexistent/journalctl");
    let mut reports = run.reporter.subscribe();
    let report = reports
        .wait_for(|report| !report.streams.is_empty())
        .await
        .unwrap()
        .clone();
    let stream = &report.streams["j"];
    assert_eq!(stream.status, UnitState::Failed);
    assert!(stream.error.contains("/nonexistent/journalctl"), "{}", stream.error);
    run.stop.cancel();
    run.task.await.unwrap();
}
