//! The kafka output against a real broker: what it wrote is read off the broker's disk by the broker's own tool.

use std::net::Ipv4Addr;
use std::time::Duration;

use certs::KeyFormat;
use event::{Ack, Event, UnitState};
use outputs::{OutputHandle, StopOutcome};
use pki::{Authority, AuthorityRequest, LeafRequest};
use serde_json::{Value, json};
use testkit::{KafkaTls, RealKafka, eventually};

use crate::support::{event, stream};
use crate::{Folder, build, folder};

/// A broker takes a while, longer than the scripted servers.
const LONG: Duration = Duration::from_mins(3);
const PASSWORD: &str = "kafka-pw-7351";

/// One CA for both sides, a pair for the broker and one for the agent.
struct Files {
    ca: String,
    broker: String,
    agent: (String, String),
}

impl Files {
    fn make() -> Self {
        let authority = Authority::generate(AuthorityRequest {
            subject_cn: "kafka-ca".to_owned(),
            ..AuthorityRequest::default()
        })
        .unwrap();
        let issue = || {
            let request = LeafRequest {
                ips: vec![Ipv4Addr::LOCALHOST.into()],
                ..LeafRequest::default()
            };
            let leaf = authority.issue(request).unwrap();
            let key = certs::write_pem_key(&leaf.key, KeyFormat::Pkcs8).unwrap();
            (certs::write_pem_certificates(&leaf.chain), key.expose().to_owned())
        };
        let (chain, key) = issue();
        Self {
            ca: authority.certificate_pem(),
            broker: format!("{key}{chain}"),
            agent: issue(),
        }
    }
}

struct Setup {
    kafka: RealKafka,
    files: Files,
    folder: Folder,
}

impl Setup {
    fn make() -> Option<Self> {
        let files = Files::make();
        let tls = KafkaTls {
            pair: &files.broker,
            client_ca: &files.ca,
        };
        let kafka = RealKafka::start(tls, PASSWORD)?;
        Some(Self {
            kafka,
            files,
            folder: folder(),
        })
    }

    fn output(&self, topic: &str, host: &str, more: Value) -> OutputHandle {
        let mut block = json!({
            "type": "kafka", "hosts": [host], "topic": topic,
            "queue.mem.flush.timeout": "20ms", "backoff": {"init": "50ms", "max": "200ms"},
        });
        block.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        build(&block, &self.folder.path.join(topic))
    }

    /// With TLS and SASL.
    fn signed_in(&self, topic: &str, mechanism: &str, password: &str) -> OutputHandle {
        let more = json!({
            "ssl": {"certificate_authorities": [self.files.ca]},
            "username": "shipper", "password": password, "sasl": {"mechanism": mechanism},
        });
        self.output(topic, &self.kafka.sasl(), more)
    }
}

/// The records of `topic`, as the broker's tool prints them.
fn records<'a>(all: &'a [(String, String)], topic: &str) -> Vec<&'a str> {
    all.iter()
        .filter(|(found, line)| found == topic && line.contains("payload:"))
        .map(|(_, line)| line.as_str())
        .collect()
}

fn events(bodies: impl IntoIterator<Item = Value>) -> Vec<Event> {
    let stream = stream();
    let event = |body: Value| event(&stream, &body, Ack::none());
    bodies.into_iter().map(event).collect()
}

async fn deliver(output: OutputHandle, bodies: impl IntoIterator<Item = Value>) {
    output.events.send(events(bodies)).await.unwrap();
    assert_eq!(output.stop_and_wait(LONG).await, StopOutcome::Clean);
}

/// Waits until so many events are acknowledged or kept aside; how many were acknowledged.
fn settled(output: &OutputHandle, count: u64) -> u64 {
    eventually("all events are dealt with", LONG, || {
        let counters = output.counters();
        (counters.acknowledged + counters.dead_lettered == count).then_some(counters.acknowledged)
    })
}

