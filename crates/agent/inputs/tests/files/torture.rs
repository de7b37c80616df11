//! Files are rotated, truncated, renamed, copied, deleted and refilled while they are read and while the reader is
//! stopped and started: every line arrives, and a replay repeats ids.

use std::io::Write;

use crate::rig::{Folder, Running, Seen, file_input};
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use serde_json::json;

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

struct Log {
    folder: Utf8PathBuf,
    written: Vec<String>,
    rotations: u32,
}

impl Log {
    fn path(&self) -> Utf8PathBuf {
        self.folder.join("app.log")
    }

    fn write(&mut self, lines: u64) {
        let mut text = String::new();
        for _ in 0..lines {
            let line = format!(
                "line {:06} {}",
                self.written.len(),
                "x".repeat(self.written.len() * 7 % 60)
            );
            text.push_str(&line);
            text.push('\n');
            self.written.push(line);
        }
        fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path())
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    fn rotated(&mut self) -> Utf8PathBuf {
        self.rotations += 1;
        self.folder.join(format!("app.log.{}", self.rotations))
    }

    fn rename(&mut self) {
        let rotated = self.rotated();
        if self.path().exists() {
            fs::rename(self.path(), rotated).unwrap();
        }
    }

    fn copy_and_truncate(&mut self) {
        let rotated = self.rotated();
        if self.path().exists() {
            fs::copy(self.path(), rotated).unwrap();
            fs::OpenOptions::new()
                .write(true)
                .truncate(true)
                .open(self.path())
                .unwrap();
        }
    }
}

/// The files of a folder as they were.
struct Snapshot {
    folder: Utf8PathBuf,
    files: Vec<(std::ffi::OsString, Vec<u8>)>,
}

impl Snapshot {
    fn take(folder: &Utf8Path) -> Self {
        let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
        let files = entries
            .map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap()))
            .collect();
        Self {
            folder: folder.to_owned(),
            files,
        }
    }

    fn restore(self) {
        fs::remove_dir_all(&self.folder).unwrap();
        fs::create_dir(&self.folder).unwrap();
        for (name, bytes) in self.files {
            fs::write(self.folder.as_std_path().join(name), bytes).unwrap();
        }
    }
}

async fn catch_up(running: &mut Running, seen: &mut Seen, log: &Log) {
    let Some(last) = log.written.last() else { return };
    let last = last.clone();
    running
        .collect(seen, |seen| {
            seen.has(&last) && log.written.iter().all(|line| seen.has(line))
        })
        .await;
}

async fn torture(seed: u64, rounds: u64) {
    let folder = Folder::new();
    let logs = folder.path.join("logs");
    fs::create_dir(&logs).unwrap();
    let input = file_input(&[format!("{logs}/app.log*")], json!({"event_ids": true}));
    let mut log = Log {
        folder: logs,
        written: Vec::new(),
        rotations: 0,
    };
    let mut dice = Dice(seed);
    let mut seen = Seen::default();
    let mut running = Running::start(&folder.path, &input);
    for _ in 0..rounds {
        log.write(1 + dice.roll(80));
        match dice.roll(8) {
            0 => log.rename(),
            1 => {
                catch_up(&mut running, &mut seen, &log).await;
                log.copy_and_truncate();
            }
            2 => {
                // What was not read before it was deleted nobody can deliver.
                catch_up(&mut running, &mut seen, &log).await;
                fs::remove_file(log.path()).unwrap();
            }
            3 => {
                catch_up(&mut running, &mut seen, &log).await;
                fs::OpenOptions::new()
                    .write(true)
                    .truncate(true)
                    .open(log.path())
                    .unwrap();
                log.write(1 + dice.roll(200));
            }
            4 => {
                // Read and never acknowledged: it must come again.
                running.next_unless_idle(&mut seen).await;
                running.stop().await;
                if dice.roll(2) == 0 {
                    log.rename();
                }
                log.write(dice.roll(40));
                running = Running::start(&folder.path, &input);
            }
            5 => {
                catch_up(&mut running, &mut seen, &log).await;
                running.stop().await;
                fs::remove_file(log.path()).unwrap();
                log.write(1 + dice.roll(200));
                running = Running::start(&folder.path, &input);
            }
            6 => {
                // A crash: what was written to the registry last is gone, and with it acknowledged offsets.
                log.write(1);
                catch_up(&mut running, &mut seen, &log).await;
                let earlier = Snapshot::take(&folder.path.join("registry"));
                log.write(1 + dice.roll(100));
                catch_up(&mut running, &mut seen, &log).await;
                running.stop().await;
                earlier.restore();
                running = Running::start(&folder.path, &input);
            }
            _ => {}
        }
    }
    catch_up(&mut running, &mut seen, &log).await;
    running.stop().await;
    let lost: Vec<&String> = log.written.iter().filter(|line| !seen.has(line)).collect();
    assert!(
        lost.is_empty(),
        "seed {seed}: {} lines are lost, first {:?}",
        lost.len(),
        lost.first()
    );
    assert!(
        seen.conflicting_ids.is_empty(),
        "seed {seed}: a replay changed ids: {:?}",
        seen.conflicting_ids.first()
    );
    assert_eq!(
        seen.messages.len(),
        log.written.len(),
        "seed {seed}: lines that nobody wrote"
    );
}

impl Running {
    /// Takes what is there without acknowledging it.
    async fn next_unless_idle(&mut self, seen: &mut Seen) {
        tokio::task::yield_now().await;
        while let Ok(events) = self.events.try_recv() {
            for event in events {
                seen.add(&event);
            }
        }
    }
}

fn rounds() -> u64 {
    std::env::var_os("FLOTILLA_SOAK_ROUNDS")
        .and_then(|text| text.to_str()?.parse().ok())
        .unwrap_or(25)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_arrives() {
    for seed in 1..=4 {
        torture(seed, rounds()).await;
    }
}
