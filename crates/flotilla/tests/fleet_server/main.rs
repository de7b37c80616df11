//! A Fleet Server on an Elasticsearch of another host: under an agent by the documented commands, by the stock
//! configuration file, several on one store, and on real engines.
#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]
#![expect(clippy::print_stderr, reason = "a failed test tells what it found")]

mod under_agent;

mod own_process;

mod bare_host;

mod install;

mod real_nodes;
mod saved_fields;

mod remote_outputs;

mod soak;

mod tls_fields;

mod files;
mod host;

use std::time::Duration;

use serde_json::json;
use testkit::{Flotilla, eventually};

pub(crate) const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");
/// Nothing here takes as long, even on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(90);

/// The first step of the documents: the URL of the new Fleet Server is put under Settings, for all agents.
pub(crate) fn add_fleet_server_host(elasticsearch: &Flotilla, port: u16) {
    let host = json!({
        "name": "documented", "host_urls": [format!("https://localhost:{port}")], "is_default": true,
    });
    let made = elasticsearch.console().post("/api/fleet/fleet_server_hosts", &host);
    assert_eq!(made["item"]["is_default"], true, "{made}");
}

/// Waits until exactly these many agents are there, and all are online.
pub(crate) fn online(elasticsearch: &Flotilla, agents: usize) {
    eventually("agents online", SOON, || {
        let list = elasticsearch.console().get("/api/fleet/agents");
        let items = list["items"].as_array()?;
        (items.len() == agents && items.iter().all(|item| item["status"] == "online")).then_some(())
    });
}

/// Waits until metrics of this agent are found.
pub(crate) fn data_arrives(elasticsearch: &Flotilla, agent_id: &str) {
    let query = json!({"size": 1, "query": {"term": {"agent.id": agent_id}}});
    eventually("data of the agent", SOON, || {
        let found = elasticsearch.elasticsearch().post("/metrics-system.*/_search", &query);
        found.pointer("/hits/hits/0").cloned()
    });
}

/// The text that every policy edit needs, and the revision that it makes.
pub(crate) fn edit_default_policy(elasticsearch: &Flotilla, description: &str) -> u64 {
    let body = json!({"name": "Default policy", "namespace": "default", "description": description});
    let changed = elasticsearch
        .console()
        .put("/api/fleet/agent_policies/default-policy", &body);
    changed["item"]["revision"]
        .as_u64()
        .unwrap_or_else(|| panic!("no revision: {changed}"))
}
