//! The API key that each agent has for each output: made when the first policy goes out, widened when a policy needs
//! more, cleaned up when the agent has acknowledged the policy.

use std::fmt;
use std::sync::Arc;

use access::{ApiKeys, Issued, NewApiKey};
use async_trait::async_trait;
use protocol::{AgentId, AgentOutput, RetiredApiKey, indices, secret_reference};
use secret::Secret;
use serde_json::{Map, Value, json};
use store::{Action, Operation, Outcome, Refresh, Update, Written};
use tokio::time::Instant;

use crate::agent_record::{AgentOutputs, AgentRecord};
use crate::error::ApiError;
use crate::policy_text::{KeyOutput, PreparedPolicy};
use crate::registry::{AgentEntry, OutputKey};
use crate::server::FleetServer;

/// Gives API keys of the Elasticsearch that a `remote_elasticsearch` output names.
#[async_trait]
pub trait RemoteKeys: fmt::Debug + Send + Sync + 'static {
    /// The keys of the cluster of `output`: the output as the policy has it, with hosts, service token and TLS settings.
    ///
    /// # Errors
    /// When the output's settings cannot be used.
    async fn keys(&self, output: &Map<String, Value>) -> Result<Arc<dyn ApiKeys>, RemoteKeysError>;
}

/// Why the keys of a remote output cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RemoteKeysError(pub String);

/// The agent's `id:key` for each output of the policy that needs one, in order; made where there is none.
pub(crate) async fn complete(
    server: &Arc<FleetServer>,
    entry: &AgentEntry,
    policy: &PreparedPolicy,
) -> Result<Vec<Secret>, ApiError> {
    let mut keys = Vec::with_capacity(policy.key_outputs.len());
    for output in &policy.key_outputs {
        let known = entry
            .state()
            .record
            .as_ref()
            .and_then(|record| record.outputs.get(&output.name).cloned());
        let work = Work {
            server,
            agent: entry,
            output,
        };
        keys.push(work.key(known).await?);
    }
    Ok(keys)
}

/// One output of one agent.
struct Work<'a> {
    server: &'a Arc<FleetServer>,
    agent: &'a AgentEntry,
    output: &'a KeyOutput,
}

