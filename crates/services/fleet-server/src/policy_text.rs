//! A policy as agents get it: written out and compressed once, with gaps for what differs from agent to agent.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use access::RoleDescriptors;
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use protocol::{AgentId, PolicyActionId, PolicyDocument, PolicyId};
use secret::Secret;
use serde_json::{Map, Value, json};

use crate::shared_gzip::{GzipPieces, SharedText};
use crate::{policy_secrets, role_changes};

/// One revision of a policy, ready to go out.
#[derive(Debug)]
pub(crate) struct PreparedPolicy {
    pub(crate) policy_id: PolicyId,
    pub(crate) revision: i64,
    /// The outputs that need a key of the agent's own, in order.
    pub(crate) key_outputs: Vec<KeyOutput>,
    /// The names of all outputs.
    pub(crate) outputs: BTreeSet<String>,
    /// `(identifier, decoded SHA-256)` of the artifacts that agents of this policy may fetch.
    pub(crate) artifacts: HashSet<(String, String)>,
    pieces: Vec<Piece>,
}

/// An output for which each agent has an API key.
#[derive(Clone, Debug)]
pub(crate) struct KeyOutput {
    pub(crate) name: String,
    /// `elasticsearch` or `remote_elasticsearch`.
    pub(crate) output_type: String,
    /// The roles of the key.
    pub(crate) roles: RoleDescriptors,
    pub(crate) permissions_hash: String,
    /// The whole output, when its keys live in another Elasticsearch.
    pub(crate) remote: Option<Arc<Map<String, Value>>>,
}

#[derive(Debug)]
enum Piece {
    Shared(SharedText),
    AgentId,
    /// `id:key` of the output at this place in `key_outputs`.
    Key(usize),
    /// The same, base64.
    EncodedKey(usize),
}

/// Why a policy cannot go out.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum PolicyProblem {
    #[error("output `{0}` has no entry in `output_permissions`")]
    NoPermissions(String),
    #[error("output `{output}` is of type `{output_type}`, which is not known")]
    UnknownOutput { output: String, output_type: String },
    #[error("secret `{0}` does not exist")]
    MissingSecret(String),
}

impl PreparedPolicy {
    /// Writes a policy out. `secrets` holds all that [`policy_secrets::secret_ids`] named.
    pub(crate) fn new(
        document: PolicyDocument,
        secrets: &HashMap<String, Secret>,
        compression_level: u32,
    ) -> Result<Self, PolicyProblem> {
        let mut policy = document.data.0;
        policy.shift_remove("secret_references");
        if let Some(missing) = policy_secrets::secret_ids(&policy)
            .into_iter()
            .find(|id| !secrets.contains_key(id))
        {
            return Err(PolicyProblem::MissingSecret(missing));
        }
        let secret_paths = policy_secrets::fill(&mut policy, secrets);
        let gaps = Gaps::new();
        let key_outputs = key_outputs(&mut policy, &gaps)?;
        fill_exporters(&mut policy, &key_outputs, &gaps);
        policy.insert("secret_paths".to_owned(), json!(secret_paths));
        policy.insert("revision".to_owned(), json!(document.revision_idx));
        let outputs = names(policy.get("outputs"));
        let artifacts = artifacts(policy.get("inputs"));
        let id = PolicyActionId {
            policy_id: document.policy_id.clone(),
            revision: document.revision_idx,
        };
        let answer = json!({
            "ack_token": "", "action": "checkin",
            "actions": [{
                "agent_id": gaps.agent_id(), "created_at": document.timestamp, "data": {"policy": policy},
                "id": id.to_string(), "input_type": "", "type": "POLICY_CHANGE"
            }]
        });
        let pieces = gaps.split(&answer.to_string(), compression_level);
        let revision = document.revision_idx;
        Ok(Self {
            policy_id: document.policy_id,
            revision,
            key_outputs,
            outputs,
            artifacts,
            pieces,
        })
    }

