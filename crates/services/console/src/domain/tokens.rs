//! Tokens and keys that are made on request: for Fleet Servers, for Logstash, and the key that signs policies.

use access::NewApiKey;
use secret::Secret;
use serde_json::json;

use crate::Console;
use crate::domain::actor::Actor;
use crate::domain::changes::{self, Changes};
use crate::domain::documents::SETTINGS;
use crate::domain::error::FleetError;
use crate::domain::signing;

/// Makes a token of the account `elastic/fleet-server`, or of `elastic/fleet-server-remote`, with which another fleet's agents
/// ship here; returns its name and value, which is not shown again.
///
/// # Errors
/// The identities cannot answer.
pub async fn service_token(console: &Console, actor: &Actor, remote: bool) -> Result<(String, Secret), FleetError> {
    let account = if remote {
        access::FLEET_SERVER_REMOTE_ACCOUNT
    } else {
        access::FLEET_SERVER_ACCOUNT
    };
    let name = format!("token-{}", console.clock.now().as_millisecond());
    let value = console.access.create_service_token(account, &name).await?;
    record(console, actor, "service_token", &name).await?;
    Ok((name, value))
}

/// Makes an API key with which Logstash may write; in its `id:key` form.
///
/// # Errors
/// The caller may not make keys.
pub async fn logstash_key(console: &Console, actor: &Actor) -> Result<Secret, FleetError> {
    let name = format!("Fleet Logstash output {}", uuid::Uuid::new_v4());
    let roles = json!({"logstash-output": {
        "cluster": ["monitor"],
        "index": [{"names": ["logs-*-*", "metrics-*-*", "traces-*-*", "synthetics-*-*", ".logs-endpoint.diagnostic.collection-*",
                             ".logs-endpoint.action.responses-*", "profiling-*"],
                   "privileges": ["auto_configure", "create_doc"]}],
    }});
    let key = NewApiKey {
        name: name.clone(),
        role_descriptors: roles.try_into()?,
        metadata: json!({"managed_by": "fleet", "application": "fleet"}),
        expires: None,
    };
    let key = console.access.create_api_key(&actor.principal, key).await?;
    record(console, actor, "logstash_api_key", &name).await?;
    Ok(key.pair())
}

/// Makes a new key that signs policies; every policy is signed anew.
///
/// # Errors
/// The store cannot answer.
pub async fn rotate_signing_key(console: &Console, actor: &Actor) -> Result<(), FleetError> {
    let _one_at_a_time = console.changes.lock().await;
    signing::rotate(console).await?;
    let mut changes = Changes::default();
    changes.touch_all();
    changes::apply(console, actor, changes).await
}

async fn record(console: &Console, actor: &Actor, what: &'static str, name: &str) -> Result<(), FleetError> {
    let mut changes = Changes::default();
    // A record needs a write beside it; the counter says how many were made.
    let partial = json!({"name": name}).as_object().cloned().unwrap_or_default();
    let update = store::Update::Merge {
        partial: partial.clone(),
        upsert: Some(partial),
    };
    let operation = store::Operation {
        index: SETTINGS.index.to_owned(),
        id: Some(format!("newest-{what}")),
        require_data_stream: false,
        action: store::Action::Update { update, expected: None },
    };
    changes.other(operation, what, name, (None, None));
    changes::apply(console, actor, changes).await
}
