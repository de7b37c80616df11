//! `elastic-agent version`.

use agent::control::Client;
use anyhow::Result;
use serde_json::{Value, json};

use super::arguments::{CommonArguments, VersionArguments};
use crate::printer;

pub(super) fn run(common: &CommonArguments, arguments: &VersionArguments) -> Result<i32> {
    let build = super::build();
    let binary =
        json!({"version": build.version, "commit": build.commit, "build_time": build.time, "snapshot": build.snapshot});
    if arguments.binary_only {
        print(arguments.yaml, &binary, None);
        return Ok(0);
    }
    let status = super::block_on(async { Ok(Client::new(common.paths().socket()).status().await) })?;
    match status {
        Ok(report) => {
            let info = &report.info;
            let daemon = json!({"version": info.version, "commit": info.commit, "build_time": info.build_time, "snapshot": info.snapshot});
            print(arguments.yaml, &binary, Some(&daemon));
            Ok(0)
        }
        Err(error) => {
            print(arguments.yaml, &binary, None);
            Err(error.into())
        }
    }
}

fn print(yaml: bool, binary: &Value, daemon: Option<&Value>) {
    if yaml {
        let mut both = json!({"binary": binary});
        if let Some(daemon) = daemon {
            both["daemon"] = daemon.clone();
        }
        printer::text(settings::to_yaml(&both));
        return;
    }
    let text = |build: &Value| {
        format!(
            "{} (build: {})",
            build["version"].as_str().unwrap_or_default(),
            build["commit"].as_str().unwrap_or_default()
        )
    };
    printer::line(format!("Binary: {}", text(binary)));
    if let Some(daemon) = daemon {
        printer::line(format!("Daemon: {}", text(daemon)));
    }
}
