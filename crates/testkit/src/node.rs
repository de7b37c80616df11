//! A node of a real Elasticsearch or OpenSearch, started by scripts that are no part of the project.
//!
//! They are looked for in `FLOTILLA_SHARED_TOOLS`, else in `../shared/tools` beside the workspace.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::{eventually, free_ports, skip};

/// Which engine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Engine {
    /// Elasticsearch with its security, without its fleet module.
    Elasticsearch,
    /// OpenSearch with its security plugin.
    OpenSearch,
}

impl Engine {
    fn folder(self) -> &'static str {
        match self {
            Self::Elasticsearch => "elasticsearch",
            Self::OpenSearch => "opensearch",
        }
    }
}

/// As the scripts set it.
const PASSWORD: &str = "flotilla-Admin-1";

/// A node merges only while there is room for it: by itself it asks for up to 100 GB, and a forced merge waits for them.
const MERGES_ON_ANY_DISK: &str = "indices.merge.disk.watermark.high: 1mb\n";

/// A running node over HTTPS on the loopback address, with certificates of its own in `tls/`.
#[derive(Debug)]
pub struct RealNode {
    engine: Engine,
    url: String,
    tools: PathBuf,
    folder: TempDir,
}

impl RealNode {
    /// Starts one with these variables of the scripts; `None`, and said aloud, where the scripts are not.
    ///
    /// # Panics
    /// The node does not start.
    pub fn start(engine: Engine, variables: &[(&str, String)]) -> Option<Self> {
        let tools = shared_tools().join(engine.folder());
        if !tools.join("start.sh").is_file() {
            let reason = format!(
                "there is no `start.sh` in {}; set FLOTILLA_SHARED_TOOLS",
                tools.display()
            );
            if std::env::var_os("FLOTILLA_NO_REAL_NODES").is_some() {
                eprintln!("SKIPPED: {reason}");
            } else {
                skip(&reason);
            }
            return None;
        }
        let mut told = String::new();
        // Between asking for a port and the node's taking it, another program may.
        for _ in 0..2 {
            let folder = tempfile::tempdir().expect("a temporary folder can be made");
            let [port] = free_ports();
            let node = Self {
                engine,
                url: format!("https://127.0.0.1:{port}"),
                tools: tools.clone(),
                folder,
            };
            let output = node.start_script(port, variables);
            if output.status.success() {
                return Some(node);
            }
            told = String::from_utf8_lossy(&output.stderr).into_owned();
        }
        panic!("{engine:?} does not start: {told}");
    }

    fn start_script(&self, port: u16, variables: &[(&str, String)]) -> Output {
        let mut variables = variables.to_vec();
        if self.engine == Engine::Elasticsearch {
            let more = self.folder.path().join("more.yml");
            fs_err::write(&more, MERGES_ON_ANY_DISK).expect("the temporary folder can be written to");
            variables.push(("ES_EXTRA_YML", more.display().to_string()));
        }
        self.script("start.sh", &[&port.to_string()], &variables)
    }

    /// `https://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The administrator's name.
    pub fn user(&self) -> &'static str {
        match self.engine {
            Engine::Elasticsearch => "elastic",
            Engine::OpenSearch => "admin",
        }
    }

    /// The administrator's password.
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// A file of its `tls` folder: `ca.crt`; of OpenSearch also `admin.crt` and `admin.key`.
    pub fn tls_file(&self, name: &str) -> PathBuf {
        self.folder.path().join("tls").join(name)
    }

    fn script(&self, name: &str, arguments: &[&str], variables: &[(&str, String)]) -> Output {
        Command::new(self.tools.join(name))
            .arg(self.folder.path())
            .args(arguments)
            .envs(variables.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::null())
            .output()
            .expect("the scripts can be run")
    }
}

impl Drop for RealNode {
    fn drop(&mut self) {
        self.script("stop.sh", &[], &[]);
    }
}

/// OpenSearch nodes on the loopback address that are one cluster; each keeps a copy of what another has.
#[derive(Debug)]
pub struct RealCluster {
    port: u16,
    nodes: u16,
    tools: PathBuf,
    folder: TempDir,
}

/// Of each node.
const SMALL_HEAP: &str = "384m";

