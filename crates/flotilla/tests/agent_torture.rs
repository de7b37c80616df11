//! An agent as a process, killed at any moment while its files grow, rotate, are truncated and refilled: every line counts.
//!
//! `FLOTILLA_SOAK_ROUNDS` is the number of kills of each test.
#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Flotilla, eventually};

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");
const SOON: Duration = Duration::from_mins(1);
/// So many kills with the same files; then others, so that a thousand rounds take a thousand times as long as one.
const KILLS_OF_A_HOST: usize = 20;
/// Looks are more frequent than a person would want them, for the test's sake.
const CONFIG: &str = "agent.monitoring.enabled: false
outputs.default: OUTPUT
inputs:
  - id: logs
    type: filestream
    streams:
      - id: s
        paths: ['FOLDER/app.log*']
        data_stream.dataset: DATASET
        event_ids: true
        prospector.scanner.check_interval: 100ms
        backoff: {init: 50ms, max: 100ms}
";

/// A reproducible choice of what happens next.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Where the lines go.
trait Sink {
    /// The output of the agent of `host`, as YAML.
    fn output(&self, host: &Host) -> String;
    /// How many lines have arrived; a number that is told twice counts twice where that must not be.
    fn count(&self, host: &Host) -> usize;
    /// The numbers of the lines that arrived, sorted.
    fn delivered(&self, host: &Host) -> Vec<u64>;
}

/// The output `file`, in which a replay may write a line again.
struct Files;

impl Sink for Files {
    fn output(&self, host: &Host) -> String {
        format!("{{type: file, path: {}}}", host.path("out").display())
    }

    fn count(&self, host: &Host) -> usize {
        self.delivered(host).len()
    }

    /// A record that a kill cut off does not count.
    fn delivered(&self, host: &Host) -> Vec<u64> {
        let Ok(files) = std::fs::read_dir(host.path("out")) else {
            return Vec::new();
        };
        let texts = files.map(|file| fs_err::read_to_string(file.unwrap().path()).unwrap_or_default());
        let numbers: BTreeSet<u64> = texts.flat_map(|text| numbers(&text)).collect();
        numbers.into_iter().collect()
    }
}

/// Our own port 9200, where a document's `_id` keeps a line from being there twice.
impl Sink for Flotilla {
    fn output(&self, _host: &Host) -> String {
        format!(
            "{{type: elasticsearch, hosts: ['{}'], username: '{}', password: '{}', ssl.certificate_authorities: ['{}']}}",
            self.text("/urls/elasticsearch"),
            self.text("/username"),
            self.text("/password"),
            self.text("/ca/path")
        )
    }

    fn count(&self, host: &Host) -> usize {
        let answer = self.elasticsearch().get(&format!("/{}/_count", host.stream()));
        answer["count"].as_u64().unwrap_or(0) as usize
    }

    fn delivered(&self, host: &Host) -> Vec<u64> {
        let curl = self.elasticsearch();
        let opened = curl.post(&format!("/{}/_pit?keep_alive=1m", host.stream()), &json!({}));
        let id = opened["id"].as_str().unwrap_or_else(|| panic!("{opened}"));
        let mut search = json!({
            "size": 10_000, "pit": {"id": id}, "sort": ["_shard_doc"], "_source": ["message"]
        });
        let mut numbers = Vec::new();
        loop {
            let answer = curl.post("/_search", &search);
            let hits = answer["hits"]["hits"].as_array().unwrap_or_else(|| panic!("{answer}"));
            let Some(last) = hits.last() else {
                numbers.sort_unstable();
                return numbers;
            };
            search["search_after"] = last["sort"].clone();
            numbers.extend(hits.iter().map(|hit| number(&hit["_source"]).unwrap()));
        }
    }
}

struct Host {
    folder: tempfile::TempDir,
    dataset: String,
    written: u64,
    rotations: u32,
    agent: Option<Child>,
}

