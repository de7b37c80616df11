//! Fixture trees with known numbers, and the real `/proc` read in the same moment.

use camino::Utf8Path;
use fs_err as fs;
use serde_json::{Value, json};

use super::*;

struct Tree(tempfile::TempDir);

impl Tree {
    fn new(files: &[(&str, &str)]) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        for (path, text) in files {
            tree.put(path, text);
        }
        tree
    }

    fn put(&self, path: &str, text: &str) {
        let path = Utf8Path::from_path(self.0.path()).unwrap().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn proc(&self) -> Proc {
        Proc::below(self.0.path().to_str().unwrap())
    }
}

fn one(metricset: &mut dyn Metricset) -> Value {
    let mut events = metricset.fetch().unwrap();
    assert_eq!(events.len(), 1, "{events:?}");
    Value::Object(events.remove(0))
}

fn all(metricset: &mut dyn Metricset) -> Vec<Value> {
    metricset.fetch().unwrap().into_iter().map(Value::Object).collect()
}

#[test]
fn cpu_is_the_difference_of_two_readings() {
    let tree = Tree::new(&[(
        "proc/stat",
        "cpu 10 0 10 70 10 0 0 0 0 0\ncpu0 5 0 5 35 5 0 0 0\ncpu1 5 0 5 35 5 0 0 0\n",
    )]);
    let mut cpu = cpu::Cpu::new(
        &tree.proc(),
        &["percentages".into(), "normalized_percentages".into(), "ticks".into()],
    );
    let first = one(&mut cpu);
    assert_eq!(
        first["system"]["cpu"]["user"],
        json!({"pct": 0.2, "norm": {"pct": 0.1}, "ticks": 100})
    );
    assert_eq!(first["host"]["cpu"]["usage"], 0, "there is no earlier reading yet");
    tree.put(
        "proc/stat",
        "cpu 30 0 20 120 20 0 0 10 0 0\ncpu0 1 1 1 1 1 1 1 1\ncpu1 1 1 1 1 1 1 1 1\n",
    );
    let second = one(&mut cpu);
    // Of 100 ticks: user 20, system 10, idle 50, iowait 10, steal 10.
    let group = &second["system"]["cpu"];
    assert_eq!(group["cores"], 2);
    assert_eq!(group["user"]["norm"]["pct"], 0.2);
    assert_eq!(group["idle"]["pct"], 1);
    assert_eq!(group["steal"]["norm"]["pct"], 0.1);
    assert_eq!(group["total"], json!({"pct": 0.8, "norm": {"pct": 0.4}}));
    assert_eq!(second["host"]["cpu"]["usage"], 0.4);
    assert!(cpu.fetch().is_err(), "no time has passed");
}

#[test]
fn cores_load_and_uptime() {
    let tree = Tree::new(&[
        (
            "proc/stat",
            "cpu 2 0 2 6 0 0 0 0\ncpu0 1 0 1 8 0 0 0 0\ncpu1 0 0 0 0 0 0 0 0\n",
        ),
        ("proc/loadavg", "0.42 0.31 0.20 1/100 4242\n"),
        ("proc/uptime", "86400.25 1000.00\n"),
    ]);
    let cores = all(&mut cpu::Core::new(&tree.proc(), &[]));
    assert_eq!(cores.len(), 1, "a core without a tick is off");
    assert_eq!(cores[0]["system"]["core"]["id"], 0);
    assert_eq!(cores[0]["system"]["core"]["total"], json!({"pct": 0.2}));
    let load = one(&mut cpu::Load::new(&tree.proc()));
    assert_eq!(
        load["system"]["load"],
        json!({"cores": 2, "norm": {"1": 0.21, "5": 0.155, "15": 0.1}, "1": 0.42, "5": 0.31, "15": 0.2})
    );
    assert_eq!(
        one(&mut cpu::Uptime::new(&tree.proc())),
        json!({"system": {"uptime": {"duration": {"ms": 86_400_250}}}})
    );
}

