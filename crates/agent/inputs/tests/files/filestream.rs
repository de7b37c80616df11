//! Files as a user's programs and logrotate treat them.

use fs_err as fs;
use std::io::Write;

use crate::rig::{Folder, Running, Seen, file_input};
use event::UnitState;
use serde_json::{Value, json};

fn append(path: &camino::Utf8Path, text: &str) {
    fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
}

fn input(folder: &Folder, more: Value) -> Value {
    file_input(&[format!("{}/*.log*", folder.path)], more)
}

#[tokio::test]
async fn a_line_becomes_a_document_with_the_common_fields() {
    let folder = Folder::new();
    append(&folder.path.join("app.log"), "first\r\n\nsecond \"quoted\"\n");
    let more = json!({"tags": ["a"], "processors": [{"add_fields": {"target": "", "fields": {"team": "ops"}}}]});
    let mut running = Running::start(&folder.path, &input(&folder, more));
    let documents = running.documents(2).await;
    let second = &documents[1];
    assert_eq!(second["message"], "second \"quoted\"");
    assert_eq!(second["log"]["offset"], 8);
    assert_eq!(second["log"]["file"]["path"], folder.path.join("app.log").as_str());
    assert!(second["log"]["file"]["inode"].is_string() && second["log"]["file"]["device_id"].is_string());
    assert_eq!(
        second["data_stream"],
        json!({"type": "logs", "dataset": "filestream.generic", "namespace": "default"})
    );
    assert_eq!(second["event"], json!({"dataset": "filestream.generic"}));
    assert_eq!(second["input"]["type"], "filestream");
    assert_eq!(
        (second["agent"]["type"].as_str(), second["agent"]["name"].as_str()),
        (Some("filebeat"), Some("web-01"))
    );
    assert_eq!(
        (&second["tags"], &second["team"], &second["host"]["name"]),
        (&json!(["a"]), &json!("ops"), &json!("web-01"))
    );
    let time = second["@timestamp"].as_str().unwrap();
    assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
    running.stop().await;
}

