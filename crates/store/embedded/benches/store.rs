//! Documents and updates per CPU-second, and latencies: `cargo bench -p embedded`, with the number of log documents as
//! an argument (300,000 by default). Figures are for all threads of the process, merges included.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use camino::Utf8PathBuf;
use embedded::{EmbeddedOptions, EmbeddedStore};
use query::{Query, SearchRequest, SortOrder};
use serde_json::json;
use store::{Operation, Refresh, Source, Store};

const BATCH: u64 = 1000;
const STREAM: &str = "logs-bench-default";

fn main() {
    let documents = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(300_000);
    let directory = tempfile::tempdir().expect("a temporary folder can be made");
    let folder = Utf8PathBuf::from_path_buf(directory.path().join("data")).expect("the path is UTF-8");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("it starts");
    runtime.block_on(async {
        let store = EmbeddedStore::open(EmbeddedOptions::new(folder.as_path(), clock::system())).expect("it opens");
        ingest(&store, STREAM, documents, log_document).await;
        ingest(&store, "metrics-bench-default", documents / 10, agent_document).await;
        searches(&store).await;
        updates(&store).await;
        fleet_lists(&store).await;
        store.close();
    });
    let opened = Instant::now();
    let store = EmbeddedStore::open(EmbeddedOptions::new(folder.as_path(), clock::system())).expect("it opens");
    say(&format!("start: {:.0} ms", opened.elapsed().as_secs_f64() * 1000.0));
    store.close();
}

fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("the terminal takes a line");
}