/// What the unit says once it is in trouble.
fn complaint(output: &OutputHandle) -> String {
    eventually("the output complains", LONG, || {
        let report = output.reporter().current();
        (report.state == UnitState::Degraded).then_some(report.message)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_arrive_at_a_real_broker() {
    let Some(mut setup) = Setup::make() else { return };
    topics_keys_and_headers(&setup).await;
    compressions(&setup).await;
    mechanisms(&setup).await;
    refusals_are_explained(&setup).await;
    large_batches_are_split_and_large_events_kept_aside(&setup).await;
    a_crash_loses_nothing(&mut setup).await;

    let all = setup.kafka.records();
    let keyed = records(&all, "logs.nginx");
    assert_eq!(keyed.len(), 2, "{keyed:?}");
    assert!(keyed[0].contains("CreateTime: 1772000000123"), "{keyed:?}");
    assert!(
        keyed[0].contains("headerKeys: [team]") && keyed[0].contains("key: web-1"),
        "{keyed:?}"
    );
    let payload = keyed[0].split_once("payload: ").unwrap().1;
    let document: Value = serde_json::from_str(payload).unwrap();
    assert_eq!(document["@metadata"]["raw_index"], "logs-test-default");
    assert_eq!(document["message"], "one");
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("packed-{codec}");
        assert_eq!(records(&all, &topic).len(), 50, "{codec}");
        let batches = all
            .iter()
            .filter(|(found, line)| *found == topic && line.contains("compresscodec:"));
        assert!(
            batches.clone().count() > 0
                && batches
                    .clone()
                    .all(|(_, line)| line.contains(&format!("compresscodec: {codec}")))
        );
    }
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        assert_eq!(records(&all, &format!("by-{mechanism}")).len(), 1, "{mechanism}");
    }
    assert_eq!(records(&all, "split").len(), 300);
    let mut survivors: Vec<u64> = records(&all, "crash")
        .iter()
        .map(|line| {
            serde_json::from_str::<Value>(line.split_once("payload: ").unwrap().1).unwrap()["n"]
                .as_u64()
                .unwrap()
        })
        .collect();
    survivors.sort_unstable();
    survivors.dedup();
    assert_eq!(survivors, (0..200).collect::<Vec<_>>());
}

async fn topics_keys_and_headers(setup: &Setup) {
    let (certificate, key) = &setup.files.agent;
    let more = json!({
        "ssl": {"certificate_authorities": [setup.files.ca], "certificate": certificate, "key": key},
        "key": "%{[host.name]}", "headers": [{"key": "team", "value": "blue"}], "required_acks": -1,
        "topics": [{"topic": "audits", "when": {"equals": {"kind": "audit"}}}],
    });
    let output = setup.output("logs.%{[dataset]}", &setup.kafka.mutual(), more);
    let event = |message: &str, more: Value| {
        let mut body = json!({"@timestamp": "2026-02-25T06:13:20.123Z", "message": message, "host": {"name": "web-1"}});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let bodies = [
        event("one", json!({"dataset": "nginx"})),
        event("two", json!({"dataset": "nginx"})),
        event("three", json!({"kind": "audit"})),
        event("nowhere", json!({})),
        event("badly named", json!({"dataset": "no good"})),
    ];
    let letters = setup.folder.path.join("logs.%{[dataset]}").join("dead-letter.ndjson");
    output.events.send(events(bodies)).await.unwrap();
    assert_eq!(settled(&output, 5), 3);
    let letters = fs_err::read_to_string(letters).unwrap();
    assert!(letters.contains("the event has no `dataset`"), "{letters}");
    assert!(
        letters.contains("`logs.no good` cannot be the name of a topic"),
        "{letters}"
    );
    assert_eq!(output.stop_and_wait(LONG).await, StopOutcome::Clean);
}

async fn compressions(setup: &Setup) {
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let more = json!({"compression": codec, "partition": {"round_robin": {"group_events": 5}}});
        let output = setup.output(&format!("packed-{codec}"), &setup.kafka.plain(), more);
        deliver(output, (0..50).map(|n| json!({"n": n}))).await;
    }
}

async fn mechanisms(setup: &Setup) {
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let output = setup.signed_in(&format!("by-{mechanism}"), mechanism, PASSWORD);
        deliver(output, [json!({"message": mechanism})]).await;
    }
}

async fn refusals_are_explained(setup: &Setup) {
    let one = || events([json!({"message": "x"})]);
    for mechanism in ["PLAIN", "SCRAM-SHA-256"] {
        let output = setup.signed_in("wrong-password", mechanism, "not-the-password");
        output.replayable.send(one()).await.unwrap();
        let told = complaint(&output);
        assert!(
            told.contains("user `shipper` is refused") && told.contains("check `username`, `password`"),
            "{told}"
        );
        assert!(!told.contains("not-the-password"), "{told}");
    }

    let other = Files::make();
    let strange = json!({"ssl": {"certificate_authorities": [other.ca]}});
    let output = setup.output("strange-ca", &setup.kafka.mutual(), strange);
    output.replayable.send(one()).await.unwrap();
    let told = complaint(&output);
    assert!(
        told.contains("kafka-ca") && told.contains("certificate_authorities"),
        "{told}"
    );

    let anonymous = json!({"ssl": {"certificate_authorities": [setup.files.ca]}});
    let output = setup.output("anonymous", &setup.kafka.mutual(), anonymous);
    output.replayable.send(one()).await.unwrap();
    let told = complaint(&output);
    assert!(told.contains("does it want a client certificate"), "{told}");

    let output = setup.output("no-tls", &setup.kafka.sasl(), json!({}));
    output.replayable.send(one()).await.unwrap();
    let told = complaint(&output);
    assert!(told.contains("does it want TLS"), "{told}");
}

/// The broker takes batches of 20,000 octets.
async fn large_batches_are_split_and_large_events_kept_aside(setup: &Setup) {
    let more = json!({"compression": "none", "partition": {"random": {"group_events": 1000}}});
    let output = setup.output("split", &setup.kafka.plain(), more);
    let padding = "x".repeat(300);
    let mut bodies: Vec<Value> = (0..300).map(|n| json!({"n": n, "padding": padding})).collect();
    bodies.push(json!({"n": "large", "padding": "x".repeat(30_000)}));
    output.events.send(events(bodies)).await.unwrap();
    assert_eq!(settled(&output, 301), 300);
    assert_eq!(output.stop_and_wait(LONG).await, StopOutcome::Clean);
}

async fn a_crash_loses_nothing(setup: &mut Setup) {
    let output = setup.output("crash", &setup.kafka.plain(), json!({"required_acks": -1}));
    output
        .events
        .send(events((0..100).map(|n| json!({"n": n}))))
        .await
        .unwrap();
    assert_eq!(settled(&output, 100), 100);
    setup.kafka.kill();
    output
        .events
        .send(events((100..200).map(|n| json!({"n": n}))))
        .await
        .unwrap();
    complaint(&output);
    setup.kafka.restart();
    assert_eq!(output.stop_and_wait(LONG).await, StopOutcome::Clean);
}
