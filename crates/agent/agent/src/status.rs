//! The agent's health, in the shape that `status` prints and check-ins carry.
//!
//! Numbers and field names are those of the original's control protocol, so that scripts that read
//! `status --output json` keep working.

use event::UnitState;
use protocol::{Component, UpgradeDetails};
use serde::{Deserialize, Serialize, Serializer};

/// State of an agent, a component or a unit.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[serde(from = "u8")]
pub enum Health {
    /// Not running yet.
    #[default]
    Starting,
    /// Taking over settings.
    Configuring,
    /// All is well.
    Healthy,
    /// Works, but not as it should.
    Degraded,
    /// Does not work.
    Failed,
    /// On its way down.
    Stopping,
    /// Down.
    Stopped,
    /// Being replaced by another version.
    Upgrading,
    /// Going back to the version before.
    Rollback,
}

const ALL: [Health; 9] = [
    Health::Starting,
    Health::Configuring,
    Health::Healthy,
    Health::Degraded,
    Health::Failed,
    Health::Stopping,
    Health::Stopped,
    Health::Upgrading,
    Health::Rollback,
];

impl Health {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "STARTING",
            Self::Configuring => "CONFIGURING",
            Self::Healthy => "HEALTHY",
            Self::Degraded => "DEGRADED",
            Self::Failed => "FAILED",
            Self::Stopping => "STOPPING",
            Self::Stopped => "STOPPED",
            Self::Upgrading => "UPGRADING",
            Self::Rollback => "ROLLBACK",
        }
    }

    /// `status` of a check-in.
    pub fn checkin_status(self) -> &'static str {
        match self {
            Self::Healthy | Self::Configuring | Self::Upgrading | Self::Stopping | Self::Stopped => "online",
            Self::Starting => "starting",
            Self::Failed => "error",
            Self::Degraded | Self::Rollback => "degraded",
        }
    }

    /// Reads the word; unknown ones count as failed.
    pub fn from_word(word: &str) -> Self {
        ALL.into_iter()
            .find(|health| health.as_str() == word)
            .unwrap_or(Self::Failed)
    }
}

impl From<u8> for Health {
    fn from(number: u8) -> Self {
        ALL.get(usize::from(number)).copied().unwrap_or(Self::Failed)
    }
}

impl From<UnitState> for Health {
    fn from(state: UnitState) -> Self {
        Self::from_word(state.as_str())
    }
}

impl Serialize for Health {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*self as u8)
    }
}

/// What `status --output json` prints.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct StatusReport {
    /// About the running program.
    pub info: AgentInfo,
    /// The agent as a whole.
    pub state: Health,
    /// Why.
    pub message: String,
    /// What it runs.
    pub components: Vec<ComponentStatus>,
    /// The connection to Fleet.
    #[serde(rename = "FleetState")]
    pub fleet_state: Health,
    /// Why.
    #[serde(rename = "FleetMessage")]
    pub fleet_message: String,
    /// An upgrade that goes on or went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade_details: Option<UpgradeDetails>,
}

/// About the running program.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct AgentInfo {
    /// The agent's id; empty when it is not enrolled.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Commit of the source.
    pub commit: String,
    /// RFC 3339, or empty.
    pub build_time: String,
    /// A build between releases.
    pub snapshot: bool,
    /// The process.
    pub pid: u32,
    /// Whether it does not run as root.
    pub unprivileged: bool,
    /// Whether Fleet manages it.
    pub is_managed: bool,
}

/// One component.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ComponentStatus {
    /// `<input type>-<output>`.
    pub id: String,
    /// The input's type.
    pub name: String,
    /// Its state.
    pub state: Health,
    /// Why.
    pub message: String,
    /// Its inputs and its output.
    pub units: Vec<UnitStatus>,
}

/// One input or output.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct UnitStatus {
    /// Its id.
    pub unit_id: String,
    /// 0 input, 1 output.
    pub unit_type: u8,
    /// Its state.
    pub state: Health,
    /// Why.
    pub message: String,
    /// Streams and other details.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<serde_json::Value>,
}

/// Components of a check-in as `status` shows them.
pub(crate) fn component_statuses(components: &[Component]) -> Vec<ComponentStatus> {
    let unit = |unit: &protocol::Unit| UnitStatus {
        unit_id: unit.id.clone(),
        unit_type: u8::from(unit.unit_type == "output"),
        state: Health::from_word(&unit.status),
        message: unit.message.clone(),
        payload: unit.payload.clone(),
    };
    let component = |component: &Component| ComponentStatus {
        id: component.id.clone(),
        name: component.component_type.clone(),
        state: Health::from_word(&component.status),
        message: component.message.clone(),
        units: component.units.iter().flatten().map(unit).collect(),
    };
    components.iter().map(component).collect()
}

/// The agent as a whole: the first thing that is wrong, all others counted, so that none is hidden.
pub(crate) fn overall(components: &[Component], trouble: &[String]) -> (Health, String) {
    if let Some(first) = trouble.first() {
        return (Health::Failed, with_count(first.clone(), trouble.len() - 1));
    }
    let ill: Vec<_> = components
        .iter()
        .filter(|component| matches!(component.status.as_str(), "FAILED" | "DEGRADED"))
        .collect();
    match ill.first() {
        Some(first) => {
            let message = format!("{} is {}: {}", first.id, first.status, first.message);
            (Health::Degraded, with_count(message, ill.len() - 1))
        }
        None => (Health::Healthy, "Running".to_owned()),
    }
}

fn with_count(message: String, others: usize) -> String {
    if others == 0 {
        message
    } else {
        format!("{message} (and {others} more)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_the_original_s_numbers() {
        for (number, health) in ALL.into_iter().enumerate() {
            assert_eq!(serde_json::to_value(health).unwrap(), serde_json::json!(number));
            assert_eq!(Health::from(number as u8), health);
            assert_eq!(Health::from_word(health.as_str()), health);
        }
    }

    #[test]
    fn the_first_trouble_is_named_and_the_others_counted() {
        let component = |id: &str, status: &str| Component {
            id: id.to_owned(),
            status: status.to_owned(),
            message: "why".to_owned(),
            ..Component::default()
        };
        let components = [
            component("a-default", "HEALTHY"),
            component("b-default", "FAILED"),
            component("c-default", "DEGRADED"),
        ];
        assert_eq!(overall(&components[..1], &[]), (Health::Healthy, "Running".to_owned()));
        let (health, message) = overall(&components, &[]);
        assert_eq!(
            (health, message.as_str()),
            (Health::Degraded, "b-default is FAILED: why (and 1 more)")
        );
        assert_eq!(overall(&components, &["policy refused".to_owned()]).0, Health::Failed);
    }
}
