//! What a console has from the start: default output, host, download source, two policies, their tokens.

use serde_json::{Value, json};

use crate::Console;
use crate::console::SetupSummary;
use crate::domain::actor::Actor;
use crate::domain::agent_policies::{self, CreateOptions};
use crate::domain::changes::{self, Changes};
use crate::domain::documents::{AGENT_POLICIES, Collection, DOWNLOAD_SOURCES, Fields, HOSTS, OUTPUTS, flag};
use crate::domain::error::FleetError;
use crate::domain::urls;
use crate::domain::{
    download_sources, enrollment_keys, fleet_server_hosts, installed_packages, outputs, package_policies,
};

/// The policy of hosts that run Fleet Server.
pub const FLEET_SERVER_POLICY: &str = "fleet-server-policy";
/// The policy of all other hosts.
pub const DEFAULT_POLICY: &str = "default-policy";

/// Remembers what setup wrote, so that a later start with other URLs may correct what nobody edited.
const FROM_SETUP: &str = "from_setup";
/// A policy of ours whose integrations are not all there yet: setup was interrupted.
const PENDING: &str = "setup_pending";

/// Makes what is missing. Idempotent: a second run writes nothing.
///
/// # Errors
/// The store or the identities cannot answer.
pub async fn run(console: &Console) -> Result<SetupSummary, FleetError> {
    console.make_indices().await?;
    let actor = Actor::system(&console.access);
    for name in ["elastic_agent", "fleet_server", "system"] {
        let package = installed_packages::newest(console, name).await?;
        installed_packages::install(console, &actor, &package, installed_packages::How::from("bundled")).await?;
    }
    default_output(console, &actor).await?;
    default_host(console, &actor).await?;
    default_download_source(console, &actor).await?;
    policy(
        console,
        &actor,
        FLEET_SERVER_POLICY,
        "Fleet Server policy",
        Some("fleet_server"),
    )
    .await?;
    policy(console, &actor, DEFAULT_POLICY, "Default policy", None).await?;
    Ok(SetupSummary {
        fleet_server_policy_id: FLEET_SERVER_POLICY.to_owned(),
        default_policy_id: DEFAULT_POLICY.to_owned(),
        enrollment_token: token(console, &actor, DEFAULT_POLICY).await?,
        fleet_server_enrollment_token: token(console, &actor, FLEET_SERVER_POLICY).await?,
    })
}

/// Runs [`run`] once in the life of the process: the first request does the setup when nobody did.
///
/// # Errors
/// As [`run`]; the next request tries again.
pub(crate) async fn ensure(console: &Console) -> Result<(), FleetError> {
    let set_up = || async { run(console).await.map(drop) };
    console.is_set_up.get_or_try_init(set_up).await?;
    Ok(())
}

async fn default_output(console: &Console, actor: &Actor) -> Result<(), FleetError> {
    let hosts = normalised(&console.settings.elasticsearch_urls, "elasticsearch_urls")?;
    let mut fields = json!({
        "id": outputs::DEFAULT_ID, "name": "default", "type": "elasticsearch", "hosts": hosts,
        "is_default": true, "is_default_monitoring": true, "preset": "balanced",
    });
    if let Some(fingerprint) = &console.settings.ca_fingerprint {
        fields["ca_trusted_fingerprint"] = fingerprint.as_str().into();
    }
    default_object(
        console,
        actor,
        &OUTPUTS,
        outputs::DEFAULT_ID,
        fields,
        &["hosts", "ca_trusted_fingerprint"],
    )
    .await
}

async fn default_host(console: &Console, actor: &Actor) -> Result<(), FleetError> {
    let urls = normalised(&console.settings.fleet_server_urls, "fleet_server_urls")?;
    let fields = json!({"id": fleet_server_hosts::DEFAULT_ID, "name": "Default", "host_urls": urls,
                        "is_default": true, "is_preconfigured": false});
    default_object(
        console,
        actor,
        &HOSTS,
        fleet_server_hosts::DEFAULT_ID,
        fields,
        &["host_urls"],
    )
    .await
}