impl RealCluster {
    /// Starts it; `None`, and said aloud, where the scripts are not.
    ///
    /// # Panics
    /// It does not start.
    pub fn start(nodes: u16) -> Option<Self> {
        let tools = shared_tools().join(Engine::OpenSearch.folder());
        if !tools.join("cluster.sh").is_file() {
            if std::env::var_os("FLOTILLA_NO_REAL_NODES").is_none() {
                skip("there is no `cluster.sh` for OpenSearch; set FLOTILLA_SHARED_TOOLS");
            }
            return None;
        }
        let cluster = Self {
            port: free_range(nodes),
            nodes,
            tools,
            folder: tempfile::tempdir().expect("a temporary folder can be made"),
        };
        cluster.script("cluster.sh", "", &[&cluster.port.to_string(), &nodes.to_string()], None);
        Some(cluster)
    }

    /// `https://127.0.0.1:PORT` of each node.
    pub fn urls(&self) -> Vec<String> {
        (0..self.nodes)
            .map(|node| format!("https://127.0.0.1:{}", self.port + node))
            .collect()
    }

    /// The CA of all nodes.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("node1/tls/ca.crt")
    }

    /// The administrator's name.
    pub fn user(&self) -> &'static str {
        "admin"
    }

    /// The administrator's password.
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// Kills a node; the first is 1.
    pub fn kill(&self, node: u16) {
        self.script("stop.sh", &format!("node{node}"), &["KILL"], None);
    }

    /// Starts a killed node; returns when it answers.
    pub fn start_again(&self, node: u16) {
        let arguments = [self.port.to_string(), self.nodes.to_string()];
        self.script("cluster.sh", "", &arguments.each_ref().map(String::as_str), Some(node));
    }

    /// Waits until each shard has all its copies.
    ///
    /// # Panics
    /// That takes minutes.
    pub fn wait_until_green(&self) {
        let login = format!("{}:{}", self.user(), self.password());
        let ca = self.ca();
        eventually("all copies are there", Duration::from_mins(5), || {
            self.urls().iter().find_map(|url| {
                let path = format!(
                    "{url}/_cluster/health?wait_for_status=green&wait_for_nodes={}&timeout=5s",
                    self.nodes
                );
                let output = Command::new("curl")
                    .args(["-s", "-f", "-u", &login, "--cacert"])
                    .arg(&ca)
                    .arg(path)
                    .output()
                    .expect("curl can be run");
                output.status.success().then_some(())
            })
        });
    }

    fn script(&self, name: &str, below: &str, arguments: &[&str], restart: Option<u16>) {
        let mut command = Command::new(self.tools.join(name));
        command
            .arg(self.folder.path().join(below))
            .args(arguments)
            .env("OS_HEAP", SMALL_HEAP)
            .env("OS_JIT", "1")
            .env("OS_TIMEOUT", "600")
            .stdin(Stdio::null());
        if let Some(node) = restart {
            command.env("RESTART", node.to_string());
        }
        let output = command.output().expect("the scripts can be run");
        assert!(
            output.status.success(),
            "{name} {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

impl Drop for RealCluster {
    fn drop(&mut self) {
        // Not through `script`, which may panic.
        let _stopped_or_gone = Command::new(self.tools.join("stop.sh"))
            .arg(self.folder.path())
            .args(["KILL"])
            .output();
    }
}

/// The first of as many free ports in a row, for which those of the nodes among themselves, 100 above, are free as well.
fn free_range(ports: u16) -> u16 {
    let free = |port: u16| std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port)).is_ok();
    (0..100)
        .find_map(|_| {
            let [first] = free_ports();
            let fits = first < u16::MAX - 200;
            (fits && (0..ports).all(|port| free(first + port) && free(first + 100 + port))).then_some(first)
        })
        .expect("there are free ports")
}

/// Tools that are no part of the project: `FLOTILLA_SHARED_TOOLS`, else `../shared/tools` beside the workspace.
#[expect(clippy::disallowed_methods, reason = "a test asks its caller")]
pub fn shared_tools() -> PathBuf {
    std::env::var("FLOTILLA_SHARED_TOOLS").map_or_else(
        |_| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/tools"),
        PathBuf::from,
    )
}
