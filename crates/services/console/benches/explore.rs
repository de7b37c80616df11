//! Explore and Hosts over many documents: `cargo bench -p fleet-console --bench explore`, with the number of documents as an
//! argument (1,000,000 by default) and, if wanted, a folder that keeps the store for the next time. Milliseconds in the server,
//! without a network: the median of some rounds, and the worst.

mod server;

use std::io::Write;
use std::time::Instant;

use camino::Utf8PathBuf;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use server::{Server, say};
use store::{Operation, Refresh, Source};

const BATCH: u64 = 5_000;
const HOSTS: u64 = 200;
/// What the documents are spread over: the whole of the range that is asked for.
const SPREAD: SignedDuration = SignedDuration::from_hours(23);
const DATASETS: [&str; 4] = ["nginx.access", "nginx.error", "system.syslog", "harbour"];

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let documents = arguments.iter().find_map(|argument| argument.parse().ok());
    let folder = arguments.iter().find(|argument| argument.contains('/'));
    let folder = folder.map(Utf8PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("it starts");
    runtime.block_on(async {
        let server = Server::start(folder.as_deref()).await;
        fill(&server, documents.unwrap_or(1_000_000)).await;
        requests(&server).await;
    });
}

async fn fill(server: &Server, wanted: u64) {
    let all = query::Query::MatchAll;
    let present = server
        .store
        .count(&["logs-*".to_owned()], &all)
        .await
        .expect("it is counted");
    let (started, now) = (Instant::now(), clock::system().now());
    let step = SPREAD.as_millis() as i64 / i64::try_from(wanted.max(1)).expect("a number of documents");
    let from = now.checked_sub(SPREAD).expect("a day ago");
    for start in (present..wanted).step_by(BATCH as usize) {
        let operations = (start..wanted.min(start + BATCH)).map(|number| {
            let offset = SignedDuration::from_millis(step * number as i64);
            document(number, from.checked_add(offset).unwrap_or(now))
        });
        let outcomes = server.store.bulk(operations.collect(), Refresh::Soon).await;
        let outcomes = outcomes.expect("it is written");
        assert!(outcomes.into_iter().all(|outcome| outcome.written().is_ok()));
    }
    let took = started.elapsed().as_secs_f64();
    let written = wanted.saturating_sub(present);
    writeln!(
        std::io::stdout(),
        "{written} documents written in {took:.0} s, {present} were there"
    )
    .expect("a terminal");
}

/// About 400 bytes, as a log of a server has them.
fn document(number: u64, time: Timestamp) -> Operation {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
    let dataset = DATASETS[(mixed % 4) as usize];
    let level = match mixed % 100 {
        0..3 => "error",
        3..10 => "warn",
        _ => "info",
    };
    let verb = ["accepted", "refused", "closed", "timed out", "reset"][(mixed / 7 % 5) as usize];
    let host = format!("web-{:03}", mixed / 11 % HOSTS);
    let process = ["nginx", "sshd", "harbourd"][(mixed % 3) as usize];
    let status = [200, 200, 200, 301, 404, 500][(mixed % 6) as usize];
    let source = json!({
        "@timestamp": clock::rfc3339_millis(time),
        "message": format!("connection {number} from client {} {verb} after {} ms", mixed % 5_000, mixed % 977),
        "log": {"level": level, "file": {"path": format!("/var/log/{dataset}.log")}, "offset": number * 120},
        "host": {"name": host, "ip": [format!("10.1.{}.{}", mixed % 250, mixed / 3 % 250)]},
        "process": {"name": process, "pid": mixed % 30_000},
        "http": {"response": {"status_code": status}},
        "data_stream": {"type": "logs", "dataset": dataset, "namespace": "default"},
        "agent": {"id": format!("agent-{:03}", mixed / 11 % HOSTS), "version": "9.6.0"},
        "event": {"dataset": dataset},
    });
    Operation::append(format!("logs-{dataset}-default"), Source::of(&source))
}

async fn requests(server: &Server) {
    // What comes first pays for what is read from the disk.
    let first = Instant::now();
    server
        .timed_page("Explore, the range that it opens with", "/app/explore")
        .await;
    say("of that the first", vec![first.elapsed().as_secs_f64() * 1000.0]);
    for (what, query) in [
        ("first page and histogram of all documents", "range=24h"),
        ("the same over 7 days", "range=7d"),
        ("top values of log.level", "range=24h&field=log.level"),
        ("top values of host.name", "range=24h&field=host.name"),
        ("top values of a number", "range=24h&field=http.response.status_code"),
        ("a KQL filter: a level", "range=24h&q=log.level%20%3A%20error"),
        ("a KQL filter: words", "range=24h&q=message%20%3A%20refused"),
        (
            "a KQL filter: two fields",
            "range=24h&q=log.level%20%3A%20error%20and%20host.name%20%3A%20web-04*",
        ),
        (
            "a KQL filter: a number that few have",
            "range=24h&q=process.pid%20%3A%2012345",
        ),
        ("a KQL filter: not", "range=24h&q=not%20log.level%20%3A%20info"),
        ("a host, newest first", "range=24h&f=host.name%20%3A%20%22web-042%22"),
        (
            "a table of columns",
            "range=24h&column=host.name&column=message&column=log.level",
        ),
        ("one data stream", "range=24h&index=logs-harbour-default"),
    ] {
        server.timed_page(what, &format!("/app/explore?{query}")).await;
    }
    for (what, query) in [
        ("suggested fields", "range=24h&q=ho"),
        ("suggested values", "range=24h&q=host.name%20%3A%20we"),
    ] {
        server.timed_page(what, &format!("/app/explore/suggest?{query}")).await;
    }
    server.timed_page("the page Hosts", "/app/hosts").await;
    server
        .timed_page("the page Data streams", "/app/fleet/data-streams")
        .await;
    server.timed_page("the page Home", "/").await;
}
