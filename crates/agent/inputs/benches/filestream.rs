//! Lines a second from a file into a sink that acknowledges at once, and what they cost.
//!
//! `cargo bench -p inputs`. `FLOTILLA_BENCH_LINES` sets the number of lines (1,600,000 in the budget's wording).
#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use camino::Utf8Path;
use event::{AgentMetadata, Reporter, UnitType, acknowledge_all};
use fs_err as fs;
use inputs::{BuildContext, InputContext, InputPaths, Registry};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

fn main() {
    let lines = std::env::var_os("FLOTILLA_BENCH_LINES")
        .and_then(|text| text.to_str()?.parse().ok())
        .unwrap_or(400_000);
    let folder = tempfile::tempdir().expect("a folder for the bench");
    let root = Utf8Path::from_path(folder.path()).expect("a path in UTF-8");
    write_log(root, lines);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    for (name, more) in [
        ("plain", json!({})),
        ("multiline", json!({"multiline": {"pattern": "^\\s", "match": "after"}})),
    ] {
        let (wall, cpu) = runtime.block_on(ship(root, name, &more, lines));
        let million = 1e6 / lines as f64;
        println!(
            "{name}: {:.0} lines/s, {:.2} CPU-seconds for a million lines",
            lines as f64 / wall.as_secs_f64(),
            cpu * million
        );
    }
}

/// Lines like those of syslog, 125 bytes on average.
fn write_log(root: &Utf8Path, lines: usize) {
    let mut text = String::new();
    for number in 0..lines {
        let host = number % 7;
        let tail = "x".repeat(number % 80);
        writeln!(
            text,
            "Jan  2 03:04:06 web-0{host} app[{number}]: request took {} ms, status \"200\" {tail}",
            number % 997
        )
        .expect("memory");
    }
    fs::write(root.join("app.log"), text).expect("the log is written");
}

async fn ship(root: &Utf8Path, name: &str, more: &Value, lines: usize) -> (Duration, f64) {
    let mut stream = json!({"id": name, "paths": [root.join("app.log")], "data_stream": {"dataset": "system.syslog"}});
    event::fields::merge(
        stream.as_object_mut().expect("a map"),
        more.as_object().expect("a map").clone(),
    );
    let input = json!({"type": "filestream", "id": "bench", "streams": [stream]});
    let registry = Registry::open(&root.join(format!("registry-{name}"))).expect("a registry");
    let built = inputs::build(&input, &context(root)).expect("an input").remove(0);
    let (sender, mut events) = tokio::sync::mpsc::channel(4);
    let stop = CancellationToken::new();
    let input_context = InputContext {
        events: sender,
        reporter: Reporter::new("bench", UnitType::Input),
        clock: clock::system(),
        registry,
        stop: stop.clone(),
    };
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let task = tokio::spawn(built.input.run(input_context));
    let mut seen = 0;
    // The last line waits in the multiline parser for one that never comes.
    while seen + 1 < lines {
        let batch = events.recv().await.expect("events");
        seen += batch.len();
        acknowledge_all(batch.into_iter().map(|event| event.ack));
    }
    let measured = (started.elapsed(), cpu_seconds() - cpu);
    stop.cancel();
    task.await.expect("the input ends");
    measured
}

fn context(root: &Utf8Path) -> BuildContext {
    let agent = AgentMetadata {
        id: "0b6f9d1e-7f4e-4c56-9a34-5f0d2f1c7a10".into(),
        ephemeral_id: "6a1e2c44-0d0f-4b53-8c1b-3f9be0f3a001".into(),
        name: "web-01".into(),
        version: "9.2.0".into(),
        snapshot: false,
    };
    let paths = InputPaths {
        home: root.into(),
        data: root.into(),
        logs: root.into(),
    };
    BuildContext {
        agent,
        host: inputs::host::metadata(Utf8Path::new("/")),
        paths,
        reloader: tls::Reloader::new(),
    }
}

/// User and system time of this process.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("/proc is there");
    let columns = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
    let ticks: f64 = columns
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum();
    ticks / 100.0
}