#[test]
fn memory_follows_meminfo() {
    let text = "MemTotal: 1000 kB\nMemFree: 250 kB\nMemAvailable: 600 kB\nBuffers: 1 kB\nCached: 300 kB\nSwapCached: 7 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n";
    let tree = Tree::new(&[("proc/meminfo", text)]);
    let expected = json!({
        "total": 1_024_000, "free": 256_000, "cached": 307_200,
        "used": {"bytes": 768_000, "pct": 0.75},
        "actual": {"free": 614_400, "used": {"bytes": 409_600, "pct": 0.4}},
        "swap": {"total": 0, "free": 0, "used": {"bytes": 0}},
    });
    assert_eq!(
        one(&mut memory::Memory::new(&tree.proc()))["system"]["memory"],
        expected
    );
}

#[test]
fn network_has_one_event_more_from_the_second_fetch_on() {
    let head = "Inter-| Receive\n face |bytes\n";
    let tree = Tree::new(&[(
        "proc/net/dev",
        &format!("{head}    lo: 5 1 0 0 0 0 0 0 5 1 0 0 0 0 0 0\n  eth0: 100 10 1 2 0 0 0 0 50 5 3 4 0 0 0 0\n"),
    )]);
    let mut network = network::Network::new(&tree.proc(), vec!["ETH0".into()]);
    let expected = json!({"system": {"network": {"name": "eth0", "in": {"bytes": 100, "packets": 10, "errors": 1, "dropped": 2}, "out": {"bytes": 50, "packets": 5, "errors": 3, "dropped": 4}}}});
    assert_eq!(all(&mut network), [expected]);
    tree.put(
        "proc/net/dev",
        &format!("{head}  eth0: 160 16 1 2 0 0 0 0 55 6 3 4 0 0 0 0\n"),
    );
    let second = all(&mut network);
    assert_eq!(
        second[1],
        json!({"host": {"network": {"ingress": {"bytes": 60, "packets": 6}, "egress": {"bytes": 5, "packets": 1}}}})
    );
}

#[test]
fn disks_count_sectors_and_know_their_serial_numbers() {
    let line = |read: u64| format!(" 8 0 sda 90 1 {read} 41 42 2 300 62 3 51 99\n 7 0 loop0 0 0 0 0 0 0 0 0 0 0 0\n");
    let tree = Tree::new(&[
        ("proc/diskstats", &line(200)),
        ("run/udev/data/b8:0", "E:ID_SERIAL_SHORT=S1\nE:ID_SERIAL=long\n"),
    ]);
    let mut disk = disk::DiskIo::new(&tree.proc(), Vec::new());
    let first = all(&mut disk);
    assert_eq!(first.len(), 2);
    let expected = json!({"name": "sda", "serial_number": "S1", "read": {"count": 90, "bytes": 102_400, "time": 41},
        "write": {"count": 42, "bytes": 153_600, "time": 62}, "io": {"time": 51, "ops": 3}});
    assert_eq!(first[0]["system"]["diskio"], expected);
    tree.put("proc/diskstats", &line(210));
    assert_eq!(
        all(&mut disk)[2],
        json!({"host": {"disk": {"read": {"bytes": 5120}, "write": {"bytes": 0}}}})
    );
}

