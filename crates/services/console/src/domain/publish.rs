//! Publishing: agent policies are compiled, and those whose content changed get a new revision in `.fleet-policies`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use policy::model::{AgentPolicy, DownloadSource, FleetServerHost, Output, PackagePolicy, Proxy};
pub use policy::{Form, FullPolicy};
use policy::{PolicyInputs, Protection};
use protocol::indices;
use query::{Query, SearchRequest};
use serde::Serialize;
use serde_json::{Map, Value};
use store::{Operation, Outcome, Refresh, RejectionKind, Source};

use crate::Console;
use crate::domain::actor::Actor;
use crate::domain::documents::{
    AGENT_POLICIES, DOWNLOAD_SOURCES, Fields, HOSTS, OUTPUTS, PACKAGE_POLICIES, PROXIES, Stored, UNINSTALL_TOKENS, text,
};
use crate::domain::error::FleetError;
use crate::domain::installed_packages;
use crate::domain::signing::{self, SigningKey};

/// Everything that policies are made of, read once for a round.
struct Material {
    package_policies: Vec<Arc<PackagePolicy>>,
    outputs: Vec<Output>,
    hosts: Vec<FleetServerHost>,
    proxies: Vec<Proxy>,
    download_sources: Vec<DownloadSource>,
    packages: Vec<Arc<packages::Package>>,
    uninstall_tokens: HashMap<String, String>,
    signing_key: Arc<SigningKey>,
}

impl Material {
    async fn read(console: &Console) -> Result<Self, FleetError> {
        Ok(Self {
            package_policies: console.all_shared(&PACKAGE_POLICIES).await?,
            outputs: console.all_as(&OUTPUTS).await?,
            hosts: console.all_as(&HOSTS).await?,
            proxies: console.all_as(&PROXIES).await?,
            download_sources: console.all_as(&DOWNLOAD_SOURCES).await?,
            packages: installed_packages::installed(console).await?,
            uninstall_tokens: console
                .all(&UNINSTALL_TOKENS)
                .await?
                .iter()
                .filter_map(hash_of)
                .collect(),
            signing_key: signing::key(console).await?,
        })
    }

    fn compile(&self, policy: &AgentPolicy, form: Form) -> Result<FullPolicy, FleetError> {
        let own = self.package_policies.iter();
        let own = own.filter(|integration| integration.policy_ids.contains(&policy.id));
        let package_policies: Vec<Arc<PackagePolicy>> = own.map(Arc::clone).collect();
        let protection = Protection {
            uninstall_token_hash: self.uninstall_tokens.get(&policy.id).cloned().unwrap_or_default(),
            signing_key: BASE64.encode(self.signing_key.public_key()),
        };
        let inputs = PolicyInputs {
            policy,
            package_policies: &package_policies,
            outputs: &self.outputs,
            hosts: &self.hosts,
            proxies: &self.proxies,
            download_sources: &self.download_sources,
            packages: &self.packages,
            protection: &protection,
            signer: Some(&*self.signing_key),
            form,
        };
        Ok(policy::compile(&inputs)?)
    }
}

/// The policy that an uninstall token is for, and the hash of the token.
fn hash_of(token: &Arc<Stored>) -> Option<(String, String)> {
    let hash = text(&token.fields, "value_hash")?;
    Some((token.id.clone(), hash.to_owned()))
}

/// The full policy as agents get it, or as a file for an agent without Fleet.
///
/// # Errors
/// No such policy; a reference that leads nowhere.
pub async fn full_policy(console: &Console, id: &str, form: Form) -> Result<FullPolicy, FleetError> {
    let policy = crate::domain::agent_policies::read(console, id).await?;
    let material = Material::read(console).await?;
    let compiled = tokio::task::spawn_blocking(move || material.compile(&policy, form)).await;
    compiled.map_err(|_| FleetError::invalid("the policy cannot be compiled"))?
}