impl Work<'_> {
    async fn key(&self, known: Option<AgentOutput>) -> Result<Secret, ApiError> {
        let Some(known) = known.filter(|known| !known.api_key.is_empty() && !known.api_key_id.is_empty()) else {
            return self.make(None).await;
        };
        if known.output_type != self.output.output_type && !known.output_type.is_empty() {
            return self.make(Some(&known)).await;
        }
        let Some(pair) = self.pair(&known).await? else {
            return self.make(Some(&known)).await;
        };
        if known.permissions_hash == self.output.permissions_hash || self.widen(&known).await? {
            return Ok(pair);
        }
        self.make(Some(&known)).await
    }

    /// The key itself: from memory, or from the secrets.
    async fn pair(&self, known: &AgentOutput) -> Result<Option<Secret>, ApiError> {
        let remembered = self
            .agent
            .state()
            .output_key(&self.output.name, known.api_key_id.as_str())
            .map(|key| key.pair.clone());
        if remembered.is_some() {
            return Ok(remembered);
        }
        let Some(id) = secret_id(&known.api_key) else {
            // Documents of older servers hold the key itself.
            return Ok(Some(Secret::from(known.api_key.as_str())));
        };
        let pair = self.server.keys.secret(id).await?;
        if let Some(pair) = &pair {
            self.remember(known.api_key_id.as_str(), pair, false);
        }
        Ok(pair)
    }

    /// Makes a key and puts it into the agent's document; the one that it replaces is retired. Key, secret and document are
    /// written at once where one store keeps them.
    async fn make(&self, replaced: Option<&AgentOutput>) -> Result<Secret, ApiError> {
        let keys = self.keys().await?;
        let Issued {
            value: made,
            mut writes,
        } = match self.output.remote {
            // Its writes would be for another store.
            Some(_) => keys.create(self.new_key()).await?.into(),
            None => keys.issue(self.new_key()).await?,
        };
        let pair = made.pair();
        let secret_id = match self.server.keys.issue_secret(&pair).await {
            Ok(secret) => {
                writes.extend(secret.writes);
                secret.value
            }
            Err(error) => {
                self.forget(&*keys, &made.id, None).await;
                return Err(error.into());
            }
        };
        let output = AgentOutput {
            output_type: self.output.output_type.clone(),
            api_key: secret_reference(&secret_id),
            api_key_id: made.id.as_str().into(),
            permissions_hash: self.output.permissions_hash.clone(),
            to_retire_api_key_ids: Vec::new(),
        };
        let retired = replaced.map(|replaced| self.retired(replaced));
        let written = match &retired {
            None => self.write_with_checkin(writes, &output).await,
            Some(retired) => self.write_beside_retired(writes, &output, retired).await,
        };
        if let Err(error) = written {
            self.forget(&*keys, &made.id, Some(&secret_id)).await;
            return Err(error);
        }
        self.server.metrics.output_keys_made.inc();
        self.remember(&made.id, &pair, retired.is_none());
        self.note(|outputs| {
            let slot = outputs.entry(&self.output.name);
            let mut retire = std::mem::take(&mut slot.to_retire_api_key_ids);
            retire.extend(retired);
            *slot = AgentOutput {
                to_retire_api_key_ids: retire,
                ..output
            };
        });
        Ok(pair)
    }

    /// Writes the first key of an output, and what the check-in that waits for it has brought.
    async fn write_with_checkin(&self, mut writes: Vec<Operation>, output: &AgentOutput) -> Result<(), ApiError> {
        let pending = self.agent.take_plain_changes();
        let now = self.server.now_text();
        let mut partial = pending.as_ref().map_or_else(Map::new, |pending| pending.partial(&now));
        partial.insert("outputs".into(), json!({ self.output.name.as_str(): output }));
        writes.push(Operation::merge(indices::AGENTS, self.agent.id.as_str(), partial));
        let written = match write_all(self.server, writes).await {
            Ok(written) => written,
            Err(error) => {
                if let Some(pending) = pending {
                    self.agent.give_back(pending);
                }
                return Err(error);
            }
        };
        let mut state = self.agent.state();
        if pending.is_some() {
            state.last_flush = Some(Instant::now());
        }
        if let Some(document) = written.last() {
            state.wrote(document, |record| {
                if let Some(pending) = &pending {
                    record.apply(pending);
                }
                *record.outputs.entry(&self.output.name) = output.clone();
            });
        }
        Ok(())
    }

    async fn write_beside_retired(
        &self,
        mut writes: Vec<Operation>,
        output: &AgentOutput,
        retired: &RetiredApiKey,
    ) -> Result<(), ApiError> {
        let mut params = Map::new();
        params.insert("api_key".into(), output.api_key.clone().into());
        params.insert("api_key_id".into(), json!(output.api_key_id));
        params.insert("output_name".into(), self.output.name.clone().into());
        params.insert("permissions_hash".into(), output.permissions_hash.clone().into());
        params.insert("type".into(), output.output_type.clone().into());
        params.insert("to_retire_api_key_ids".into(), json!(retired));
        writes.push(script(&self.agent.id, params));
        write_all(self.server, writes).await.map(drop)
    }

    /// Gives the present key the new roles beside the old ones; `false` when there is no such key any more.
    async fn widen(&self, known: &AgentOutput) -> Result<bool, ApiError> {
        let keys = self.keys().await?;
        let id = known.api_key_id.as_str().to_owned();
        let Some(info) = keys.read(&id).await?.filter(|info| !info.invalidated) else {
            return Ok(false);
        };
        let roles = self
            .server
            .role_changes
            .widened(&self.output.roles, &info.role_descriptors);
        keys.update(&[id], &roles).await?;
        let mut params = Map::new();
        params.insert("output_name".into(), self.output.name.clone().into());
        params.insert("permissions_hash".into(), self.output.permissions_hash.clone().into());
        self.write(params).await?;
        let mut state = self.agent.state();
        if let Some(key) = state
            .output_keys
            .iter_mut()
            .find(|key| *key.output == *self.output.name)
        {
            key.is_clean = false;
        }
        drop(state);
        self.note(|outputs| {
            let output = outputs.entry(&self.output.name);
            output.permissions_hash.clone_from(&self.output.permissions_hash);
        });
        Ok(true)
    }

    fn new_key(&self) -> NewApiKey {
        NewApiKey {
            name: format!("{}:{}", self.agent.id, self.output.name),
            role_descriptors: self.output.roles.clone(),
            metadata: json!({
                "agent_id": self.agent.id, "managed": true, "managed_by": "fleet-server",
                "output_name": self.output.name, "type": "output"
            }),
            expires: None,
        }
    }

    /// Where the keys of this output live.
    async fn keys(&self) -> Result<Arc<dyn ApiKeys>, ApiError> {
        let Some(remote) = &self.output.remote else {
            return Ok(Arc::clone(&self.server.keys));
        };
        let remotes = self.server.remote_keys.as_ref().ok_or(ApiError::ServiceUnavailable)?;
        remotes.keys(remote).await.map_err(ApiError::store)
    }

    fn retired(&self, replaced: &AgentOutput) -> RetiredApiKey {
        RetiredApiKey {
            id: replaced.api_key_id.clone(),
            retired_at: self.server.now_text(),
            output: if self.output.remote.is_some() {
                self.output.name.clone()
            } else {
                String::new()
            },
            secret_id: secret_id(&replaced.api_key).unwrap_or_default().to_owned(),
        }
    }

    async fn write(&self, params: Map<String, Value>) -> Result<(), ApiError> {
        run_script(self.server, &self.agent.id, params).await
    }

    fn remember(&self, api_key_id: &str, pair: &Secret, is_clean: bool) {
        self.agent.state().put_output_key(OutputKey {
            output: self.output.name.as_str().into(),
            api_key_id: api_key_id.into(),
            pair: pair.clone(),
            is_clean,
        });
    }

    fn note(&self, change: impl FnOnce(&mut AgentOutputs)) {
        if let Some(record) = &mut self.agent.state().record {
            change(&mut Arc::make_mut(record).outputs);
        }
    }

    /// Takes a key back that did not reach the agent's document.
    async fn forget(&self, keys: &dyn ApiKeys, id: &str, secret_id: Option<&str>) {
        if let Err(error) = keys.invalidate(&[id.to_owned()]).await {
            tracing::warn!(error = %error, api_key.id = %id, "an API key that is not used was not invalidated");
        }
        if let Some(secret_id) = secret_id
            && let Err(error) = self.server.keys.delete_secret(secret_id).await
        {
            tracing::warn!(error = %error, "a secret that is not used was not deleted");
        }
    }
}