/// CPU seconds of this process so far. Source: proc(5), fields 14 and 15 of stat, 100 ticks a second.
fn cpu_seconds() -> f64 {
    let stat = fs_err::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| {
        fields
            .get(field)
            .and_then(|text| text.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    (ticks(11) + ticks(12)) / 100.0
}

fn anonymous_memory() -> String {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon"));
    line.map(|line| line.split_whitespace().skip(1).collect::<Vec<_>>().join(" "))
        .unwrap_or_default()
}

fn log_document(n: u64) -> String {
    let words = [
        "accepted",
        "connection",
        "from",
        "client",
        "closed",
        "timeout",
        "retry",
        "user",
        "session",
        "started",
    ];
    let message: Vec<&str> = (0..9).map(|place| words[((n / (place + 1)) % 10) as usize]).collect();
    let time = jiff::Timestamp::from_millisecond(1_767_225_600_000 + n as i64 * 10).expect("it is in range");
    format!(
        concat!(
            r#"{{"@timestamp":"{}","message":"{} {} {}","log":{{"level":"{}","offset":{},"file":{{"path":"/var/log/app.log"}}}},"#,
            r#""host":{{"name":"host-{}"}},"agent":{{"id":"0d0f8e5a-3b1c-4f0e-9d1a-{:012}"}},"#,
            r#""data_stream":{{"type":"logs","dataset":"bench","namespace":"default"}},"event":{{"dataset":"bench"}},"ecs":{{"version":"8.0.0"}}}}"#
        ),
        clock::rfc3339_millis(time),
        message.join(" "),
        n,
        n % 977,
        ["info", "warn", "error"][(n % 3) as usize],
        n * 120,
        n % 500,
        n % 500,
    )
}

fn agent_document(n: u64) -> String {
    let core = log_document(n);
    format!(
        concat!(
            r#"{},"host":{{"hostname":"host-{}","architecture":"x86_64","id":"7d0f8e5a3b1c4f0e9d1a","ip":["10.0.0.1","fe80::1"],"#,
            r#""mac":["00-11-22-33-44-55"],"os":{{"name":"Debian","family":"debian","kernel":"6.1.0","platform":"debian","type":"linux","version":"12"}},"containerized":false}},"#,
            r#""elastic_agent":{{"id":"x","version":"9.6.0","snapshot":false}},"metricset":{{"name":"cpu","period":10000}},"service":{{"type":"system"}},"#,
            r#""system":{{"cpu":{{"cores":2,"user":{{"pct":0.{}}},"system":{{"pct":0.{}}},"idle":{{"pct":1.{}}},"total":{{"norm":{{"pct":0.{}}}}}}}}}}}"#
        ),
        &core[..core.len() - 1],
        n % 500,
        n % 97,
        n % 89,
        n % 83,
        n % 79,
    )
}

async fn ingest(store: &Arc<EmbeddedStore>, stream: &str, documents: u64, document: fn(u64) -> String) {
    let batches: Vec<Vec<Operation>> = (0..documents / BATCH)
        .map(|batch| {
            let source = |n| Source::from_checked(Bytes::from(document(batch * BATCH + n)));
            (0..BATCH).map(|n| Operation::append(stream, source(n))).collect()
        })
        .collect();
    let bytes = document(1000).len();
    let (cpu, wall) = (cpu_seconds(), Instant::now());
    for batch in batches {
        let outcomes = store.bulk(batch, Refresh::Soon).await.expect("the store answers");
        assert!(
            outcomes.into_iter().all(|outcome| outcome.written().is_ok()),
            "a document was refused"
        );
    }
    let acknowledged = wall.elapsed().as_secs_f64();
    store.compact().await.expect("merged");
    let used = cpu_seconds() - cpu;
    let size: u64 = store
        .data_streams(&[stream.to_owned()])
        .await
        .expect("answers")
        .iter()
        .map(|info| info.bytes)
        .sum();
    say(&format!(
        "{stream}: {documents} documents of {bytes} B: {:.0} a CPU-second, {:.0} a second acknowledged, {} B each on disk, {} anonymous",
        documents as f64 / used,
        documents as f64 / acknowledged,
        size / documents.max(1),
        anonymous_memory(),
    ));
}

async fn timed(store: &Arc<EmbeddedStore>, name: &str, request: SearchRequest) {
    let mut best = f64::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        store.search(request.clone()).await.expect("the store answers");
        best = best.min(start.elapsed().as_secs_f64() * 1000.0);
    }
    say(&format!("{name}: {best:.1} ms"));
}

async fn searches(store: &Arc<EmbeddedStore>) {
    let aggregating = |aggregations: serde_json::Value| {
        let mut request = SearchRequest::from_json(&json!({"size": 0, "aggs": aggregations})).expect("it can be read");
        request.indices = vec![STREAM.to_owned()];
        request
    };
    let histogram = json!({"t": {"date_histogram": {"field": "@timestamp", "fixed_interval": "1m"}, "aggs": {"l": {"terms": {"field": "log.level"}}}}});
    timed(store, "date_histogram x terms", aggregating(histogram)).await;
    timed(
        store,
        "terms of 500",
        aggregating(json!({"h": {"terms": {"field": "host.name"}}})),
    )
    .await;
    let calendar = json!({"t": {"date_histogram": {"field": "@timestamp", "calendar_interval": "1h", "time_zone": "Europe/Berlin"}}});
    timed(store, "calendar date_histogram", aggregating(calendar)).await;
    let newest = SearchRequest::new(STREAM)
        .query(Query::term("host.name", "host-7"))
        .size(100)
        .sort_by("@timestamp", SortOrder::Descending);
    timed(store, "newest 100 of a host", newest).await;
}

async fn updates(store: &Arc<EmbeddedStore>) {
    const AGENTS: u64 = 10_000;
    let body =
        json!({"policy_id": "p", "active": true, "last_checkin": "t", "local_metadata": {"text": "x".repeat(350)}});
    for batch in 0..AGENTS / BATCH {
        let create = |n| {
            Operation::create(
                ".fleet-agents",
                format!("agent-{}", batch * BATCH + n),
                Source::of(&body),
            )
        };
        store
            .bulk((0..BATCH).map(create).collect(), Refresh::Soon)
            .await
            .expect("the store answers");
    }
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..200_u64 {
        let store = store.clone();
        tasks.spawn(async move {
            for round in 0..100 {
                let partial = json!({"last_checkin": format!("t{round}")})
                    .as_object()
                    .cloned()
                    .unwrap_or_default();
                let merge = Operation::merge(".fleet-agents", format!("agent-{}", task * 50 + round % 50), partial);
                store.bulk(vec![merge], Refresh::Soon).await.expect("the store answers");
            }
        });
    }
    tasks.join_all().await;
    let (seconds, used) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    say(&format!(
        "fleet state: {:.0} durable updates a second, {:.0} us CPU each",
        20_000.0 / seconds,
        used * 50.0
    ));
}

/// A page of the list of 25,000 agents, as the console asks for it, with its facets: for the first time, again, and after
/// one agent in a hundred has checked in.
async fn fleet_lists(store: &Arc<EmbeddedStore>) {
    const AGENTS: u64 = 25_000;
    const INDEX: &str = ".fleet-agents-bench";
    let agent = |n: u64| {
        json!({
            "policy_id": format!("policy-{}", n % 7), "active": true, "type": "PERMANENT", "enrolled_at": format!("2026-01-01T{:02}:{:02}:{:02}Z", n / 3600 % 24, n / 60 % 60, n % 60),
            "last_checkin": "2026-03-01T00:00:00Z", "last_checkin_status": "online", "policy_revision_idx": 3, "tags": ["a", "b"],
            "local_metadata": { "host": { "hostname": format!("host-{n}"), "ip": ["10.0.0.1/8", "::1/128"] }, "os": { "name": "Ubuntu" }, "text": "x".repeat(500) },
            "components": [{ "id": "log-default", "status": "HEALTHY", "units": [{ "id": "log-default-1", "message": "x".repeat(300) }] }],
        })
    };
    for batch in 0..AGENTS / BATCH {
        let create = |n| {
            Operation::create(
                INDEX,
                format!("agent-{}", batch * BATCH + n),
                Source::of(&agent(batch * BATCH + n)),
            )
        };
        store
            .bulk((0..BATCH).map(create).collect(), Refresh::Soon)
            .await
            .expect("the store answers");
    }
    let body = json!({
        "query": { "bool": { "filter": [{ "term": { "active": true } }], "must_not": [{ "exists": { "field": "unenrolled_at" } }] } },
        "sort": [{ "enrolled_at": "desc" }, { "local_metadata.host.hostname": "asc" }], "size": 20, "track_total_hits": true,
        "aggs": { "policies": { "terms": { "field": "policy_id", "size": 100 } }, "late": { "filter": { "range": { "last_checkin": { "lt": "now-5m" } } } } },
    });
    let mut request = SearchRequest::from_json(&body).expect("it can be read");
    request.indices = vec![INDEX.to_owned()];
    let list = async |what: &str| {
        let (cpu, rounds) = (cpu_seconds(), 10);
        for _ in 0..rounds {
            store.search(request.clone()).await.expect("the store answers");
        }
        let millis = (cpu_seconds() - cpu) * 1000.0 / f64::from(rounds);
        say(&format!(
            "list of {AGENTS} agents, {what}: {millis:.0} ms CPU, {} anonymous",
            anonymous_memory()
        ));
    };
    let first = cpu_seconds();
    store.search(request.clone()).await.expect("the store answers");
    say(&format!(
        "list of {AGENTS} agents, first: {:.0} ms CPU",
        (cpu_seconds() - first) * 1000.0
    ));
    list("again").await;
    let checked_in = |n: u64| {
        Operation::merge(
            INDEX,
            format!("agent-{}", n * 100),
            json!({"last_checkin": "2026-03-01T00:01:00Z"})
                .as_object()
                .cloned()
                .unwrap_or_default(),
        )
    };
    store
        .bulk((0..AGENTS / 100).map(checked_in).collect(), Refresh::Soon)
        .await
        .expect("the store answers");
    list("after check-ins").await;
}
