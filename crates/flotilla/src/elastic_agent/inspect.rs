//! `elastic-agent inspect`: of the running agent, else of its files.

use agent::control::{Client, Command, ControlError};
use agent::state::StateStore;
use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::arguments::{CommonArguments, InspectArguments};
use crate::printer;

pub(super) fn run(common: &CommonArguments, arguments: &InspectArguments) -> Result<i32> {
    match arguments.what.as_deref() {
        None => {}
        Some("components") => return components(common),
        Some(other) => bail!("`inspect {other}` is not known; use `inspect` or `inspect components`"),
    }
    let asked = super::block_on(async { Ok(Client::new(common.paths().socket()).ask(&Command::Inspect).await) })?;
    let config = match asked {
        Ok(config) => config,
        Err(ControlError::NotRunning { .. }) => from_files(common)?,
        Err(error) => return Err(error.into()),
    };
    printer::text(settings::to_yaml(&config));
    Ok(0)
}

fn components(common: &CommonArguments) -> Result<i32> {
    let report = super::block_on(async { Ok(Client::new(common.paths().socket()).status().await?) })?;
    printer::text(settings::to_yaml(
        &json!({"components": serde_json::to_value(report.components)?}),
    ));
    Ok(0)
}

fn from_files(common: &CommonArguments) -> Result<Value> {
    let paths = common.paths();
    if !agent::is_enrolled(&paths) {
        let (_, mut config) = agent::read_config(&paths.config().join(&common.config))?;
        agent::redact(&mut config);
        return Ok(config);
    }
    let store = StateStore::open(&paths)?;
    let Some(enrollment) = store.enrollment()? else {
        return Ok(json!({}));
    };
    let mut policy = store
        .state(&enrollment)
        .policy
        .map_or_else(|| json!({}), |policy| policy.policy);
    let block = policy.get("fleet").cloned().unwrap_or_default();
    policy["fleet"] = serde_json::to_value(enrollment.connection.under_policy(&block))?;
    policy["agent"]["id"] = json!(enrollment.agent_id);
    agent::redact(&mut policy);
    Ok(policy)
}