#[test]
fn sockets_are_rows() {
    let row = |state: &str| format!("   0: 00000000:1F90 00000000:0000 {state} 00000000:00000000\n");
    let tcp = format!("  sl  local_address\n{}{}{}", row("0A"), row("01"), row("06"));
    let tree = Tree::new(&[
        ("proc/net/tcp", &tcp),
        ("proc/net/tcp6", &format!("head\n{}", row("0A"))),
        ("proc/net/udp", &format!("head\n{}{}", row("07"), row("07"))),
        (
            "proc/net/sockstat",
            "sockets: used 9\nTCP: inuse 2 orphan 3 tw 1 alloc 4 mem 6\nUDP: inuse 2 mem 2\n",
        ),
    ]);
    let event = one(&mut sockets::SocketSummary::new(&tree.proc()));
    let summary = &event["system"]["socket"]["summary"];
    assert_eq!(summary["all"], json!({"count": 6, "listening": 2}));
    assert_eq!(
        (
            &summary["tcp"]["all"]["established"],
            &summary["tcp"]["all"]["time_wait"],
            &summary["tcp"]["all"]["orphan"]
        ),
        (&json!(1), &json!(1), &json!(3))
    );
    let page = rustix::param::page_size() as u64;
    assert_eq!(
        (
            &summary["tcp"]["memory"],
            &summary["udp"]["memory"],
            &summary["udp"]["all"]["count"]
        ),
        (&json!(6 * page), &json!(2 * page), &json!(2))
    );
}

fn process_stat(pid: u64, name: &str, state: &str, ticks: u64, pages: u64) -> String {
    format!("{pid} ({name}) {state} 1 {pid} {pid} 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 3 0 500 4096000 {pages} 0\n")
}

#[test]
fn processes_are_measured_and_summed_up() {
    let tree = Tree::new(&[
        (
            "proc/stat",
            "cpu 1 1 1 1 1 1 1 1\ncpu0 1 1 1 1 1 1 1 1\nbtime 1767225600\n",
        ),
        ("proc/meminfo", "MemTotal: 4000 kB\n"),
        (
            "etc/passwd",
            "root:x:0:0::/root:/bin/sh\nbob:x:1000:1000::/home/bob:/bin/sh\n",
        ),
        ("proc/1/stat", &process_stat(1, "init", "S", 10, 5)),
        ("proc/2/stat", &process_stat(2, "big one", "R", 5, 100)),
        ("proc/2/status", "Name:\tbig\nUid:\t1000\t1000\t1000\t1000\n"),
        ("proc/2/statm", "1000 100 40 1 0 1 0\n"),
        ("proc/2/cmdline", "/bin/big\0--flag\0"),
        (
            "proc/2/limits",
            "Limit Soft Hard\nMax open files            1024                 524288               files\n",
        ),
        ("proc/2/fd/0", ""),
        ("proc/2/environ", "HOME=/root\0SECRET=x\0"),
        ("proc/3/stat", &process_stat(3, "kworker", "I", 0, 0)),
    ]);
    let summary = one(&mut process::Summary::new(&tree.proc()));
    let expected =
        json!({"total": 3, "sleeping": 1, "running": 1, "idle": 1, "stopped": 0, "zombie": 0, "dead": 0, "unknown": 0});
    assert_eq!(summary["system"]["process"]["summary"], expected);

    let settings = json!({"process": {"include_top_n": {"by_cpu": 0, "by_memory": 1}, "env": {"whitelist": ["HOME"]}}, "processes": [".*"]});
    let config = Config {
        stream: "s",
        settings: settings.as_object().unwrap(),
    };
    let event = one(&mut process::Process::read(config, &tree.proc()).unwrap());
    let page = rustix::param::page_size() as u64;
    assert_eq!(event["user"]["name"], "bob");
    assert_eq!(event["process"]["name"], "big one");
    assert_eq!(event["process"]["args"], json!(["/bin/big", "--flag"]));
    let own = &event["system"]["process"];
    assert_eq!(
        (&own["cmdline"], &own["state"], &own["num_threads"]),
        (&json!("/bin/big --flag"), &json!("running"), &json!(3))
    );
    assert_eq!(own["cpu"]["start_time"], "2026-01-01T00:00:05.000Z");
    assert_eq!(own["cpu"]["total"], json!({"value": 50, "pct": 0, "norm": {"pct": 0}}));
    assert_eq!(
        (
            &own["memory"]["size"],
            &own["memory"]["share"],
            &own["memory"]["rss"]["bytes"]
        ),
        (&json!(4_096_000), &json!(40 * page), &json!(100 * page))
    );
    assert_eq!(own["fd"], json!({"open": 1, "limit": {"soft": 1024, "hard": 524_288}}));
    assert_eq!(own["env"], json!({"HOME": "/root"}));
}