/// The inputs that a package policy would give to the agents of its first policy; nothing is written.
///
/// # Errors
/// A reference that leads nowhere.
pub async fn inputs_of(console: &Console, integration: &PackagePolicy) -> Result<Vec<Value>, FleetError> {
    let Some(id) = integration.policy_ids.first() else {
        return Ok(Vec::new());
    };
    let policy = crate::domain::agent_policies::read(console, id).await?;
    let mut material = Material::read(console).await?;
    material.package_policies = vec![Arc::new(integration.clone())];
    let full = material.compile(&policy, Form::Fleet)?;
    let inputs = full.0.get("inputs").and_then(Value::as_array);
    Ok(inputs.cloned().unwrap_or_default())
}

/// Compiles the policies (all, when `ids` is none) and publishes those that changed, or with `bump` each of them. The caller holds
/// `console.changes`.
///
/// # Errors
/// The first policy that cannot be compiled; all others are published.
pub(crate) async fn publish(
    console: &Console,
    actor: &Actor,
    ids: Option<&BTreeSet<String>>,
    bump: bool,
) -> Result<(), FleetError> {
    let mut selected = console.all(&AGENT_POLICIES).await?;
    selected.retain(|policy| ids.is_none_or(|ids| ids.contains(&policy.id)));
    if selected.is_empty() {
        return Ok(());
    }
    let material = Arc::new(Material::read(console).await?);
    let mut first_error = None;
    for stored in selected {
        if let Err(error) = publish_one(console, actor, &material, &stored, bump).await {
            tracing::error!(policy.id = %stored.id, error = %error, "policy not published");
            first_error.get_or_insert(error);
        }
    }
    first_error.map_or(Ok(()), Err)
}

async fn publish_one(
    console: &Console,
    actor: &Actor,
    material: &Arc<Material>,
    stored: &Stored,
    bump: bool,
) -> Result<(), FleetError> {
    let mut policy = Arc::unwrap_or_clone(stored.shared::<AgentPolicy>(&AGENT_POLICIES)?);
    let published = published(console, &policy).await?;
    policy.revision += 1;
    let round = Arc::clone(material);
    let compiled =
        tokio::task::spawn_blocking(move || round.compile(&policy, Form::Fleet).map(|full| (policy, full))).await;
    let (policy, full) = compiled.map_err(|_| FleetError::invalid("the policy cannot be compiled"))??;
    let is_same = published.is_some_and(|published| is_same_content(&published, &full.0));
    if is_same && !bump {
        return Ok(());
    }
    write(console, actor, stored, policy, full).await
}

fn document_id(policy_id: &str, revision: i64) -> String {
    format!("{policy_id}:{revision}")
}

/// The content of the present revision.
async fn published(console: &Console, policy: &AgentPolicy) -> Result<Option<Map<String, Value>>, FleetError> {
    if policy.revision == 0 {
        return Ok(None);
    }
    let document = console
        .store
        .get(indices::POLICIES, &document_id(&policy.id, policy.revision))
        .await?;
    let mut fields = match document {
        Some(document) => document.source.to_value(),
        None => return Ok(None),
    };
    match fields.get_mut("data").map(Value::take) {
        Some(Value::Object(data)) => Ok(Some(data)),
        _ => Ok(None),
    }
}

/// Whether two policies are the same but for the revision, and for the signature, which differs each time.
fn is_same_content(one: &Map<String, Value>, other: &Map<String, Value>) -> bool {
    fn without<'a>(map: &'a Map<String, Value>, left_out: &'a str) -> impl Iterator<Item = (&'a String, &'a Value)> {
        map.iter().filter(move |(key, _)| *key != left_out)
    }
    let is_same = |key: &str, value: &Value| match (key, value, other.get(key)) {
        ("signed", Value::Object(one), Some(Value::Object(other))) => {
            without(one, "signature").count() == without(other, "signature").count()
                && without(one, "signature").all(|(key, value)| other.get(key) == Some(value))
        }
        (_, value, other) => Some(value) == other,
    };
    without(one, "revision").count() == without(other, "revision").count()
        && without(one, "revision").all(|(key, value)| is_same(key, value))
}

