//! `elastic-agent diagnostics`.

use agent::control::{Client, Command};
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::arguments::{CommonArguments, DiagnosticsArguments};
use crate::printer;

pub(super) fn run(common: &CommonArguments, arguments: &DiagnosticsArguments) -> Result<i32> {
    let answer = super::block_on(async { Ok(Client::new(common.paths().socket()).ask(&Command::Diagnostics).await?) })?;
    let zip = answer
        .get("zip")
        .and_then(serde_json::Value::as_str)
        .context("the agent sent no archive")?;
    let zip = STANDARD.decode(zip).context("the agent sent a damaged archive")?;
    let file = arguments.file.clone().unwrap_or_else(|| {
        jiff::Timestamp::now()
            .strftime("elastic-agent-diagnostics-%Y-%m-%dT%H-%M-%SZ-00.zip")
            .to_string()
            .into()
    });
    certs::write_file_atomically(&file, &zip, 0o600)?;
    printer::line(format!(
        "Created diagnostics archive {file}; secrets are masked, log lines are as they were written."
    ));
    Ok(0)
}
