//! The same requests to a real engine and to us: the answers are the same in status, shape and values.
//!
//! `requests.ndjson` (Elasticsearch) and `requests_opensearch.ndjson` (what the Elasticsearch that can be had as a package
//! lacks: pipelines of documents, `_reindex`, most pipeline aggregations) hold one request a line: method, path, body, and
//! whether the body is lines of JSON.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use access::{Access, Secret};
use axum::body::Body;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use elasticsearch_api::{ApiSettings, ElasticsearchApi};
use embedded::{EmbeddedOptions, EmbeddedStore};
use http::Request;
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::{Map, Value};
use store::Store;
use testkit::{Engine, RealNode};
use tower::ServiceExt;

/// What differs from node to node, or what only a cluster has.
const OWN: &[&str] = &[
    "_id",
    "_ignored",
    "_node",
    "_scroll_id",
    "_seq_no",
    "_shard",
    "_shards",
    "caused_by",
    "col",
    "created_date_millis",
    "creation_date",
    "failed_shards",
    "grouped",
    "header",
    "id",
    "index_uuid",
    "inference",
    "ingest_took",
    "line",
    "modified_date_millis",
    "node",
    "phase",
    "pit_id",
    "provided_name",
    "reason",
    "resource.id",
    "root_cause",
    "routing",
    "shard",
    "sort",
    "terminated_early",
    "took",
    "total_size_in_bytes",
    "uuid",
    "version",
];
/// What only one of the two families says.
const OF_THE_OTHER_FAMILY: &[&str] = &[
    "_version",
    "processor_tag",
    "processor_type",
    "property_name",
    "timestamp",
];
/// Deleted documents count in the original's statistics until a merge: that there is a score is compared, not how high.
const SCORES: &[&str] = &["_score", "max_score"];

#[derive(Deserialize)]
struct Case(String, String, Option<Value>, bool);

impl Case {
    fn body(&self) -> String {
        match &self.2 {
            None => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        }
    }

    fn content_type(&self) -> &'static str {
        if self.3 {
            "application/x-ndjson"
        } else {
            "application/json"
        }
    }

    /// Whether the answer depends on what a refresh has made visible.
    fn searches(&self) -> bool {
        [
            "_search",
            "_msearch",
            "_count",
            "/_cat/",
            "_explain",
            "_terms_enum",
            "_field_caps",
        ]
        .iter()
        .any(|name| self.1.contains(name))
    }

    fn refresh() -> Self {
        Self("POST".to_owned(), "/_refresh".to_owned(), None, false)
    }
}

struct Ours {
    router: axum::Router,
    _folder: tempfile::TempDir,
}

impl Ours {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let directory = camino::Utf8PathBuf::from_path_buf(folder.path().join("store")).unwrap();
        let clock = clock::system();
        let store: Arc<dyn Store> = EmbeddedStore::open(EmbeddedOptions::new(directory, clock.clone())).unwrap();
        let access = Access::open(Arc::clone(&store), clock.clone()).await.unwrap();
        access.set_password("elastic", Secret::from("password")).await.unwrap();
        let settings = ApiSettings {
            cluster_name: "flotilla".to_owned(),
            node_name: "node1".to_owned(),
            cluster_uuid: "c0ffee00c0ffee00c0ffee".to_owned(),
            version: "9.2.0".to_owned(),
        };
        let router = ElasticsearchApi::new(settings, store, access, clock).router();
        Self {
            router,
            _folder: folder,
        }
    }

    async fn ask(&self, case: &Case) -> (u16, Value) {
        let request = Request::builder()
            .method(case.0.as_str())
            .uri(&case.1)
            .header(
                "authorization",
                format!("Basic {}", BASE64_STANDARD.encode("elastic:password")),
            )
            .header("content-type", case.content_type())
            .body(Body::from(case.body()))
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }
}

/// The real node's answer, by curl; status 0 and curl's own words when there is none.
fn ask(node: &RealNode, case: &Case) -> (u16, Value) {
    let mut command = Command::new("curl");
    command
        .args(["-sS", "--globoff", "-m", "180", "-w", "\n%{http_code}", "--cacert"])
        .arg(node.tls_file("ca.crt"));
    command.args(["-u", &format!("{}:{}", node.user(), node.password())]);
    if case.0 == "HEAD" {
        command.arg("--head").args(["-o", "/dev/null"]);
    } else {
        command.args(["-X", &case.0]);
    }
    if case.2.is_some() {
        command.args([
            "-H",
            &format!("content-type: {}", case.content_type()),
            "--data-binary",
            "@-",
        ]);
    }
    command.arg(format!("{}{}", node.url(), case.1));
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("curl is there");
    child.stdin.take().unwrap().write_all(case.body().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    if !output.status.success() {
        return (0, Value::from(String::from_utf8_lossy(&output.stderr)));
    }
    (status.parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
}

/// Without what is each node's own, and without `more`.
fn common(value: &Value, more: &[&str]) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map
                .iter()
                .filter(|(key, _)| !OWN.contains(&key.as_str()) && !more.contains(&key.as_str()));
            let kept = kept.map(|(key, value)| {
                let score = SCORES.contains(&key.as_str()) && value.is_number();
                (
                    key.clone(),
                    if score {
                        Value::from("a score")
                    } else {
                        common(value, more)
                    },
                )
            });
            let mut kept: Vec<(String, Value)> = kept.collect();
            kept.sort_by(|left, right| left.0.cmp(&right.0));
            Value::Object(kept.into_iter().collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(|item| common(item, more)).collect(),
        Value::Number(number) => Value::from((number.as_f64().unwrap_or_default() * 1000.0).round() / 1000.0),
        other => other.clone(),
    }
}

#[tokio::test]
async fn the_answers_are_those_of_a_real_elasticsearch() {
    compare(Engine::Elasticsearch, include_str!("requests.ndjson"), &[]).await;
}

#[tokio::test]
async fn the_answers_are_those_of_a_real_opensearch() {
    let requests = include_str!("requests_opensearch.ndjson");
    compare(Engine::OpenSearch, requests, OF_THE_OTHER_FAMILY).await;
}

async fn compare(engine: Engine, requests: &str, not_compared: &[&str]) {
    let Some(node) = RealNode::start(engine, &[]) else {
        return;
    };
    let ours = Ours::start().await;
    let mut different = Vec::new();
    let mut written = false;
    for line in requests.lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        // When each node refreshes by itself is its own affair.
        if written && case.searches() {
            ask(&node, &Case::refresh());
            ours.ask(&Case::refresh()).await;
        }
        written = !case.searches();
        let (their_status, theirs) = ask(&node, &case);
        let (our_status, ours) = ours.ask(&case).await;
        let (theirs, ours) = (common(&theirs, not_compared), common(&ours, not_compared));
        if their_status != our_status || theirs != ours {
            different.push(format!("{line}\n  {their_status} {theirs}\n  {our_status} {ours}"));
        }
    }
    assert!(
        different.is_empty(),
        "{} answers differ:\n{}",
        different.len(),
        different.join("\n")
    );
}
