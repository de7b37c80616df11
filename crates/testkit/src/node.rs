//! A node of a real Elasticsearch or OpenSearch, started by scripts that are no part of the project.
//!
//! They are looked for in `FLOTILLA_SHARED_TOOLS`, else in `../shared/tools` beside the workspace.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::{free_ports, skip};

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
        "flotilla-Admin-1"
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

/// Tools that are no part of the project: `FLOTILLA_SHARED_TOOLS`, else `../shared/tools` beside the workspace.
#[expect(clippy::disallowed_methods, reason = "a test asks its caller")]
pub fn shared_tools() -> PathBuf {
    std::env::var("FLOTILLA_SHARED_TOOLS").map_or_else(
        |_| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/tools"),
        PathBuf::from,
    )
}
