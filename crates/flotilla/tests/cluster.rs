//! Two APIs, two Fleet Servers and a console over an OpenSearch, as `packaging/try-cluster.sh` starts them: any of them may
//! be killed, and nothing that was acknowledged is lost.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use testkit::{Engine, RealNode, eventually, free_ports};

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");
const LONGEST: Duration = Duration::from_mins(2);
/// Bulk requests of one sender, and documents of one request.
const REQUESTS: usize = 60;
const DOCUMENTS: usize = 20;

/// The set; stopped at the end.
struct Set {
    script: Child,
    folder: tempfile::TempDir,
    apis: [u16; 2],
    fleet_servers: [u16; 2],
    console: u16,
}

impl Set {
    fn start(node: &RealNode) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [api, other_api, fleet, other_fleet, console] = free_ports();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/try-cluster.sh");
        let mut script = Command::new("bash")
            .arg(script)
            .arg(folder.path())
            .env("FLOTILLA", FLOTILLA)
            .env("OPENSEARCH", node.url())
            .env("OPENSEARCH_CA", node.tls_file("ca.crt"))
            .env("OPENSEARCH_PASSWORD", node.password())
            .env("API_PORTS", format!("{api} {other_api}"))
            .env("FLEET_PORTS", format!("{fleet} {other_fleet}"))
            .env("CONSOLE_PORT", console.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(script.stdout.take().unwrap()).lines();
        let is_last = |line: &String| line.starts_with("CA ");
        assert!(
            lines.any(|line| is_last(&line.unwrap())),
            "the script ended before all were up"
        );
        Self {
            script,
            folder,
            apis: [api, other_api],
            fleet_servers: [fleet, other_fleet],
            console,
        }
    }

    fn kill(&self, name: &str) {
        let pid = fs_err::read_to_string(self.folder.path().join(format!("{name}.pid"))).unwrap();
        testkit::run("kill", ["-KILL", pid.trim()]);
    }

    /// The status and body of a call as `elastic`; `None` when nobody answers.
    fn ask(&self, port: u16, path: &str, body: Option<&str>) -> Option<(u16, Value)> {
        let password = fs_err::read_to_string(self.folder.path().join("elastic-password")).unwrap();
        let mut command = Command::new("curl");
        command.args(["-s", "-m", "60", "-w", "\n%{http_code}", "--cacert"]);
        command.arg(self.folder.path().join("ca/ca.crt"));
        command.args(["-u", &format!("elastic:{}", password.trim())]);
        if let Some(body) = body {
            command.args(["-H", "content-type: application/x-ndjson", "--data-binary", body]);
        }
        let output = command.arg(format!("https://127.0.0.1:{port}{path}")).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        let status = status.parse().unwrap();
        (status != 0).then(|| (status, serde_json::from_str(body).unwrap_or_default()))
    }

    /// Sends documents; returns the numbers of those that were acknowledged.
    fn ship(&self, port: u16, from: usize) -> Vec<usize> {
        let mut acknowledged = Vec::new();
        for request in 0..REQUESTS {
            let first = from + request * DOCUMENTS;
            let lines = (first..first + DOCUMENTS).fold(String::new(), |mut lines, number| {
                let document = format!("{{\"@timestamp\":\"2026-01-01T00:00:00Z\",\"number\":{number}}}");
                writeln!(
                    lines,
                    "{{\"create\":{{\"_index\":\"logs-cluster-default\"}}}}\n{document}"
                )
                .unwrap();
                lines
            });
            let Some((200, answer)) = self.ask(port, "/_bulk", Some(&lines)) else {
                continue;
            };
            let items = answer["items"].as_array().unwrap();
            let done = items
                .iter()
                .enumerate()
                .filter(|(_, item)| item["create"]["status"] == 201);
            acknowledged.extend(done.map(|(at, _)| first + at));
        }
        acknowledged
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        testkit::run("kill", ["-TERM", &self.script.id().to_string()]);
        let _already_waited = self.script.wait();
    }
}

#[test]
fn any_process_of_a_cluster_may_be_killed() {
    let Some(node) = RealNode::start(Engine::OpenSearch, &[("OS_JIT", "1".to_owned())]) else {
        return;
    };
    let set = Set::start(&node);
    let [api, other_api] = set.apis;
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| set.ship(api, 0));
        let second = scope.spawn(|| set.ship(other_api, REQUESTS * DOCUMENTS));
        eventually("documents arrive", LONGEST, || {
            let (_, answer) = set.ask(other_api, "/logs-cluster-default/_count?ignore_unavailable=true", None)?;
            answer["count"].as_u64().filter(|count| *count > 0)
        });
        set.kill(&format!("api-{api}"));
        (first.join().unwrap(), second.join().unwrap())
    });
    assert_eq!(second.len(), REQUESTS * DOCUMENTS, "the other API goes on");
    let wanted = first.len() + second.len();
    let (_, refreshed) = set.ask(other_api, "/logs-cluster-default/_refresh", Some("")).unwrap();
    assert_eq!(refreshed["_shards"]["failed"], 0, "{refreshed}");
    let numbers = "{\"size\":0,\"aggs\":{\"n\":{\"terms\":{\"field\":\"number\",\"size\":10000}}}}";
    let (_, found) = set
        .ask(other_api, "/logs-cluster-default/_search", Some(numbers))
        .unwrap();
    let buckets = found["aggregations"]["n"]["buckets"].as_array().unwrap();
    let kept: std::collections::BTreeSet<u64> = buckets.iter().filter_map(|bucket| bucket["key"].as_u64()).collect();
    let lost = first
        .iter()
        .chain(&second)
        .filter(|number| !kept.contains(&(**number as u64)));
    assert_eq!(lost.count(), 0, "of {wanted} acknowledged documents");

    let [fleet_server, other_fleet_server] = set.fleet_servers;
    set.kill(&format!("fleet-{fleet_server}"));
    let (status, answer) = set.ask(other_fleet_server, "/api/status", None).unwrap();
    assert_eq!((status, &answer["status"]), (200, &Value::from("HEALTHY")), "{answer}");
    let (status, _) = set.ask(set.console, "/api/fleet/agent_policies", None).unwrap();
    assert_eq!(status, 200, "the console goes on");
    set.kill("console");
    let (status, _) = set.ask(other_api, "/_cluster/health", None).unwrap();
    assert_eq!(status, 200, "the API goes on");
}