fn script(agent: &AgentId, params: Map<String, Value>) -> Operation {
    let action = Action::Update {
        update: Update::Script(params),
        expected: None,
    };
    Operation {
        index: indices::AGENTS.to_owned(),
        id: Some(agent.as_str().to_owned()),
        require_data_stream: false,
        action,
    }
}

async fn run_script(server: &FleetServer, agent: &AgentId, params: Map<String, Value>) -> Result<(), ApiError> {
    write_all(server, vec![script(agent, params)]).await.map(drop)
}

async fn write_all(server: &FleetServer, writes: Vec<Operation>) -> Result<Vec<Written>, ApiError> {
    let outcomes = server.store.bulk(writes, Refresh::Soon).await?;
    let written = outcomes.into_iter().map(Outcome::written);
    written.collect::<Result<_, _>>().map_err(ApiError::store)
}

/// The id in `$co.elastic.secret{<id>}`.
fn secret_id(reference: &str) -> Option<&str> {
    reference.strip_prefix("$co.elastic.secret{")?.strip_suffix('}')
}

/// After an agent acknowledged a policy: stale roles go, retired keys are invalidated, so are those of outputs that the
/// policy does not have any more.
pub(crate) async fn settle(
    server: &Arc<FleetServer>,
    agent: &AgentId,
    record: &AgentRecord,
    policy: &PreparedPolicy,
) -> Result<(), ApiError> {
    for (name, output) in record.outputs.iter() {
        if !policy.outputs.contains(name) {
            remove_output(server, agent, name, output).await?;
            continue;
        }
        if !output.to_retire_api_key_ids.is_empty() {
            retire(server, agent, name, output, policy).await?;
        }
        if let Some(planned) = policy.key_outputs.iter().find(|planned| planned.name == *name) {
            remove_stale_roles(server, agent, planned, output).await?;
        }
    }
    Ok(())
}

