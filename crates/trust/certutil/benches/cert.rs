//! How long `certutil cert` takes, from the command line to the file: the median of 50 for ECDSA and RSA 2048, and a
//! file of 1,000 instances. With `FLOTILLA_ELASTICSEARCH_TOOLS` set, elasticsearch-certutil runs beside it.
//!
//! Budgets: ECDSA 10 ms; RSA 2048 a twentieth of the original.
#![expect(clippy::print_stdout, reason = "a benchmark tells its result")]

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use certutil::{ExitStatus, Terminal};
use secret::Secret;

const ROUNDS: usize = 50;
const ROUNDS_OF_THE_ORIGINAL: usize = 5;
const INSTANCES: usize = 1_000;

struct Silent;

impl Terminal for Silent {
    fn print(&mut self, _: &str) {}

    fn error(&mut self, text: &str) {
        println!("{text}");
    }

    fn ask(&mut self, _: &str) -> Option<String> {
        None
    }

    fn ask_hidden(&mut self, _: &str) -> Option<Secret> {
        None
    }

    fn progress(&mut self, _: usize, _: usize) {}
}

struct Bench {
    folder: Utf8PathBuf,
}

impl Bench {
    /// `@` at the start of a word stands for the folder.
    fn words(&self, line: &str) -> Vec<OsString> {
        let word = |word: &str| {
            word.strip_prefix('@')
                .map_or_else(|| word.into(), |name| self.folder.join(name).into())
        };
        line.split_whitespace().map(word).collect()
    }

    fn run(&self, line: &str) -> Duration {
        let words = self.words(line);
        let start = Instant::now();
        assert_eq!(certutil::run(words, &mut Silent), ExitStatus::OK, "{line}");
        start.elapsed()
    }

    fn run_original(&self, tool: &OsString, line: &str) -> Duration {
        let start = Instant::now();
        let mut command = Command::new(tool);
        command
            .arg("elasticsearch-certutil")
            .args(self.words(line))
            .stdin(Stdio::null());
        let status = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("the tool runs");
        assert!(status.success(), "{line}");
        start.elapsed()
    }

    fn authority(&self, name: &str, flags: &str) {
        self.run(&format!("ca --pem {flags} --out @{name}.zip"));
        let archive = fs_err::File::open(self.folder.join(format!("{name}.zip"))).expect("the archive");
        zip::ZipArchive::new(archive)
            .expect("a zip")
            .extract(self.folder.join(name))
            .expect("it unpacks");
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench {
        folder: Utf8PathBuf::from_path_buf(folder.path().to_owned()).expect("UTF-8"),
    };
    for (kind, flags) in [("ecdsa", "--key-type ecdsa"), ("rsa", "")] {
        bench.authority(kind, flags);
        let line = format!("cert --pem --name a --dns a.test --ca-cert @{kind}/ca/ca.crt --ca-key @{kind}/ca/ca.key");
        let ours = median(
            (0..ROUNDS)
                .map(|n| bench.run(&format!("{line} {flags} --out @{kind}-{n}.zip")))
                .collect(),
        );
        println!("cert, {kind}: {ours:.1?} (median of {ROUNDS})");
        if let Some(tool) = std::env::var_os("FLOTILLA_ELASTICSEARCH_TOOLS").filter(|_| kind == "rsa") {
            let run = |n| bench.run_original(&tool, &format!("{line} --out @theirs-{n}.zip"));
            let theirs = median((0..ROUNDS_OF_THE_ORIGINAL).map(run).collect());
            let times = theirs.as_secs_f64() / ours.as_secs_f64();
            println!(
                "cert, rsa, the original: {theirs:.1?} (median of {ROUNDS_OF_THE_ORIGINAL}), {times:.0} times as long"
            );
        }
    }
    let instances: Vec<String> = (0..INSTANCES).map(|n| format!("  - name: host-{n}")).collect();
    fs_err::write(
        bench.folder.join("in.yml"),
        format!("instances:\n{}\n", instances.join("\n")),
    )
    .expect("written");
    for (kind, flags) in [("ecdsa", "--key-type ecdsa"), ("rsa", "")] {
        let line = format!("cert --pem --in @in.yml --ca-cert @{kind}/ca/ca.crt --ca-key @{kind}/ca/ca.key {flags}");
        let whole = bench.run(&format!("{line} --out @many-{kind}.zip"));
        println!("cert --in with {INSTANCES} instances, {kind}: {whole:.1?}");
    }
}
