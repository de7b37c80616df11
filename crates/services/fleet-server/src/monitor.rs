//! Follows the store: new policies and new actions, as they are written, by whichever server or console.
//!
//! The store gives every write a rising number and says when it has advanced; what lies between the last number and the
//! present is read and put up. When the store is away, following goes on where it stopped.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use protocol::{ActionDocument, AgentId, PolicyDocument, PolicyId, indices};
use query::{Query, SearchRequest, SortOrder, SourceFilter};
use secret::Secret;
use store::{Document, SeqNo, StoreError};
use tokio_util::sync::CancellationToken;

use crate::action_board::{DeliverableAction, action_secrets};
use crate::error::ApiError;
use crate::policy_secrets;
use crate::policy_text::PreparedPolicy;
use crate::server::FleetServer;

/// One wait for the store to advance.
const WAIT: Duration = Duration::from_mins(4);
/// While a policy cannot go out, it is tried again after this long.
const RETRY: Duration = Duration::from_secs(30);
/// After a failure of the store.
const PAUSE: Duration = Duration::from_secs(1);
/// Documents read at once.
const PAGE: usize = 200;

/// Keeps the policy board up to date until `stop`.
pub(crate) async fn follow_policies(server: Arc<FleetServer>, stop: CancellationToken) {
    let mut follower = Follower::new(indices::POLICIES);
    // Policies that could not go out, such as for want of a secret: each by its newest revision.
    let mut unprepared: HashMap<PolicyId, PolicyDocument> = HashMap::new();
    let mut is_first = true;
    loop {
        let wait = if unprepared.is_empty() { WAIT } else { RETRY };
        let step = async {
            if !is_first {
                follower.wait(&server, wait).await?;
            }
            read_policies(&server, &mut follower, &mut unprepared).await
        };
        match stop.run_until_cancelled(step).await {
            None => return,
            Some(Ok(())) => {
                is_first = false;
                server.note_store(true);
                server.policies_are_read();
                server.policies.prune();
            }
            Some(Err(error)) => {
                follower.seen = None;
                pause(&server, "follow_policies", &error, &stop).await;
            }
        }
    }
}

async fn read_policies(
    server: &FleetServer,
    follower: &mut Follower,
    unprepared: &mut HashMap<PolicyId, PolicyDocument>,
) -> Result<(), StoreError> {
    let mut ahead = follower.clone();
    for (id, revision) in ahead.newest_revisions(server).await? {
        let Some(document) = server.store.get(indices::POLICIES, &revision.document_id).await? else {
            continue;
        };
        match document.source.parse::<PolicyDocument>() {
            Ok(document) => drop(unprepared.insert(id, document)),
            Err(error) => tracing::error!(policy.id = %id, error = %error, "a policy document cannot be read"),
        }
    }
    // The store may fail in between: read is what is kept.
    *follower = ahead;
    for (id, document) in std::mem::take(unprepared) {
        if let Err(error) = put_up(server, document.clone()).await {
            tracing::error!(policy.id = %id, policy.revision = document.revision_idx, error = %error, "a policy cannot go out");
            unprepared.insert(id, document);
        }
    }
    Ok(())
}

/// Fills the secrets in and puts the policy up.
async fn put_up(server: &FleetServer, document: PolicyDocument) -> Result<(), PolicyFailure> {
    let secrets = secrets(server, policy_secrets::secret_ids(&document.data.0)).await?;
    let policy = PreparedPolicy::new(document, &secrets, server.settings.compression.level)?;
    if let Some(remote) = policy.key_outputs.iter().find(|output| output.remote.is_some())
        && server.remote_keys.is_none()
    {
        return Err(PolicyFailure::Remote(remote.name.clone()));
    }
    tracing::info!(policy.id = %policy.policy_id, policy.revision = policy.revision, "policy is up");
    server.policies.publish(policy);
    Ok(())
}

