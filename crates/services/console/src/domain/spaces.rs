//! Spaces: policies belong to one or several, and names are free in each. What is not said to belong elsewhere is in `default`.
//!
//! Hosts, outputs, proxies and download sources belong to all. Pages show every space.

use std::collections::{HashMap, HashSet};

use policy::model::AgentPolicy;

use crate::Console;
use crate::domain::agent_policies;
use crate::domain::agents::{self, Agent, Selection};
use crate::domain::documents::{Fields, text};
use crate::domain::error::FleetError;

/// The space of requests without a prefix.
pub const DEFAULT: &str = "default";
/// In `space_ids`: all of them.
const EVERY: &str = "*";

/// The field of a policy that names its spaces.
pub(crate) const FIELD: &str = "space_ids";

/// The spaces of a policy.
pub(crate) fn of(policy: &AgentPolicy) -> Vec<&str> {
    let named: Vec<&str> = policy.space_ids.iter().flatten().map(String::as_str).collect();
    if named.is_empty() { vec![DEFAULT] } else { named }
}

/// The spaces that the fields of a policy name.
pub(crate) fn of_fields(fields: &Fields) -> Vec<&str> {
    let list = fields.get(FIELD).and_then(serde_json::Value::as_array);
    let named: Vec<&str> = list.into_iter().flatten().filter_map(|space| space.as_str()).collect();
    if named.is_empty() { vec![DEFAULT] } else { named }
}

/// Whether something of these spaces is seen in that one.
pub(crate) fn is_in(spaces: &[&str], space: &str) -> bool {
    spaces.iter().any(|own| *own == space || *own == EVERY)
}

/// Whether there is a space that both are in.
pub(crate) fn meet(one: &[&str], other: &[&str]) -> bool {
    one.contains(&EVERY) || other.contains(&EVERY) || one.iter().any(|space| other.contains(space))
}

/// What is made in a space belongs to it, unless it says itself where it belongs.
pub(crate) fn settle(fields: &mut Fields, space: &str) {
    let says_so = fields.get(FIELD).is_some_and(|list| !list.is_null());
    if !says_so && space != DEFAULT {
        fields.insert(FIELD.to_owned(), serde_json::json!([space]));
    }
}

/// The policies that are not seen in a space.
///
/// # Errors
/// The store cannot answer.
pub(crate) async fn policies_outside(console: &Console, space: &str) -> Result<HashSet<String>, FleetError> {
    let policies = agent_policies::all(console).await?;
    let outside = policies.iter().filter(|policy| !is_in(&of(policy), space));
    Ok(outside.map(|policy| policy.id.clone()).collect())
}

/// One agent, as a space sees it: none when its policy belongs to another one.
///
/// # Errors
/// None of that id in that space.
pub(crate) async fn agent(console: &Console, id: &str, space: &str) -> Result<Agent, FleetError> {
    let agent = agents::read(console, id).await?;
    if policies_outside(console, space)
        .await?
        .contains(agent.document.policy_id.as_str())
    {
        return Err(FleetError::NotFound(format!("Agent {id} not found")));
    }
    Ok(agent)
}

/// The agents of a selection that a space sees.
///
/// # Errors
/// KQL that is none.
pub(crate) async fn selected(console: &Console, selection: &Selection, space: &str) -> Result<Vec<Agent>, FleetError> {
    let elsewhere = policies_outside(console, space).await?;
    let mut agents = agents::select(console, selection).await?;
    agents.retain(|agent| !elsewhere.contains(agent.document.policy_id.as_str()));
    Ok(agents)
}

/// The spaces of all agent policies at one moment.
#[derive(Debug)]
pub(crate) struct Places(HashMap<String, Vec<String>>);

impl Places {
    /// As they are now.
    ///
    /// # Errors
    /// The store cannot answer.
    pub(crate) async fn now(console: &Console) -> Result<Self, FleetError> {
        let policies = agent_policies::all(console).await?;
        let places = policies.iter().map(|policy| {
            let spaces = of(policy).into_iter().map(str::to_owned).collect();
            (policy.id.clone(), spaces)
        });
        Ok(Self(places.collect()))
    }

    /// The spaces of what belongs to these policies, such as an integration: theirs.
    pub(crate) fn of(&self, policies: &[String]) -> Vec<&str> {
        let mut spaces: Vec<&str> = policies
            .iter()
            .filter_map(|id| self.0.get(id))
            .flatten()
            .map(String::as_str)
            .collect();
        spaces.sort_unstable();
        spaces.dedup();
        if spaces.is_empty() { vec![DEFAULT] } else { spaces }
    }
}

/// Whether another object of that name would be in the way of one in these spaces.
pub(crate) fn is_taken(other: &Fields, name: &str, spaces: &[&str]) -> bool {
    text(other, "name") == Some(name) && meet(&of_fields(other), spaces)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: serde_json::Value) -> Fields {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn what_names_no_space_is_in_the_default_one() {
        let mut made = fields(json!({"name": "edge"}));
        assert!(is_in(&of_fields(&made), DEFAULT));
        settle(&mut made, DEFAULT);
        assert_eq!(made.get(FIELD), None);
        settle(&mut made, "team");
        assert_eq!(of_fields(&made), ["team"]);
        assert!(is_taken(&made, "edge", &["team", "other"]) && !is_taken(&made, "edge", &[DEFAULT]));
        assert!(is_in(&["*"], "any") && meet(&["*"], &["team"]));
    }
}