    /// The answer to one agent's check-in; `keys` are `id:key` in the order of `key_outputs`.
    pub(crate) fn answer(&self, agent: &AgentId, keys: &[Secret]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.plain_length() + 256);
        for piece in &self.pieces {
            match piece {
                Piece::Shared(text) => out.extend_from_slice(text.plain()),
                own => out.extend_from_slice(&own.own_text(agent, keys)),
            }
        }
        out
    }

    /// The same, compressed.
    pub(crate) fn gzip_answer(&self, agent: &AgentId, keys: &[Secret]) -> Vec<u8> {
        let mut out = GzipPieces::with_capacity(self.plain_length() / 4);
        for piece in &self.pieces {
            match piece {
                Piece::Shared(text) => out.shared(text),
                own => out.stored(&own.own_text(agent, keys)),
            }
        }
        out.finish()
    }

    /// Length without the agents' own parts.
    pub(crate) fn plain_length(&self) -> usize {
        let length = |piece: &Piece| {
            if let Piece::Shared(text) = piece {
                text.plain().len()
            } else {
                0
            }
        };
        self.pieces.iter().map(length).sum()
    }
}

impl Piece {
    /// What goes into a gap: the inside of a JSON text.
    fn own_text(&self, agent: &AgentId, keys: &[Secret]) -> Vec<u8> {
        let key = |index: &usize| keys.get(*index).map(Secret::expose).unwrap_or_default();
        let text = match self {
            Piece::Shared(_) => return Vec::new(),
            Piece::AgentId => agent.to_string(),
            Piece::Key(index) => key(index).to_owned(),
            Piece::EncodedKey(index) => STANDARD.encode(key(index)),
        };
        let mut quoted = Vec::with_capacity(text.len() + 2);
        crate::json_text::write_string(&text, &mut quoted);
        quoted[1..quoted.len() - 1].to_vec()
    }
}

/// Texts that stand in the policy where an agent's own parts belong, and that nothing else contains.
struct Gaps {
    mark: String,
}

impl Gaps {
    fn new() -> Self {
        Self {
            mark: format!("<{}>", uuid::Uuid::new_v4().simple()),
        }
    }

    fn agent_id(&self) -> String {
        format!("{}a{0}", self.mark)
    }

    fn key(&self, index: usize) -> String {
        format!("{}k{index}{0}", self.mark)
    }

    fn encoded_key(&self, index: usize) -> String {
        format!("{}e{index}{0}", self.mark)
    }

    fn split(&self, text: &str, level: u32) -> Vec<Piece> {
        let shared = |text: &str| Piece::Shared(SharedText::new(Bytes::from(text.to_owned()), level));
        let mut pieces = Vec::new();
        for (index, part) in text.split(&self.mark).enumerate() {
            // Every other part is the name of a gap.
            match (index % 2, part.split_at(part.len().min(1))) {
                (1, ("a", _)) => pieces.push(Piece::AgentId),
                (1, ("k", place)) => pieces.extend(place.parse().map(Piece::Key)),
                (1, ("e", place)) => pieces.extend(place.parse().map(Piece::EncodedKey)),
                _ => pieces.push(shared(part)),
            }
        }
        pieces
    }
}

