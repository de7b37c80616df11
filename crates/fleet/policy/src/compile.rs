//! The assembly of a full policy: order of the parts, signature, overrides.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use packages::Package;
use serde_json::{Map, Value, json};

use crate::model::{AgentPolicy, DownloadSource, FleetServerHost, Output, PackagePolicy, Proxy};
use crate::{agent, fleet, inputs, outputs, permissions};

/// Everything that a policy is made of. Lists may hold more than the policy needs.
#[derive(Clone, Copy)]
pub struct PolicyInputs<'a> {
    /// The policy itself.
    pub policy: &'a AgentPolicy,
    /// The integrations of this policy, in the order of their creation, already rendered
    /// (`package_policy::render`).
    pub package_policies: &'a [Arc<PackagePolicy>],
    /// All outputs.
    pub outputs: &'a [Output],
    /// All Fleet Server hosts.
    pub hosts: &'a [FleetServerHost],
    /// All proxies.
    pub proxies: &'a [Proxy],
    /// All download sources.
    pub download_sources: &'a [DownloadSource],
    /// The installed packages.
    pub packages: &'a [Arc<Package>],
    /// Tamper protection.
    pub protection: &'a Protection,
    /// Signs what tamper protection covers.
    pub signer: Option<&'a dyn Sign>,
    /// For whom it is.
    pub form: Form,
}

/// For whom a policy is compiled.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Form {
    /// Agents that are enrolled.
    #[default]
    Fleet,
    /// A file for an agent without Fleet: no `fleet`, `signed` and `protection`, and a place for the API key.
    Standalone,
}

/// What `agent.protection` says.
#[derive(Clone, Debug, Default)]
pub struct Protection {
    /// Base64 of the SHA-256 of the policy's uninstall token.
    pub uninstall_token_hash: String,
    /// Base64 of the DER of the public key that `signed` is checked with.
    pub signing_key: String,
}

/// Signs with ECDSA P-256 and SHA-256.
pub trait Sign {
    /// The signature in ASN.1 DER.
    fn sign(&self, data: &[u8]) -> Vec<u8>;
}

/// A compiled policy: `data` of a `.fleet-policies` document.
#[derive(Clone, Debug, PartialEq)]
pub struct FullPolicy(pub Map<String, Value>);

/// Why a policy could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// There is no default output, and the policy names none.
    #[error("policy `{policy}` has no output: it names none and no output is the default")]
    NoOutput {
        /// The policy's id.
        policy: String,
    },
    /// A reference that leads nowhere.
    #[error("policy `{policy}` names the {kind} `{id}`, which does not exist")]
    Dangling {
        /// The policy's id.
        policy: String,
        /// `output`, `proxy`, ..
        kind: &'static str,
        /// What it names.
        id: String,
    },
    /// `config_yaml` of an output.
    #[error("`config_yaml` of output `{output}` is not valid: {message}")]
    ConfigYaml {
        /// The output's id.
        output: String,
        /// What is wrong.
        message: String,
    },
}

/// Compiles the policy.
///
/// # Errors
/// A missing output, a dangling reference, YAML that is not valid.
pub fn compile(inputs: &PolicyInputs<'_>) -> Result<FullPolicy, CompileError> {
    let chosen = outputs::choose(inputs)?;
    let host = fleet::host_of(inputs)?;
    let policy = inputs.policy;
    let mut secrets = Secrets::default();
    let mut full = Map::new();
    full.insert("id".into(), policy.id.clone().into());
    full.insert(
        "outputs".into(),
        outputs::section(inputs, &chosen, host, &mut secrets)?.into(),
    );
    full.insert(
        "inputs".into(),
        inputs::section(inputs, &chosen, host, &mut secrets).into(),
    );
    full.insert("secret_references".into(), json!([]));
    full.insert("revision".into(), policy.revision.into());
    full.insert("agent".into(), agent::section(inputs, &chosen, &mut secrets)?.into());
    if inputs.form == Form::Fleet {
        full.insert("signed".into(), Value::Null);
    }
    if let Some(spaces) = policy.space_ids.as_ref().filter(|spaces| !spaces.is_empty()) {
        full.insert("namespaces".into(), json!(spaces));
    }
    full.insert(
        "output_permissions".into(),
        permissions::section(inputs, &chosen, host).into(),
    );
    if inputs.form == Form::Fleet {
        full.insert("fleet".into(), fleet::section(inputs, host, &mut secrets)?.into());
    }
    full.insert("secret_references".into(), secrets.references());
    agent::apply_advanced_settings(&mut full, policy);
    sign(&mut full, inputs);
    if let Some(overrides) = &policy.overrides {
        merge(&mut full, overrides);
    }
    Ok(FullPolicy(full))
}

