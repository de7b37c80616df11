//! How far upgrades are: what agents say of theirs, and what they were asked for and say nothing of yet.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use protocol::{ActionDocument, UpgradeDetails, UpgradeState, indices};
use query::{Query, SearchRequest, SortOrder};

use crate::Console;
use crate::domain::agents::{self, Agent, AgentFilter};
use crate::domain::error::FleetError;
use crate::domain::page::PageRequest;

/// How many agents say that they are in which state, by its name on the wire.
pub type Progress = BTreeMap<String, u64>;

/// What an agent says of its upgrade.
pub fn details(agent: &Agent) -> Option<UpgradeDetails> {
    let details = agent.document.upgrade_details.clone()?;
    serde_json::from_value(details).ok()
}

/// Whether an upgrade in this state has ended badly, so that another one may begin.
pub fn has_failed(state: UpgradeState) -> bool {
    matches!(state, UpgradeState::Failed | UpgradeState::Rollback)
}

/// The upgrade that an agent was asked for last.
///
/// # Errors
/// The store cannot answer.
pub async fn asked_last(console: &Console, agent: &str) -> Result<Option<ActionDocument>, FleetError> {
    let query = Query::all_of(vec![Query::term("type", "UPGRADE"), Query::term("agents", agent)]);
    let request = SearchRequest::new(indices::ACTIONS)
        .query(query)
        .size(1)
        .sort_by("@timestamp", SortOrder::Descending);
    let found = match console.store.search(request).await {
        Err(store::StoreError::IndexNotFound(_)) => return Ok(None),
        found => found?,
    };
    let newest = found.hits.into_iter().next();
    Ok(newest.and_then(|hit| hit.document.source.parse().ok()))
}

/// How far the upgrades of some actions are.
///
/// # Errors
/// The store cannot answer.
pub async fn progress(console: &Console, actions: BTreeSet<String>) -> Result<HashMap<String, Progress>, FleetError> {
    if actions.is_empty() {
        return Ok(HashMap::new());
    }
    agents::ask(console, move |agents| {
        let fields = ["upgrade_details.action_id", "upgrade_details.state"];
        let [action, state] = fields.map(|name| agents.field(name));
        let mut all: HashMap<String, Progress> = HashMap::new();
        for brief in agents.all() {
            let Some(action) = brief.texts(action).next().filter(|id| actions.contains(*id)) else {
                continue;
            };
            let state = brief.texts(state).next().unwrap_or_default();
            let progress = all.entry(action.to_owned()).or_default();
            *progress.entry(state.to_owned()).or_default() += 1;
        }
        all
    })
    .await
}

/// KQL for the agents of an action whose upgrade failed or was taken back.
pub fn failed_kuery(action: &str) -> String {
    let action = action.replace(['"', '\\'], "");
    format!("upgrade_details.action_id:\"{action}\" and upgrade_details.state:(UPG_FAILED or UPG_ROLLBACK)")
}

/// Some of the agents of an action whose upgrade failed or was taken back.
///
/// # Errors
/// The store cannot answer.
pub async fn failed(console: &Console, action: &str, most: usize) -> Result<Vec<Agent>, FleetError> {
    let filter = AgentFilter {
        kuery: Some(failed_kuery(action)),
        show_inactive: true,
        ..AgentFilter::default()
    };
    let request = PageRequest {
        page: 1,
        per_page: most,
    };
    Ok(agents::list(console, &filter, request).await?.items)
}