#[test]
fn mounts_are_listed_once_for_each_device() {
    let tree = Tree::new(&[
        ("proc/filesystems", "nodev\tproc\nnodev\ttmpfs\n\text4\n"),
        (
            "proc/mounts",
            "/dev/sda1 /data/deep ext4 rw 0 0\n/dev/sda1 /data ext4 rw 0 0\nproc /proc proc rw 0 0\n/srv /bind ext4 rw 0 0\nnone relative ext4 rw 0 0\n",
        ),
        ("data/x", ""),
        ("srv/x", ""),
    ]);
    let mut filesystem = filesystem::Filesystem::new(&tree.proc(), Vec::new());
    let events = all(&mut filesystem);
    assert_eq!(events.len(), 1, "{events:?}");
    let group = &events[0]["system"]["filesystem"];
    assert_eq!(
        (
            &group["mount_point"],
            &group["device_name"],
            &group["type"],
            &group["options"]
        ),
        (&json!("/data"), &json!("/dev/sda1"), &json!("ext4"), &json!("rw"))
    );
    let (total, free, used) = (
        group["total"].as_u64().unwrap(),
        group["free"].as_u64().unwrap(),
        group["used"]["bytes"].as_u64().unwrap(),
    );
    assert_eq!(total - free, used);
    let stat = one(&mut filesystem::Fsstat::new(&tree.proc(), Vec::new()));
    assert_eq!(stat["system"]["fsstat"]["count"], 1);
    assert_eq!(stat["system"]["fsstat"]["total_size"]["total"], total);
}

#[test]
fn what_cannot_be_read_is_an_error_with_the_path() {
    let tree = Tree::new(&[]);
    let mut load = cpu::Load::new(&tree.proc());
    let fetched = fetch(&mut load, Duration::from_secs(10));
    let message = fetched.events[0]["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("/proc/loadavg") && message.contains("metricset load"),
        "{message}"
    );
    assert_eq!(
        fetched.events[0]["metricset"],
        json!({"name": "load", "period": 10_000})
    );
    assert!(fetched.events[0]["event"]["duration"].is_u64());
}

#[test]
fn this_host_is_measured_as_it_says_itself() {
    let proc = Proc::below("/");
    let memory = one(&mut memory::Memory::new(&proc));
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    assert_eq!(
        memory["system"]["memory"]["total"].as_u64(),
        memory::meminfo(&text, "MemTotal")
    );
    let uptime = one(&mut cpu::Uptime::new(&proc))["system"]["uptime"]["duration"]["ms"]
        .as_f64()
        .unwrap();
    let own: f64 = fs::read_to_string("/proc/uptime")
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!((uptime / 1000.0 - own).abs() < 5.0, "{uptime} {own}");
    let load = one(&mut cpu::Load::new(&proc));
    assert!(load["system"]["load"]["cores"].as_u64().unwrap() >= 1);
    let totals = one(&mut cpu::Cpu::new(&proc, &[]));
    let norm = totals["system"]["cpu"]["total"]["norm"]["pct"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&norm));
    let settings = json!({"processes": ["^inputs"]});
    let config = Config {
        stream: "s",
        settings: settings.as_object().unwrap(),
    };
    let processes = all(&mut process::Process::read(config, &proc).unwrap());
    let own = processes
        .iter()
        .find(|event| event["process"]["pid"] == std::process::id())
        .expect("this process is there");
    assert!(own["system"]["process"]["memory"]["rss"]["bytes"].as_u64().unwrap() > 0);
    assert!(!all(&mut network::Network::new(&proc, Vec::new())).is_empty());
    one(&mut sockets::SocketSummary::new(&proc));
    one(&mut filesystem::Fsstat::new(&proc, Vec::new()));
    all(&mut disk::DiskIo::new(&proc, Vec::new()));
}