async fn remove_output(
    server: &FleetServer,
    agent: &AgentId,
    name: &str,
    output: &AgentOutput,
) -> Result<(), ApiError> {
    let mut ids: Vec<String> = output
        .to_retire_api_key_ids
        .iter()
        .map(|key| key.id.as_str().to_owned())
        .collect();
    ids.extend((!output.api_key_id.is_empty()).then(|| output.api_key_id.as_str().to_owned()));
    if output.output_type != "remote_elasticsearch" && !ids.is_empty() {
        server.keys.invalidate(&ids).await?;
    }
    delete_secrets(server, output).await?;
    run_script(server, agent, Map::from_iter([("output_name".to_owned(), name.into())])).await?;
    let entry = server.agents.entry(agent);
    let mut state = entry.state();
    state.output_keys.retain(|key| *key.output != *name);
    if let Some(record) = &mut state.record {
        Arc::make_mut(record).outputs.remove(name);
    }
    Ok(())
}

async fn retire(
    server: &FleetServer,
    agent: &AgentId,
    name: &str,
    output: &AgentOutput,
    policy: &PreparedPolicy,
) -> Result<(), ApiError> {
    let ids: Vec<String> = output
        .to_retire_api_key_ids
        .iter()
        .map(|key| key.id.as_str().to_owned())
        .collect();
    let planned = policy.key_outputs.iter().find(|planned| planned.name == name);
    match planned
        .and_then(|planned| planned.remote.as_ref())
        .zip(server.remote_keys.as_ref())
    {
        Some((remote, keys)) => drop(
            keys.keys(remote)
                .await
                .map_err(ApiError::store)?
                .invalidate(&ids)
                .await?,
        ),
        None => drop(server.keys.invalidate(&ids).await?),
    }
    for key in output
        .to_retire_api_key_ids
        .iter()
        .filter(|key| !key.secret_id.is_empty())
    {
        server.keys.delete_secret(&key.secret_id).await?;
    }
    let change = json!({"outputs": {name: {"to_retire_api_key_ids": []}}});
    let change = change.as_object().cloned().unwrap_or_default();
    write_all(server, vec![Operation::merge(indices::AGENTS, agent.as_str(), change)]).await?;
    if let Some(record) = &mut server.agents.entry(agent).state().record
        && let Some(output) = Arc::make_mut(record).outputs.get_mut(name)
    {
        output.to_retire_api_key_ids.clear();
    }
    Ok(())
}

async fn remove_stale_roles(
    server: &Arc<FleetServer>,
    agent: &AgentId,
    planned: &KeyOutput,
    output: &AgentOutput,
) -> Result<(), ApiError> {
    let entry = server.agents.entry(agent);
    let id = output.api_key_id.as_str();
    if id.is_empty()
        || entry
            .state()
            .output_key(&planned.name, id)
            .is_some_and(|key| key.is_clean)
    {
        return Ok(());
    }
    let keys = Work {
        server,
        agent: &entry,
        output: planned,
    }
    .keys()
    .await?;
    if let Some(info) = keys.read(id).await?.filter(|info| !info.invalidated) {
        let roles = server.role_changes.cleaned(&info.role_descriptors);
        if roles != info.role_descriptors {
            keys.update(&[id.to_owned()], &roles).await?;
        }
    }
    if let Some(key) = entry.state().output_keys.iter_mut().find(|key| *key.api_key_id == *id) {
        key.is_clean = true;
    }
    Ok(())
}

/// Deletes the secrets that hold an output's keys, present and retired.
pub(crate) async fn delete_secrets(server: &FleetServer, output: &AgentOutput) -> Result<(), ApiError> {
    let retired = output.to_retire_api_key_ids.iter().map(|key| key.secret_id.as_str());
    for id in secret_id(&output.api_key)
        .into_iter()
        .chain(retired)
        .filter(|id| !id.is_empty())
    {
        server.keys.delete_secret(id).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_references_are_read() {
        assert_eq!(secret_id("$co.elastic.secret{abc}"), Some("abc"));
        assert_eq!(secret_id("id:key"), None);
    }
}
