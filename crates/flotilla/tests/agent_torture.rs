//! An agent as a process, killed at any moment while its files grow, rotate, are truncated and refilled: every line counts.
#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use testkit::eventually;

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");
const SOON: Duration = Duration::from_mins(1);
/// Looks are more frequent than a person would want them, for the test's sake.
const CONFIG: &str = "agent.monitoring.enabled: false
outputs.default: {type: file, path: OUT}
inputs:
  - id: logs
    type: filestream
    streams:
      - id: s
        paths: ['FOLDER/app.log*']
        data_stream.dataset: torture
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

struct Host {
    folder: tempfile::TempDir,
    written: u64,
    rotations: u32,
    agent: Option<Child>,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host = Self {
            folder,
            written: 0,
            rotations: 0,
            agent: None,
        };
        std::fs::create_dir_all(host.path("agent")).unwrap();
        let place = |name: &str| host.path(name).into_os_string().into_string().unwrap();
        let config = CONFIG.replace("OUT", &place("out")).replace("FOLDER", &place(""));
        fs_err::write(host.path("agent/elastic-agent.yml"), config).unwrap();
        host
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

    /// The numbers of the lines that arrived. A record that a kill cut off does not count.
    fn delivered(&self) -> BTreeSet<u64> {
        let Ok(files) = std::fs::read_dir(self.path("out")) else {
            return BTreeSet::new();
        };
        let texts = files.map(|file| fs_err::read_to_string(file.unwrap().path()).unwrap_or_default());
        texts.flat_map(|text| numbers(&text)).collect()
    }

    fn all_arrive(&self) {
        eventually("every line", SOON, || {
            let delivered = self.delivered();
            (delivered.len() as u64 == self.written).then_some(())
        });
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
    let number = |line: &str| {
        let document: Value = serde_json::from_str(line).ok()?;
        document["message"].as_str()?.split(' ').nth(1)?.parse().ok()
    };
    text.lines().filter_map(number).collect()
}

fn inode(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap())
}

#[test]
fn every_line_arrives_whatever_is_killed_when() {
    let mut host = Host::new();
    let mut dice = Dice(7);
    host.write(100);
    for _round in 0..testkit::soak_rounds(4) {
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
        let so_far = host.delivered().len() as u64;
        let wanted = so_far + dice.roll(host.written - so_far + 1);
        eventually("a part of the lines", SOON, || {
            (host.delivered().len() as u64 >= wanted).then_some(())
        });
        host.kill();
        // While nobody looks.
        host.write(200);
        host.rotate();
        host.write(10);
    }
    host.start();
    host.all_arrive();

    // What was read is cut off, and the same file filled anew while the agent is down.
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
    host.all_arrive();
    assert!(
        host.delivered().into_iter().eq(0..host.written),
        "each number, and no other"
    );
}