async fn default_download_source(console: &Console, actor: &Actor) -> Result<(), FleetError> {
    let fields = json!({"id": download_sources::DEFAULT_ID, "name": "Default", "host": console.settings.download_url,
                        "is_default": true});
    default_object(
        console,
        actor,
        &DOWNLOAD_SOURCES,
        download_sources::DEFAULT_ID,
        fields,
        &["host"],
    )
    .await
}

fn normalised(urls: &[String], field: &str) -> Result<Vec<String>, FleetError> {
    urls.iter().map(|url| urls::normalised(url, field)).collect()
}

/// Makes the object, or brings `keys` to what this start says as long as nobody edited them.
async fn default_object(
    console: &Console,
    actor: &Actor,
    collection: &'static Collection,
    id: &str,
    wanted: Value,
    keys: &[&str],
) -> Result<(), FleetError> {
    let _one_at_a_time = console.changes.lock().await;
    let from_setup = Value::Object(
        keys.iter()
            .map(|key| ((*key).to_owned(), wanted[*key].clone()))
            .collect(),
    );
    let mut changes = Changes::default();
    match console.find(collection, id).await? {
        None => {
            let mut fields: Fields = wanted.as_object().cloned().unwrap_or_default();
            let others_default = console
                .all(collection)
                .await?
                .iter()
                .any(|other| other.fields.get("is_default") == Some(&true.into()));
            if others_default {
                return Ok(());
            }
            fields.insert(FROM_SETUP.into(), from_setup);
            fields.insert("created_at".into(), clock::rfc3339_millis(console.clock.now()).into());
            changes.create(collection, id, fields);
        }
        Some(present) => {
            let Some(written) = present.fields.get(FROM_SETUP) else {
                return Ok(());
            };
            let unedited = keys
                .iter()
                .all(|key| present.fields.get(*key).unwrap_or(&Value::Null) == &written[*key]);
            if !unedited || *written == from_setup {
                return Ok(());
            }
            let mut fields = present.fields.clone();
            for key in keys {
                match &wanted[*key] {
                    Value::Null => fields.remove(*key),
                    value => fields.insert((*key).to_owned(), value.clone()),
                };
            }
            fields.insert(FROM_SETUP.into(), from_setup);
            changes.replace(collection, &present, fields);
            changes.touch_all();
        }
    }
    changes::apply(console, actor, changes).await
}

async fn policy(
    console: &Console,
    actor: &Actor,
    id: &str,
    name: &str,
    integration: Option<&str>,
) -> Result<(), FleetError> {
    let present = console.find(&AGENT_POLICIES, id).await?;
    if present.as_ref().is_some_and(|present| !flag(&present.fields, PENDING)) {
        return Ok(());
    }
    if present.is_none() {
        let fields = json!({
            "id": id, "name": name, "namespace": "default", "monitoring_enabled": ["logs", "metrics"],
            "is_default": integration.is_none(), "is_default_fleet_server": integration.is_some(),
            "has_fleet_server": integration.is_some(), PENDING: true,
        });
        let fields = fields.as_object().cloned().unwrap_or_default();
        agent_policies::create(console, actor, fields, CreateOptions::default()).await?;
    }
    let has = agent_policies::package_policies_of(console, id).await?;
    for package in ["system"].into_iter().chain(integration) {
        let is_there = has
            .iter()
            .any(|known| known.package.as_ref().is_some_and(|known| known.name == package));
        if !is_there {
            package_policies::create_default(console, actor, package, id).await?;
        }
    }
    let _one_at_a_time = console.changes.lock().await;
    let present = console.require(&AGENT_POLICIES, id).await?;
    let mut fields = present.fields.clone();
    fields.remove(PENDING);
    let mut changes = Changes::default();
    changes.replace(&AGENT_POLICIES, &present, fields);
    changes::apply(console, actor, changes).await
}

async fn token(console: &Console, actor: &Actor, policy_id: &str) -> Result<secret::Secret, FleetError> {
    let keys = enrollment_keys::of_policy(console, policy_id).await?;
    let active = keys
        .iter()
        .rev()
        .find(|key| key.document.active && key.document.expire_at.is_none());
    match active {
        Some(key) => Ok(key.token()),
        None => Ok(
            enrollment_keys::create(console, actor, enrollment_keys::NewKey::of_policy(policy_id))
                .await?
                .token(),
        ),
    }
}
