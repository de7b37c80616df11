//! Real peers that are no part of the project: nodes of Elasticsearch and OpenSearch, and the original certutil.
//!
//! Scripts beside the project fetch and start them. They are fetched here, once and one after the other: tests that run side
//! by side would fetch into the same folder.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Environment variables with which tests find the peers, or with which they know that there are none.
pub(crate) fn variables() -> Vec<(&'static str, OsString)> {
    if std::env::var_os("FLOTILLA_NO_REAL_NODES").is_some() {
        return Vec::new();
    }
    let tools = tools();
    match ["elasticsearch", "opensearch"]
        .iter()
        .try_for_each(|engine| fetch(&tools, engine))
    {
        Ok(()) => vec![
            (
                "FLOTILLA_ELASTICSEARCH_TOOLS",
                tools.join("elasticsearch/tool.sh").into(),
            ),
            ("FLOTILLA_SHARED_TOOLS", tools.into()),
        ],
        Err(reason) => {
            eprintln!("SKIPPED: tests with real nodes and with the original certutil: {reason}");
            vec![("FLOTILLA_NO_REAL_NODES", "1".into())]
        }
    }
}

/// `FLOTILLA_SHARED_TOOLS`, else `../shared/tools` beside the project.
pub(crate) fn tools() -> PathBuf {
    std::env::var_os("FLOTILLA_SHARED_TOOLS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/tools"),
        PathBuf::from,
    )
}

fn fetch(tools: &Path, engine: &str) -> Result<(), String> {
    let script = tools.join(engine).join("setup.sh");
    if !script.is_file() {
        return Err(format!("there is no {}; set FLOTILLA_SHARED_TOOLS", script.display()));
    }
    let status = Command::new(&script)
        .stdout(Stdio::null())
        .status()
        .map_err(|error| format!("{}: {error}", script.display()))?;
    status
        .success()
        .then_some(())
        .ok_or_else(|| format!("{} ended with {status}", script.display()))
}