/// Finds the outputs that need keys and puts gaps where the keys go.
fn key_outputs(policy: &mut Map<String, Value>, gaps: &Gaps) -> Result<Vec<KeyOutput>, PolicyProblem> {
    let permissions = policy.get("output_permissions").cloned().unwrap_or_default();
    let Some(Value::Object(outputs)) = policy.get_mut("outputs") else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for (name, output) in outputs.iter_mut() {
        let Some(output) = output.as_object_mut() else { continue };
        let output_type = output
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        match output_type.as_str() {
            "elasticsearch" | "remote_elasticsearch" => {}
            "logstash" | "kafka" => continue,
            _ => {
                return Err(PolicyProblem::UnknownOutput {
                    output: name.clone(),
                    output_type,
                });
            }
        }
        let Some(Value::Object(roles)) = permissions.get(name) else {
            return Err(PolicyProblem::NoPermissions(name.clone()));
        };
        let remote = (output_type == "remote_elasticsearch").then(|| Arc::new(output.clone()));
        if remote.is_some() {
            output.insert("type".to_owned(), json!("elasticsearch"));
            output.shift_remove("service_token");
        }
        output.insert("api_key".to_owned(), json!(gaps.key(found.len())));
        let permissions_hash = permissions_hash(roles);
        let roles = role_changes::granted(roles);
        found.push(KeyOutput {
            name: name.clone(),
            output_type,
            roles,
            permissions_hash,
            remote,
        });
    }
    Ok(found)
}

/// OpenTelemetry exporters `elasticsearch/<output>` use the output's key, base64.
fn fill_exporters(policy: &mut Map<String, Value>, outputs: &[KeyOutput], gaps: &Gaps) {
    let Some(Value::Object(exporters)) = policy.get_mut("exporters") else {
        return;
    };
    for (index, output) in outputs.iter().enumerate() {
        let exporter = exporters.get_mut(&format!("elasticsearch/{}", output.name));
        if let Some(exporter) = exporter.and_then(Value::as_object_mut) {
            exporter.insert("api_key".to_owned(), json!(gaps.encoded_key(index)));
        }
    }
}

/// SHA-256 over the roles: compact JSON with sorted keys and a line end, `<`, `>` and `&` escaped; the same number that a
/// stock Fleet Server writes, so that either can take over from the other. Source: recorded `permissions_hash`.
pub(crate) fn permissions_hash(roles: &Map<String, Value>) -> String {
    let mut sorted = Value::Object(roles.clone());
    sorted.sort_all_objects();
    let mut text = String::new();
    for character in sorted.to_string().chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => text.extend(format!("\\u{:04x}", character as u32).chars()),
            other => text.push(other),
        }
    }
    text.push('\n');
    hex::encode(digest::digest(&digest::SHA256, text.as_bytes()))
}

fn names(outputs: Option<&Value>) -> BTreeSet<String> {
    outputs
        .and_then(Value::as_object)
        .map(|outputs| outputs.keys().cloned().collect())
        .unwrap_or_default()
}