impl Host {
    fn new(dataset: String, sink: &impl Sink) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host = Self {
            folder,
            dataset,
            written: 0,
            rotations: 0,
            agent: None,
        };
        std::fs::create_dir_all(host.path("agent")).unwrap();
        let config = CONFIG
            .replace("OUTPUT", &sink.output(&host))
            .replace("FOLDER", host.folder.path().to_str().unwrap())
            .replace("DATASET", &host.dataset);
        fs_err::write(host.path("agent/elastic-agent.yml"), config).unwrap();
        host
    }

    /// The data stream of its lines.
    fn stream(&self) -> String {
        format!("logs-{}-default", self.dataset)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&mut self) {
        let agent = Command::new(FLOTILLA)
            .args(["agent", "run", "--path.home"])
            .arg(self.path("agent"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.agent = Some(agent);
    }

    /// SIGKILL.
    fn kill(&mut self) {
        let mut agent = self.agent.take().unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    fn write(&mut self, lines: u64) {
        let path = self.path("app.log");
        let mut file = fs_err::OpenOptions::new().create(true).append(true).open(path).unwrap();
        for number in self.written..self.written + lines {
            writeln!(file, "line {number:08} {}", "x".repeat((number % 150) as usize)).unwrap();
        }
        self.written += lines;
    }

    fn rotate(&mut self) {
        self.rotations += 1;
        let to = self.path(&format!("app.log.{}", self.rotations));
        std::fs::rename(self.path("app.log"), to).unwrap();
    }

    fn all_arrive(&self, sink: &impl Sink) {
        eventually("every line", SOON, || {
            (sink.count(self) as u64 >= self.written).then_some(())
        });
        let delivered = sink.delivered(self);
        assert!(
            delivered.iter().copied().eq(0..self.written),
            "each number once: {} of {} arrived",
            delivered.len(),
            self.written
        );
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(agent) = &mut self.agent {
            let _already_gone = agent.kill();
            let _already_waited = agent.wait();
        }
    }
}

fn numbers(text: &str) -> Vec<u64> {
    let documents = text.lines().filter_map(|line| serde_json::from_str(line).ok());
    documents.filter_map(|document| number(&document)).collect()
}

/// The number of the line that became this document.
fn number(document: &Value) -> Option<u64> {
    document["message"].as_str()?.split(' ').nth(1)?.parse().ok()
}

fn inode(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap())
}

#[test]
fn every_line_arrives_whatever_is_killed_when() {
    torture(&Files);
}

#[test]
fn every_line_arrives_once_when_lines_have_ids() {
    let flotilla = Flotilla::start(FLOTILLA, &["--no-agent"]);
    torture(&flotilla);
}

fn torture(sink: &impl Sink) {
    let mut dice = Dice(7);
    let mut left = testkit::soak_rounds(KILLS_OF_A_HOST);
    while left > 0 {
        let kills = left.min(KILLS_OF_A_HOST);
        let mut host = Host::new(format!("torture{left}"), sink);
        host.write(100);
        for _ in 0..kills {
            write_and_kill(&mut host, sink, &mut dice);
        }
        host.start();
        host.all_arrive(sink);
        refill(&mut host, sink);
        left -= kills;
    }
}

/// A round: lines while the agent works, its end, and lines that it does not see being written.
fn write_and_kill(host: &mut Host, sink: &impl Sink, dice: &mut Dice) {
    host.start();
    for _step in 0..=dice.roll(4) {
        let lines = 1 + dice.roll(800);
        host.write(lines);
        if dice.roll(3) == 0 {
            host.rotate();
            host.write(50);
        }
    }
    // Somewhere between nothing and everything of this round.
    let so_far = sink.count(host) as u64;
    let wanted = so_far + dice.roll(host.written - so_far + 1);
    eventually("a part of the lines", SOON, || {
        (sink.count(host) as u64 >= wanted).then_some(())
    });
    host.kill();
    host.write(200);
    host.rotate();
    host.write(10);
}

/// What was read is cut off, and the same file filled anew while the agent is down.
fn refill(host: &mut Host, sink: &impl Sink) {
    host.kill();
    let log = host.path("app.log");
    let before = inode(&log);
    std::fs::OpenOptions::new()
        .write(true)
        .open(&log)
        .unwrap()
        .set_len(0)
        .unwrap();
    host.write(500);
    assert_eq!(inode(&log), before);
    host.start();
    host.all_arrive(sink);
    host.kill();
}
