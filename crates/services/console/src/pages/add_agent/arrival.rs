//! Agents that enrolled while a page waited for them.

use crate::Console;
use crate::domain::agents::{self, AgentFilter};
use crate::domain::error::FleetError;
use crate::domain::incoming_data;
use crate::domain::page::PageRequest;
use crate::pages::agents::host_name;
use crate::pages::look::{Look, Moment};

/// More than this at once is looked at in the list of agents.
const SHOWN: PageRequest = PageRequest { page: 1, per_page: 10 };

pub(super) struct Arrived {
    pub(super) id: String,
    pub(super) host: String,
    pub(super) look: Look,
    pub(super) enrolled: Moment,
    pub(super) has_data: bool,
}

/// The newest agents of the policy that enrolled at that time (RFC 3339) or later.
pub(super) async fn since(console: &Console, policy_id: &str, since: &str) -> Result<Vec<Arrived>, FleetError> {
    let quoted = |text: &str| text.replace(['"', '\\'], "");
    let filter = AgentFilter {
        kuery: Some(format!(
            "policy_id : \"{}\" and enrolled_at >= \"{}\"",
            quoted(policy_id),
            quoted(since)
        )),
        ..AgentFilter::default()
    };
    let mut arrived = Vec::new();
    for agent in agents::list(console, &filter, SHOWN).await?.items {
        arrived.push(Arrived {
            host: host_name(&agent),
            look: Look::of_agent(agent.status),
            enrolled: Moment::parse(console.clock.now(), Some(&agent.document.enrolled_at)),
            has_data: incoming_data::has_data(console, &agent.id).await?,
            id: agent.id,
        });
    }
    Ok(arrived)
}