/// `inputs[].artifact_manifest.artifacts.<identifier>.decoded_sha256`.
fn artifacts(inputs: Option<&Value>) -> HashSet<(String, String)> {
    let mut found = HashSet::new();
    for input in inputs.and_then(Value::as_array).into_iter().flatten() {
        let Some(listed) = input.pointer("/artifact_manifest/artifacts").and_then(Value::as_object) else {
            continue;
        };
        for (identifier, artifact) in listed {
            if let Some(sha256) = artifact["decoded_sha256"].as_str() {
                found.insert((identifier.clone(), sha256.to_owned()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn document(data: Value) -> PolicyDocument {
        serde_json::from_value(json!({"@timestamp": "t", "policy_id": "p", "revision_idx": 3, "data": data})).unwrap()
    }

    fn roles() -> Value {
        json!({"_elastic_agent_checks": {"cluster": ["monitor"]}})
    }

    #[test]
    fn each_agent_gets_its_own_key_in_a_shared_text() {
        let data = json!({
            "id": "p", "secret_references": [{"id": "s"}], "inputs": [{"p": "$co.elastic.secret{s}"}],
            "outputs": {"default": {"type": "elasticsearch", "hosts": ["h"]}, "shipper": {"type": "logstash"}},
            "output_permissions": {"default": roles(), "shipper": {}},
            "exporters": {"elasticsearch/default": {"endpoint": "e"}}
        });
        let secrets = HashMap::from([("s".to_owned(), Secret::from("hush"))]);
        let policy = PreparedPolicy::new(document(data), &secrets, 1).unwrap();
        let answer: Value = serde_json::from_slice(&policy.answer(&"agent-1".into(), &["i:k".into()])).unwrap();
        let action = &answer["actions"][0];
        assert_eq!(
            (&action["id"], &action["agent_id"]),
            (&json!("policy:p:3"), &json!("agent-1"))
        );
        let expected = json!({
            "id": "p", "revision": 3, "inputs": [{"p": "hush"}], "secret_paths": ["inputs.0.p"],
            "outputs": {"default": {"type": "elasticsearch", "hosts": ["h"], "api_key": "i:k"}, "shipper": {"type": "logstash"}},
            "output_permissions": {"default": roles(), "shipper": {}},
            "exporters": {"elasticsearch/default": {"endpoint": "e", "api_key": "aTpr"}}
        });
        assert_eq!(action["data"]["policy"], expected);
        let mut unpacked = Vec::new();
        let packed = policy.gzip_answer(&"agent-1".into(), &["i:k".into()]);
        flate2::read::GzDecoder::new(&packed[..])
            .read_to_end(&mut unpacked)
            .unwrap();
        assert_eq!(unpacked, policy.answer(&"agent-1".into(), &["i:k".into()]));
    }

    #[test]
    fn a_remote_output_looks_like_any_other_to_the_agent() {
        let data = json!({
            "outputs": {"far": {"type": "remote_elasticsearch", "hosts": ["h"], "service_token": "t"}},
            "output_permissions": {"far": roles()}
        });
        let policy = PreparedPolicy::new(document(data), &HashMap::new(), 1).unwrap();
        let answer: Value = serde_json::from_slice(&policy.answer(&"a".into(), &["i:k".into()])).unwrap();
        let expected = json!({"type": "elasticsearch", "hosts": ["h"], "api_key": "i:k"});
        assert_eq!(answer["actions"][0]["data"]["policy"]["outputs"]["far"], expected);
        assert_eq!(policy.key_outputs[0].remote.as_ref().unwrap()["service_token"], "t");
    }

    #[test]
    fn a_policy_that_cannot_go_out_says_why() {
        let check = |data: Value, expected: PolicyProblem| {
            assert_eq!(
                PreparedPolicy::new(document(data), &HashMap::new(), 1).unwrap_err(),
                expected
            );
        };
        check(
            json!({"outputs": {"o": {"type": "elasticsearch"}}}),
            PolicyProblem::NoPermissions("o".into()),
        );
        check(
            json!({"outputs": {"o": {"type": "carrier-pigeon"}}}),
            PolicyProblem::UnknownOutput {
                output: "o".into(),
                output_type: "carrier-pigeon".into(),
            },
        );
        check(
            json!({"inputs": ["$co.elastic.secret{s}"]}),
            PolicyProblem::MissingSecret("s".into()),
        );
    }

    #[test]
    fn the_permissions_hash_is_the_stock_server_s() {
        let roles = json!({
            "pkg-system-1": {"indices": [{"privileges": ["auto_configure", "create_doc"], "names": ["logs-system.syslog-default", "metrics-system.cpu-default"]}]},
            "_elastic_agent_checks": {"cluster": ["monitor"]},
            "_elastic_agent_monitoring": {"indices": [{"names": ["logs-elastic_agent-default", "metrics-elastic_agent-default"], "privileges": ["auto_configure", "create_doc"]}]}
        });
        assert_eq!(
            permissions_hash(roles.as_object().unwrap()),
            "a22f73c09ab210c4cb2ebca877487b47d4215a08fe4801df7f038459bd17e89e"
        );
    }

    #[test]
    fn the_artifacts_of_a_policy_are_known() {
        let inputs =
            json!([{"artifact_manifest": {"artifacts": {"list-v1": {"decoded_sha256": "ab"}}}}, {"type": "logfile"}]);
        assert!(artifacts(Some(&inputs)).contains(&("list-v1".to_owned(), "ab".to_owned())));
    }
}
