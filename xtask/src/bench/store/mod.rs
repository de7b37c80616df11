//! `cargo xtask bench store`: the embedded store behind its API, and OpenSearch with the same documents beside it.

mod documents;
mod server;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use self::documents::{BATCH, Shape};
use self::server::{OpenSearch, Server};
use super::process::Up;
use super::row;

/// Requests at once.
const SENDERS: u64 = 2;
const LOOKS: usize = 9;

/// Flags of `bench store`.
#[derive(clap::Args)]
pub(crate) struct StoreBench {
    /// Log documents in the end
    #[arg(long, default_value_t = 10_000_000)]
    documents: u64,
    /// Log documents that OpenSearch gets as well; of agent documents a third
    #[arg(long, default_value_t = 600_000)]
    side_by_side: u64,
    /// Leave OpenSearch out
    #[arg(long)]
    alone: bool,
    /// A release binary; without it one is built
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// Prints the rows.
pub(crate) fn run(bench: &StoreBench) -> Result<()> {
    let binary = match &bench.binary {
        Some(binary) => binary.clone(),
        None => super::release_binary()?,
    };
    let folder = std::env::temp_dir().join(format!("flotilla-bench-{}", std::process::id()));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let measured = runtime.block_on(async {
        ours(bench, &binary, &folder.join("data")).await?;
        if bench.alone {
            return Ok(());
        }
        theirs(bench, &folder.join("opensearch")).await
    });
    std::fs::remove_dir_all(&folder)?;
    measured
}

async fn ours(bench: &StoreBench, binary: &std::path::Path, data_dir: &std::path::Path) -> Result<()> {
    let up = Up::start(binary, data_dir)?;
    let server = Server::of(&up)?;
    let empty = server.at_rest().await?;
    row("empty store, all of `up`: private memory", megabytes(empty.private));
    both_shapes("ours", bench, &server).await?;
    until_found(&server).await?;
    fleet_state(&server).await?;
    let most = fill(&server, bench.side_by_side, bench.documents).await?;
    row(
        &format!(
            "private memory while documents up to {} come in, the most",
            bench.documents
        ),
        megabytes(most),
    );
    server.at_rest().await?;
    searches(&server).await?;
    kill_and_start(up, &server, binary, data_dir, bench.documents).await
}

async fn theirs(bench: &StoreBench, folder: &std::path::Path) -> Result<()> {
    let Some((_node, server)) = OpenSearch::start(folder)? else {
        row("OpenSearch", "its scripts are not here; set FLOTILLA_SHARED_TOOLS");
        return Ok(());
    };
    let mut client = server.client().await?;
    let keyword = json!({ "type": "keyword" });
    let template = json!({
        "index_patterns": ["logs-bench*-*"], "data_stream": {}, "priority": 500,
        "template": { "settings": { "index": { "number_of_replicas": 0 } }, "mappings": {
            "dynamic_templates": [{ "strings": { "match_mapping_type": "string", "mapping": keyword } }],
            "properties": { "@timestamp": { "type": "date" }, "message": { "type": "match_only_text" } },
        } },
    });
    client
        .ask(Method::PUT, "/_index_template/bench", template.to_string())
        .await?;
    server.at_rest().await?;
    both_shapes("OpenSearch", bench, &server).await
}

async fn both_shapes(name: &str, bench: &StoreBench, server: &Server) -> Result<()> {
    measure_shape(name, server, Shape::Log, bench.side_by_side.next_multiple_of(BATCH)).await?;
    let third = (bench.side_by_side / 3).next_multiple_of(BATCH);
    measure_shape(name, server, Shape::Agent, third).await
}

async fn measure_shape(name: &str, server: &Server, shape: Shape, documents: u64) -> Result<()> {
    let before = server.figures()?;
    let started = Instant::now();
    send(server, shape, 0, documents).await?;
    let seconds = started.elapsed().as_secs_f64();
    let spent = before.until(server.at_rest().await?);
    let octets = shape.body(0).len() as u64 / BATCH - 14;
    row(
        &format!("{name}: `_bulk` of {BATCH} over HTTPS, {documents} documents of {octets} octets"),
        format!(
            "{:.0} docs per CPU-second, {:.0}/s acknowledged",
            documents as f64 / spent.cpu,
            documents as f64 / seconds
        ),
    );
    let mut client = server.client().await?;
    client
        .ask(Method::POST, &format!("/{}/_refresh", shape.stream()), "")
        .await?;
    server.at_rest().await?;
    let (count, bytes) = client.size_of(shape.stream()).await?;
    ensure!(count == documents, "{count} of {documents} documents are there");
    row(
        &format!("{name}: disk for each of them"),
        format!("{} octets", bytes / documents),
    );
    Ok(())
}

/// Sends the documents from `first` to before `end`, a few requests at once.
async fn send(server: &Server, shape: Shape, first: u64, end: u64) -> Result<()> {
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let mut client = server.client().await?;
        senders.spawn(async move {
            let mut next = first + sender * BATCH;
            while next < end {
                client.bulk(shape.stream(), shape.body(next)).await?;
                next += SENDERS * BATCH;
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    while let Some(done) = senders.join_next().await {
        done??;
    }
    Ok(())
}

/// From the acknowledgement to a search that finds the document.
async fn until_found(server: &Server) -> Result<()> {
    let mut client = server.client().await?;
    let mut waits = Vec::new();
    for number in 0..LOOKS {
        let document = json!({ "@timestamp": "2026-01-01T00:00:00Z", "trace.id": format!("look-{number}") });
        let body = format!("{{\"create\":{{}}}}\n{document}\n");
        client.bulk("logs-bench.visible-default", body.into_bytes()).await?;
        let acknowledged = Instant::now();
        let path = format!("/logs-bench.visible-default/_count?q=trace.id:look-{number}");
        while client.ask(Method::GET, &path, "").await?["count"] != 1 {
            ensure!(acknowledged.elapsed() < Duration::from_mins(1), "it is never found");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        waits.push(acknowledged.elapsed());
    }
    waits.sort();
    row(
        "visible to search after an acknowledgement, median and worst",
        format!(
            "{:.2} / {:.2} s",
            waits[LOOKS / 2].as_secs_f64(),
            waits[LOOKS - 1].as_secs_f64()
        ),
    );
    Ok(())
}

/// Versioned updates of documents of agents, each its own request over HTTPS.
async fn fleet_state(server: &Server) -> Result<()> {
    const TASKS: u64 = 64;
    const UPDATES: u64 = 300;
    let mut client = server.client().await?;
    let text = "x".repeat(350);
    for task in 0..TASKS {
        let path = format!("/.fleet-agents/_doc/bench-{task}");
        let body = json!({ "policy_id": "p", "active": true, "local_metadata": { "text": text } });
        client.ask(Method::PUT, &path, body.to_string()).await?;
    }
    let before = server.figures()?;
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let mut client = server.client().await?;
        tasks.spawn(async move {
            for round in 0..UPDATES {
                let body = json!({ "doc": { "last_checkin": format!("t{round}") } }).to_string();
                let path = format!("/.fleet-agents/_update/bench-{task}");
                client.ask(Method::POST, &path, body).await?;
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let spent = before.until(server.figures()?);
    let updates = (TASKS * UPDATES) as f64;
    row(
        &format!(
            "fleet state: durable updates, a request each over HTTPS, {TASKS} tasks (without HTTP: `cargo bench -p embedded`)"
        ),
        format!(
            "{:.0}/s, {:.0} us of CPU each",
            updates / started.elapsed().as_secs_f64(),
            spent.cpu / updates * 1e6
        ),
    );
    Ok(())
}

/// Sends the rest; returns the most private memory meanwhile, in KiB.
async fn fill(server: &Server, first: u64, end: u64) -> Result<u64> {
    let sending = send(server, Shape::Log, first, end);
    tokio::pin!(sending);
    let mut most = 0;
    loop {
        tokio::select! {
            done = &mut sending => return done.map(|()| most),
            () = tokio::time::sleep(Duration::from_millis(500)) => most = most.max(server.figures()?.private),
        }
    }
}

async fn searches(server: &Server) -> Result<()> {
    let histogram = json!({ "size": 0, "track_total_hits": false, "aggs": {
        "levels": { "terms": { "field": "log.level" } },
        "times": { "date_histogram": { "field": "@timestamp", "fixed_interval": "3h" } },
    } });
    timed(server, "`terms` and `date_histogram` over all", &histogram).await?;
    let nested = json!({ "size": 0, "track_total_hits": false, "aggs": {
        "times": { "date_histogram": { "field": "@timestamp", "fixed_interval": "3h" }, "aggs": {
            "levels": { "terms": { "field": "log.level" } },
        } },
    } });
    timed(server, "`terms` in each bucket of a `date_histogram` over all", &nested).await?;
    let newest = json!({
        "size": 100, "track_total_hits": false, "sort": [{ "@timestamp": "desc" }],
        "query": { "bool": { "filter": [{ "term": { "host.name": "host-7" } }] } },
    });
    timed(server, "newest 100 by a keyword filter", &newest).await
}

async fn timed(server: &Server, what: &str, body: &Value) -> Result<()> {
    let mut client = server.client().await?;
    let mut times = Vec::new();
    for _ in 0..LOOKS {
        let started = Instant::now();
        let path = format!("/{}/_search", Shape::Log.stream());
        client.ask(Method::POST, &path, body.to_string()).await?;
        times.push(started.elapsed());
    }
    // Segments keep what was counted in them: the first look is the one that reads them all.
    let first = times[0].as_secs_f64() * 1e3;
    times.sort();
    let median = times[LOOKS / 2].as_secs_f64() * 1e3;
    row(what, format!("first {first:.0} ms, median {median:.0} ms"));
    Ok(())
}

/// Killed while documents come in; what was there before must be there again.
async fn kill_and_start(
    up: Up,
    server: &Server,
    binary: &std::path::Path,
    data_dir: &std::path::Path,
    documents: u64,
) -> Result<()> {
    let sender = server.clone();
    let sending = tokio::spawn(async move { send(&sender, Shape::Log, documents, u64::MAX / 2).await });
    tokio::time::sleep(Duration::from_secs(3)).await;
    up.kill()?;
    ensure!(sending.await?.is_err(), "it goes on after it was killed");
    let up = Up::start(binary, data_dir)?;
    row(
        &format!("start after kill -9 with {documents} documents, all of `up`"),
        format!("{:.2} s", up.started_in.as_secs_f64()),
    );
    let mut client = Server::of(&up)?.client().await?;
    let path = format!("/{}/_count", Shape::Log.stream());
    let count = client.ask(Method::GET, &path, "").await?;
    let count = count["count"].as_u64().context("no count")?;
    ensure!(count >= documents, "{count} of {documents} documents are there");
    up.stop()
}

fn megabytes(kib: u64) -> String {
    format!("{:.1} MB", kib as f64 * 1024.0 / 1e6)
}