#[derive(Debug, thiserror::Error)]
enum PolicyFailure {
    #[error(transparent)]
    Policy(#[from] crate::policy_text::PolicyProblem),
    #[error(transparent)]
    Secrets(#[from] access::AccessError),
    #[error("output `{0}` needs API keys of another Elasticsearch, which this server is not set up to make")]
    Remote(String),
}

async fn secrets(server: &FleetServer, ids: Vec<String>) -> Result<HashMap<String, Secret>, access::AccessError> {
    let mut secrets = HashMap::with_capacity(ids.len());
    for id in ids {
        if let Some(secret) = server.keys.secret(&id).await? {
            secrets.insert(id, secret);
        }
    }
    Ok(secrets)
}

/// Hands new actions out until `stop`.
pub(crate) async fn follow_actions(server: Arc<FleetServer>, stop: CancellationToken) {
    let mut follower = Follower::new(indices::ACTIONS);
    let mut is_first = true;
    loop {
        let step = async {
            if !is_first {
                follower.wait(&server, WAIT).await?;
            }
            read_actions(&server, &mut follower).await
        };
        match stop.run_until_cancelled(step).await {
            None => return,
            Some(Ok(())) => {
                is_first = false;
                server.note_store(true);
                server.actions.complete();
            }
            Some(Err(error)) => {
                follower.seen = None;
                pause(&server, "follow_actions", &error, &stop).await;
            }
        }
    }
}

async fn read_actions(server: &FleetServer, follower: &mut Follower) -> Result<(), StoreError> {
    loop {
        let now = clock::rfc3339_seconds(server.clock.now());
        let page = follower
            .page(server, vec![Query::greater_than("expiration", now)], SourceFilter::All)
            .await?;
        let is_last = page.len() < PAGE;
        for document in page {
            let seq_no = document.seq_no;
            hand_out(server, document).await;
            follower.last = Some(seq_no);
        }
        if is_last {
            return Ok(());
        }
    }
}

async fn hand_out(server: &FleetServer, document: Document) {
    let action: ActionDocument = match document.source.parse() {
        Ok(action) => action,
        Err(error) => {
            tracing::error!(document.id = %document.id, error = %error, "an action document cannot be read");
            return;
        }
    };
    let agents = action.agents.clone();
    // Noted first: whoever asks from now on searches, and those that wait are handed it below.
    server.actions.note(&agents, document.seq_no);
    match server.prepare_action(document.id, document.seq_no, action).await {
        Ok(action) if action.action_type.is_delivered() => {
            for entry in agents.iter().filter_map(|agent| server.agents.find(agent.as_str())) {
                entry.deliver(&action);
            }
        }
        Ok(_) => {}
        Err(error) => tracing::error!(error = %error, "the secrets of an action cannot be read"),
    }
}

impl FleetServer {
    /// Actions of an agent above `seq_no` that are not expired, oldest first, at most `most`.
    pub(crate) async fn find_actions(
        &self,
        agent: &AgentId,
        seq_no: i64,
        most: usize,
    ) -> Result<Vec<Arc<DeliverableAction>>, ApiError> {
        let now = self.clock.now();
        let clauses = vec![
            Query::greater_than("_seq_no", seq_no),
            Query::greater_than("expiration", clock::rfc3339_seconds(now)),
            Query::term("agents", agent.as_str()),
        ];
        let mut request = SearchRequest::new(indices::ACTIONS)
            .query(Query::all_of(clauses))
            .sort_by("_seq_no", SortOrder::Ascending)
            .size(most);
        request.source = SourceFilter::None;
        request.seq_no_primary_term = true;
        let mut actions = Vec::new();
        for hit in self.store.search(request).await?.hits {
            let action = self.prepared_action(&hit.document.id).await?;
            if let Some(action) = action.filter(|action| action.is_deliverable(now)) {
                actions.push(action);
            }
        }
        Ok(actions)
    }

    async fn prepared_action(&self, document_id: &str) -> Result<Option<Arc<DeliverableAction>>, ApiError> {
        if let Some(action) = self.actions.prepared(document_id) {
            return Ok(Some(action));
        }
        let Some(document) = self.store.get(indices::ACTIONS, document_id).await? else {
            return Ok(None);
        };
        let action = document.source.parse().map_err(ApiError::store)?;
        Ok(Some(self.prepare_action(document.id, document.seq_no, action).await?))
    }

    /// Fills the secrets of an action in and keeps it for the next agent.
    async fn prepare_action(
        &self,
        id: String,
        seq_no: SeqNo,
        mut action: ActionDocument,
    ) -> Result<Arc<DeliverableAction>, access::AccessError> {
        let ids = action_secrets(&action);
        if !ids.is_empty()
            && let Some(data) = &mut action.data
        {
            policy_secrets::fill_everywhere(data, &secrets(self, ids).await?);
        }
        let action = Arc::new(DeliverableAction::new(id, seq_no, action));
        self.actions.keep_prepared(&action);
        Ok(action)
    }
}

async fn pause(server: &FleetServer, operation: &'static str, error: &StoreError, stop: &CancellationToken) {
    server.note_store(false);
    server.metrics.store_failed(operation);
    tracing::warn!(error = %error, operation, "the store could not be followed; trying again");
    stop.run_until_cancelled(tokio::time::sleep(PAUSE))
        .await
        .unwrap_or_default();
}

/// How far an index has been read.
#[derive(Clone, Debug)]
struct Follower {
    index: &'static str,
    last: Option<SeqNo>,
    /// The checkpoint up to which everything has been read, matching or not. Forgotten when reading fails: the next wait must not be
    /// for what comes after it.
    seen: Option<SeqNo>,
}

/// The newest revision of a policy among those just read.
#[derive(Debug)]
struct Revision {
    revision: i64,
    document_id: String,
}

impl Follower {
    fn new(index: &'static str) -> Self {
        Self {
            index,
            last: None,
            seen: None,
        }
    }

    /// Waits until there is something unread, or the time is over.
    async fn wait(&mut self, server: &FleetServer, time: Duration) -> Result<(), StoreError> {
        let after = self.seen.max(self.last);
        self.seen = server.store.wait_for_checkpoint(self.index, after, time).await?;
        if self.seen.is_none() {
            // The index is not there yet; a store may answer that at once.
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// The next documents, oldest first. `last` is left to the caller.
    async fn page(
        &self,
        server: &FleetServer,
        mut clauses: Vec<Query>,
        source: SourceFilter,
    ) -> Result<Vec<Document>, StoreError> {
        if let Some(last) = self.last {
            clauses.push(Query::greater_than("_seq_no", last));
        }
        let mut request = SearchRequest::new(self.index)
            .query(Query::all_of(clauses))
            .sort_by("_seq_no", SortOrder::Ascending)
            .size(PAGE);
        request.source = source;
        request.seq_no_primary_term = true;
        let hits = server.store.search(request).await?.hits;
        Ok(hits.into_iter().map(|hit| hit.document).collect())
    }

    /// The newest revision of each policy among the unread documents.
    async fn newest_revisions(&mut self, server: &FleetServer) -> Result<HashMap<PolicyId, Revision>, StoreError> {
        let mut newest: HashMap<PolicyId, Revision> = HashMap::new();
        loop {
            let includes = vec!["policy_id".to_owned(), "revision_idx".to_owned()];
            let source = SourceFilter::Some {
                includes,
                excludes: Vec::new(),
            };
            let page = self.page(server, Vec::new(), source).await?;
            let is_last = page.len() < PAGE;
            for document in page {
                self.last = self.last.max(Some(document.seq_no));
                let Ok(read) = document.source.parse::<PolicyDocument>() else {
                    continue;
                };
                let revision = Revision {
                    revision: read.revision_idx,
                    document_id: document.id,
                };
                let is_newer = newest
                    .get(&read.policy_id)
                    .is_none_or(|known| known.revision <= revision.revision);
                if is_newer {
                    newest.insert(read.policy_id, revision);
                }
            }
            if is_last {
                return Ok(newest);
            }
        }
    }
}
