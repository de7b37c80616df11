//! The logstash output against a Lumberjack 2 server of a few lines.

use std::io::Read;
use std::time::Duration;

use outputs::StopOutcome;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::events;
use crate::{LONG, build, folder, tracked};
use event::Ack;

/// Reads one window; the events in it.
async fn window(stream: &mut TcpStream) -> Vec<Value> {
    let mut head = [0; 6];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head[..2], b"2W");
    let count = u32::from_be_bytes(head[2..].try_into().unwrap());
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head[..2], b"2C");
    let mut packed = vec![0; u32::from_be_bytes(head[2..].try_into().unwrap()) as usize];
    stream.read_exact(&mut packed).await.unwrap();
    let mut frames = Vec::new();
    flate2::read::ZlibDecoder::new(&packed[..])
        .read_to_end(&mut frames)
        .unwrap();
    let mut rest = &frames[..];
    let mut events = Vec::new();
    while let Some((head, after)) = rest.split_first_chunk::<10>() {
        assert_eq!(&head[..2], b"2J");
        assert_eq!(
            u32::from_be_bytes(head[2..6].try_into().unwrap()) as usize,
            events.len() + 1
        );
        let (json, after) = after.split_at(u32::from_be_bytes(head[6..].try_into().unwrap()) as usize);
        events.push(serde_json::from_slice(json).unwrap());
        rest = after;
    }
    assert_eq!(events.len(), count as usize);
    events
}

async fn acknowledge(stream: &mut TcpStream, sequence: u32) {
    stream
        .write_all(&[b"2A".as_slice(), &sequence.to_be_bytes()].concat())
        .await
        .unwrap();
}

fn messages(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["message"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_window_is_sent_and_what_is_not_acknowledged_is_sent_again() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let folder = folder();
    let block = json!({
        "type": "logstash", "hosts": [listener.local_addr().unwrap().to_string()],
        "queue.mem.flush.timeout": "20ms", "backoff": {"init": "10ms", "max": "20ms"},
    });
    let output = build(&block, &folder.path);
    let (tracker, reached) = tracked();
    output
        .replayable
        .send(events(&["a", "b", "c"], |number| tracker.issue(number as u64 + 1)))
        .await
        .unwrap();

    let (mut first, _) = listener.accept().await.unwrap();
    let sent = window(&mut first).await;
    assert_eq!(messages(&sent), ["a", "b", "c"]);
    assert_eq!(sent[0]["@metadata"]["raw_index"], "logs-test-default");
    acknowledge(&mut first, 1).await;
    drop(first);

    let (mut second, _) = listener.accept().await.unwrap();
    assert_eq!(messages(&window(&mut second).await), ["b", "c"]);
    // A sign of life, then the rest.
    acknowledge(&mut second, 0).await;
    acknowledge(&mut second, 2).await;
    assert_eq!(output.stop_and_wait(LONG).await, StopOutcome::Clean);
    assert_eq!(*reached.lock().unwrap(), 3);
}

#[tokio::test]
async fn the_file_output_writes_lines_before_it_acknowledges() {
    let folder = folder();
    let output = build(
        &json!({"type": "file", "path": folder.path.join("out"), "filename": "x"}),
        &folder.path,
    );
    let (tracker, reached) = tracked();
    output
        .replayable
        .send(events(&["a", "b"], |number| tracker.issue(number as u64 + 1)))
        .await
        .unwrap();
    assert_eq!(output.stop_and_wait(LONG).await, StopOutcome::Clean);
    assert_eq!(*reached.lock().unwrap(), 2);
    let file = fs_err::read_dir(folder.path.join("out"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    assert_eq!(
        fs_err::read_to_string(file).unwrap(),
        "{\"message\":\"a\"}\n{\"message\":\"b\"}\n"
    );
}

#[tokio::test]
async fn events_that_exist_only_in_memory_are_on_disk_after_a_stop() {
    // Nobody listens here.
    let [port] = testkit::free_ports();
    let folder = folder();
    let block =
        json!({"type": "logstash", "hosts": [format!("127.0.0.1:{port}")], "backoff": {"init": "10ms", "max": "20ms"}});
    let output = build(&block, &folder.path);
    output.events.send(events(&["a", "b"], |_| Ack::none())).await.unwrap();
    output.stop_and_wait(Duration::from_millis(50)).await;
    let output = build(&block, &folder.path);
    assert_eq!(output.on_disk().0, 2);
}