/// Its key under `outputs` of a policy.
pub fn output_key(output: &Output) -> &str {
    if output.is_default && output.kind == "elasticsearch" {
        "default"
    } else {
        &output.id
    }
}

impl PolicyInputs<'_> {
    pub(crate) fn proxy(&self, id: Option<&String>) -> Result<Option<&Proxy>, CompileError> {
        let Some(id) = id.filter(|id| !id.is_empty()) else {
            return Ok(None);
        };
        let found = self.proxies.iter().find(|proxy| proxy.id == *id);
        found.map(Some).ok_or_else(|| self.dangling("proxy", id))
    }

    pub(crate) fn dangling(&self, kind: &'static str, id: &str) -> CompileError {
        CompileError::Dangling {
            policy: self.policy.id.clone(),
            kind,
            id: id.to_owned(),
        }
    }

    pub(crate) fn package(&self, name: &str) -> Option<&Package> {
        self.packages
            .iter()
            .find(|package| package.name == name)
            .map(Arc::as_ref)
    }
}

/// The secrets that a policy refers to, each once, in the order of their appearance.
#[derive(Debug, Default)]
pub(crate) struct Secrets(Vec<String>);

impl Secrets {
    /// Notes every `{id: ..}` below `secrets`.
    pub(crate) fn note(&mut self, secrets: &Value) {
        match secrets {
            Value::Object(map) => match map.get("id").and_then(Value::as_str) {
                Some(id) => self.add(id),
                None => map.values().for_each(|value| self.note(value)),
            },
            Value::Array(items) => items.iter().for_each(|item| self.note(item)),
            _ => {}
        }
    }

    fn add(&mut self, id: &str) {
        if !self.0.iter().any(|known| known == id) {
            self.0.push(id.to_owned());
        }
    }

    fn references(&self) -> Value {
        self.0.iter().map(|id| json!({"id": id})).collect()
    }
}

fn sign(full: &mut Map<String, Value>, inputs: &PolicyInputs<'_>) {
    if inputs.form == Form::Standalone {
        return;
    }
    let Some(signer) = inputs.signer else {
        full.remove("signed");
        return;
    };
    let covered = |input: &Value| json!({"id": input["id"], "name": input["name"], "revision": input["revision"], "type": input["type"]});
    let list: Vec<Value> = full["inputs"].as_array().into_iter().flatten().map(covered).collect();
    let agent = json!({"features": full["agent"]["features"], "protection": full["agent"]["protection"]});
    let data = json!({"id": full["id"], "agent": agent, "inputs": list}).to_string();
    let signature = BASE64.encode(signer.sign(data.as_bytes()));
    full.insert(
        "signed".into(),
        json!({"data": BASE64.encode(data), "signature": signature}),
    );
}

/// Objects are merged at every depth, everything else is replaced.
pub(crate) fn merge(into: &mut Map<String, Value>, from: &Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            _ => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}

/// Whether a text or list says something: the console's own forms send empty texts and lists for blank fields.
pub(crate) fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => list.iter().any(is_set),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    }
}