#[tokio::test]
async fn the_owner_of_a_file_is_named_when_that_is_wanted() {
    let folder = Folder::new();
    append(&folder.path.join("app.log"), "first\n");
    let more = json!({"include_file_owner_name": true, "include_file_owner_group_name": true});
    let mut running = Running::start(&folder.path, &input(&folder, more));
    let documents = running.documents(1).await;
    let file = &documents[0]["log"]["file"];
    let named = |format: &str| {
        let log = folder.path.join("app.log");
        let said = std::process::Command::new("stat")
            .args(["-c", format, log.as_str()])
            .output()
            .unwrap();
        String::from_utf8(said.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(
        (&file["owner"], &file["group"]),
        (&json!(named("%U")), &json!(named("%G")))
    );
    running.stop().await;
}

#[tokio::test]
async fn reading_goes_on_where_it_was_acknowledged() {
    let folder = Folder::new();
    let log = folder.path.join("app.log");
    append(&log, "1\n2\n");
    let mut running = Running::start(&folder.path, &input(&folder, json!({})));
    let mut seen = Seen::default();
    running.collect(&mut seen, |seen| seen.has("2")).await;
    append(&log, "3\n");
    // The third line is read and never acknowledged.
    assert_eq!(running.next().await.len(), 1);
    running.stop().await;
    append(&log, "4\n");
    let mut running = Running::start(&folder.path, &input(&folder, json!({})));
    running.collect(&mut seen, |seen| seen.has("4")).await;
    running.stop().await;
    assert_eq!(seen.messages.values().copied().collect::<Vec<_>>(), [1, 1, 1, 1]);
}

#[tokio::test]
async fn a_renamed_file_is_read_to_its_end_and_not_again() {
    let folder = Folder::new();
    let (log, rotated) = (folder.path.join("app.log"), folder.path.join("app.log.1"));
    append(&log, "a1\n");
    let mut running = Running::start(&folder.path, &input(&folder, json!({})));
    let mut seen = Seen::default();
    running.collect(&mut seen, |seen| seen.has("a1")).await;
    append(&log, "a2\n");
    fs::rename(&log, &rotated).unwrap();
    append(&rotated, "a3\n");
    append(&log, "b1\n");
    running
        .collect(&mut seen, |seen| ["a2", "a3", "b1"].iter().all(|line| seen.has(line)))
        .await;
    running.stop().await;
    assert!(seen.doubled().is_empty(), "{seen:?}");
}

#[tokio::test]
async fn copy_and_truncate_loses_and_doubles_nothing() {
    let folder = Folder::new();
    let (log, copy) = (folder.path.join("app.log"), folder.path.join("app.log.1"));
    let lines: Vec<String> = (0..200)
        .map(|number| format!("line {number} of the first round"))
        .collect();
    append(&log, &format!("{}\n", lines.join("\n")));
    let mut running = Running::start(&folder.path, &input(&folder, json!({})));
    let mut seen = Seen::default();
    running.collect(&mut seen, |seen| seen.messages.len() == 200).await;
    append(&log, "tail that only the copy will have\n");
    fs::copy(&log, &copy).unwrap();
    fs::write(&log, "new 1\n").unwrap();
    running
        .collect(&mut seen, |seen| {
            seen.has("new 1") && seen.has("tail that only the copy will have")
        })
        .await;
    append(&log, "new 2\n");
    running.collect(&mut seen, |seen| seen.has("new 2")).await;
    running.stop().await;
    assert!(seen.doubled().is_empty(), "{:?}", seen.doubled());
    assert_eq!(seen.messages.len(), 203);
}

#[tokio::test]
async fn a_refilled_file_is_read_from_its_start_even_when_it_is_longer() {
    let folder = Folder::new();
    let log = folder.path.join("app.log");
    let mut running = Running::start(&folder.path, &input(&folder, json!({})));
    let mut seen = Seen::default();
    append(&log, "old\n");
    running.collect(&mut seen, |seen| seen.has("old")).await;
    fs::write(&log, "new one, longer than before\nnew two\n").unwrap();
    running.collect(&mut seen, |seen| seen.has("new two")).await;
    assert!(seen.has("new one, longer than before"));
    running.stop().await;
}

#[tokio::test]
async fn a_file_that_was_replaced_while_nobody_looked_is_read_from_its_start() {
    let folder = Folder::new();
    let log = folder.path.join("app.log");
    append(&log, "old 1\nold 2\n");
    let mut running = Running::start(&folder.path, &input(&folder, json!({})));
    let mut seen = Seen::default();
    running.collect(&mut seen, |seen| seen.has("old 2")).await;
    running.stop().await;
    fs::remove_file(&log).unwrap();
    // On many file systems this takes the inode that has just become free.
    append(&log, "new 1\nnew 2\nnew 3\n");
    let mut running = Running::start(&folder.path, &input(&folder, json!({})));
    running.collect(&mut seen, |seen| seen.has("new 3")).await;
    running.stop().await;
    assert!(seen.has("new 1") && seen.has("new 2"));
    assert!(seen.doubled().is_empty(), "{seen:?}");
}

#[tokio::test]
async fn the_last_line_waits_for_its_end() {
    let folder = Folder::new();
    let log = folder.path.join("app.log");
    append(&log, "whole\nhal");
    let mut running = Running::start(&folder.path, &input(&folder, json!({})));
    assert_eq!(running.documents(1).await[0]["message"], "whole");
    append(&log, "f\n");
    let documents = running.documents(1).await;
    assert_eq!(
        (&documents[0]["message"], &documents[0]["log"]["offset"]),
        (&json!("half"), &json!(6))
    );
    running.stop().await;
}

#[tokio::test]
async fn lines_are_joined_chosen_and_cut() {
    let folder = Folder::new();
    append(
        &folder.path.join("app.log"),
        "noise\nkeep this\n  and this\nkeep that which is much too long\n",
    );
    let more = json!({
        "parsers": [{"multiline": {"pattern": "^\\s", "match": "after", "timeout": "50ms"}}],
        "include_lines": ["^keep"], "exclude_lines": ["nothing"], "message_max_bytes": 12,
    });
    let mut running = Running::start(&folder.path, &input(&folder, more));
    let documents = running.documents(2).await;
    assert_eq!(documents[0]["message"], "keep this\n  and this");
    assert_eq!(
        (&documents[0]["log"]["offset"], &documents[0]["log"]["flags"]),
        (&json!(6), &json!(["multiline"]))
    );
    assert_eq!(
        (&documents[1]["message"], &documents[1]["log"]["flags"]),
        (&json!("keep that wh"), &json!(["truncated"]))
    );
    running.stop().await;
}

#[tokio::test]
async fn old_and_excluded_files_are_left_alone() {
    let folder = Folder::new();
    append(&folder.path.join("old.log"), "old\n");
    append(&folder.path.join("a.log.gz"), "not for us\n");
    let hour_ago = std::time::SystemTime::UNIX_EPOCH;
    fs::File::options()
        .append(true)
        .open(folder.path.join("old.log"))
        .unwrap()
        .file()
        .set_modified(hour_ago)
        .unwrap();
    append(&folder.path.join("new.log"), "new\n");
    let more = json!({"ignore_older": "1h", "prospector.scanner.exclude_files": ["\\.gz$"]});
    let mut running = Running::start(&folder.path, &input(&folder, more));
    let mut seen = Seen::default();
    running.collect(&mut seen, |seen| seen.has("new")).await;
    append(&folder.path.join("old.log"), "fresh\n");
    running.collect(&mut seen, |seen| seen.has("fresh")).await;
    running.stop().await;
    assert_eq!(seen.messages.len(), 2, "{seen:?}");
}

#[tokio::test]
async fn gzip_files_are_read_and_are_known_by_what_is_in_them() {
    let folder = Folder::new();
    let (log, packed) = (folder.path.join("app.log"), folder.path.join("app.log.1.gz"));
    let lines: Vec<String> = (0..100)
        .map(|number| format!("line {number} with some text behind it"))
        .collect();
    let lines = format!("{}\n", lines.join("\n"));
    append(&log, &lines);
    let more = json!({"compression": "auto"});
    let mut running = Running::start(&folder.path, &input(&folder, more.clone()));
    let mut seen = Seen::default();
    running.collect(&mut seen, |seen| seen.messages.len() == 100).await;
    running.stop().await;
    append(&log, "the last line before it was packed\n");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&fs::read(&log).unwrap()).unwrap();
    fs::write(&packed, encoder.finish().unwrap()).unwrap();
    fs::write(&log, "new\n").unwrap();
    let mut running = Running::start(&folder.path, &input(&folder, more));
    running
        .collect(&mut seen, |seen| {
            seen.has("new") && seen.has("the last line before it was packed")
        })
        .await;
    running.stop().await;
    assert!(seen.doubled().is_empty(), "{:?}", seen.doubled());
}

#[tokio::test]
async fn a_file_that_cannot_be_read_degrades_the_stream() {
    let folder = Folder::new();
    fs::create_dir(folder.path.join("x")).unwrap();
    // A gzip file that is none fails for every user, also for root.
    append(&folder.path.join("broken.log"), "this is not gzip at all\n");
    let running = Running::start(&folder.path, &input(&folder, json!({"compression": "gzip"})));
    let mut reports = running.reporter.subscribe();
    let degraded = reports.wait_for(|report| report.state == UnitState::Degraded);
    let message = tokio::time::timeout(crate::rig::PATIENCE, degraded)
        .await
        .unwrap()
        .unwrap()
        .message
        .clone();
    assert!(message.contains("stream `files`"), "{message}");
    running.stop().await;
}

#[tokio::test]
async fn harvester_limit_lets_every_file_have_its_turn() {
    let folder = Folder::new();
    for number in 0..5 {
        append(&folder.path.join(format!("{number}.log")), &format!("from {number}\n"));
    }
    let more = json!({"harvester_limit": 1, "close.reader.on_eof": true});
    let mut running = Running::start(&folder.path, &input(&folder, more));
    let mut seen = Seen::default();
    running.collect(&mut seen, |seen| seen.messages.len() == 5).await;
    running.stop().await;
}

#[tokio::test]
async fn a_touched_file_is_read_again_when_that_is_wanted() {
    let folder = Folder::new();
    let path = folder.path.join("job.log");
    append(&path, "once\n");
    let mut running = Running::start(
        &folder.path,
        &input(&folder, json!({"prospector.scanner.resend_on_touch": true})),
    );
    running.documents(1).await;
    let later = fs::metadata(&path).unwrap().modified().unwrap() + std::time::Duration::from_mins(1);
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .file()
        .set_modified(later)
        .unwrap();
    let again = running.documents(1).await;
    assert_eq!(
        (again[0]["message"].as_str(), again[0]["log"]["offset"].as_u64()),
        (Some("once"), Some(0))
    );
    running.stop().await;
}

#[tokio::test]
async fn files_are_deleted_once_they_are_acknowledged_and_no_sooner() {
    let folder = Folder::new();
    let path = folder.path.join("job.log");
    append(&path, "one\ntwo\n");
    let more = json!({"delete": {"enabled": true, "grace_period": "10ms"}, "close.reader.on_eof": true});
    let mut running = Running::start(&folder.path, &input(&folder, more));
    let events = running.next().await;
    assert_eq!(events.len(), 2);
    // Another file comes and goes while the first is not acknowledged: it has been scanned again since.
    let other = folder.path.join("other.log");
    append(&other, "three\n");
    running.documents(1).await;
    crate::rig::until(|| !other.exists()).await;
    assert!(path.exists());
    for event in events {
        event.ack.acknowledge();
    }
    crate::rig::until(|| !path.exists()).await;
    running.stop().await;
}

#[tokio::test]
async fn another_stream_takes_over_where_one_has_ended() {
    let folder = Folder::new();
    append(&folder.path.join("app.log"), "before\n");
    let mut running = Running::start(&folder.path, &input(&folder, json!({"id": "old"})));
    running.documents(1).await;
    running.stop().await;
    append(&folder.path.join("app.log"), "after\n");
    let more = json!({"id": "new", "take_over": {"enabled": true, "from_ids": ["old"]}});
    let mut running = Running::start(&folder.path, &input(&folder, more));
    assert_eq!(running.documents(1).await[0]["message"], "after");
    running.stop().await;
    // The old stream has nothing left: it would start anew.
    let mut running = Running::start(&folder.path, &input(&folder, json!({"id": "old"})));
    assert_eq!(running.documents(2).await[0]["message"], "before");
    running.stop().await;
}

#[tokio::test]
async fn a_stream_that_stops_reads_its_files_to_the_end_when_that_is_wanted() {
    let folder = Folder::new();
    let lines = "a line of a file that takes a while to read\n".repeat(20_000);
    append(&folder.path.join("app.log"), &lines);
    let more = json!({"read_until_eof": {"enabled": true, "timeout": "60s"}});
    let mut running = Running::start(&folder.path, &input(&folder, more));
    let mut seen = running.documents(1).await.len();
    running.begin_to_stop();
    while seen < 20_000 {
        seen += running.documents(1).await.len();
    }
    assert_eq!(seen, 20_000);
    running.stop().await;
}