/// Attempts before giving up on a number that someone else took; each takes the next.
const ATTEMPTS: usize = 10;

async fn write(
    console: &Console,
    actor: &Actor,
    stored: &Stored,
    mut policy: AgentPolicy,
    full: FullPolicy,
) -> Result<(), FleetError> {
    let (mut data, mut seq_no) = (full.0, stored.seq_no);
    for _ in 0..ATTEMPTS {
        data.insert("revision".into(), policy.revision.into());
        let create = Operation::create(
            indices::POLICIES,
            document_id(&policy.id, policy.revision),
            Source::of(&document(console, &policy, &data)),
        );
        // In one write: the revision, and the policy that remembers it.
        let remember = Operation::replace(
            AGENT_POLICIES.index,
            &stored.id,
            Source::from_map(&remembered(console, actor, stored, &policy)),
            seq_no,
        );
        let mut outcomes = console
            .store
            .bulk(vec![create, remember], Refresh::WaitFor)
            .await?
            .into_iter();
        let (created, remembered) = (outcomes.next(), outcomes.next());
        match created {
            Some(Outcome::Rejected(rejection)) if rejection.kind == RejectionKind::VersionConflict => {
                policy.revision += 1;
                if let Some(Outcome::Done(written)) = remembered {
                    seq_no = written.seq_no;
                }
            }
            Some(Outcome::Rejected(rejection)) => return Err(rejection.into()),
            _ => {
                if let Some(Outcome::Rejected(rejection)) = remembered {
                    return Err(rejection.into());
                }
                tracing::info!(policy.id = %policy.id, policy.revision = policy.revision, actor = %actor.name, "policy published");
                return Ok(());
            }
        }
    }
    Err(FleetError::Conflict(format!(
        "policy {} is being changed by others; retry",
        policy.id
    )))
}

/// A revision as Fleet Servers read it.
#[derive(Serialize)]
struct PolicyDocument<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: String,
    policy_id: &'a str,
    revision_idx: i64,
    coordinator_idx: i64,
    namespaces: &'a [String],
    default_fleet_server: bool,
    unenroll_timeout: i64,
    data: &'a Map<String, Value>,
}

fn document<'a>(console: &Console, policy: &'a AgentPolicy, data: &'a Map<String, Value>) -> PolicyDocument<'a> {
    let inputs = data.get("inputs").and_then(Value::as_array);
    let runs_fleet_server = inputs
        .into_iter()
        .flatten()
        .any(|input| input["type"] == "fleet-server");
    let is_default = policy.other.get("is_default_fleet_server").and_then(Value::as_bool);
    PolicyDocument {
        timestamp: clock::rfc3339_millis(console.clock.now()),
        policy_id: &policy.id,
        revision_idx: policy.revision,
        coordinator_idx: 0,
        namespaces: policy.space_ids.as_deref().unwrap_or_default(),
        default_fleet_server: is_default.unwrap_or(runs_fleet_server),
        unenroll_timeout: policy.unenroll_timeout.unwrap_or(0),
        data,
    }
}

fn remembered(console: &Console, actor: &Actor, stored: &Stored, policy: &AgentPolicy) -> Fields {
    let mut fields = stored.fields.clone();
    fields.insert("revision".into(), policy.revision.into());
    fields.insert("updated_at".into(), clock::rfc3339_millis(console.clock.now()).into());
    fields.insert("updated_by".into(), actor.name.clone().into());
    fields
}

/// Removes every revision of a deleted policy.
pub(crate) async fn withdraw(console: &Console, policy_id: &str) -> Result<(), FleetError> {
    let request = SearchRequest::new(indices::POLICIES)
        .query(Query::term("policy_id", policy_id))
        .size(10_000);
    let found = console.store.search(request).await?;
    let deletes: Vec<Operation> = found
        .hits
        .into_iter()
        .map(|hit| Operation::delete(indices::POLICIES, hit.document.id))
        .collect();
    if !deletes.is_empty() {
        console.store.bulk(deletes, Refresh::WaitFor).await?;
    }
    Ok(())
}
