//! What survives a restart: the enrolment (`fleet.enc`) and what the agent last did (`state.enc`).

use camino::Utf8Path;
use protocol::{AckEvent, Action, AgentId, PolicyId, UpgradeDetails};
use secret::Secret;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::connection::ConnectionSettings;
use crate::paths::Paths;
use crate::sealed::{SealedError, SealedFile, Vault};

/// An agent that is a member of a fleet.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Enrollment {
    /// The agent's id.
    pub agent_id: AgentId,
    /// Base64 of `id:key`, as it goes behind `ApiKey`.
    #[serde(serialize_with = "Secret::serialize_exposed")]
    pub access_api_key: Secret,
    /// The policy of the enrollment token.
    pub policy_id: PolicyId,
    /// With it this host may enroll again and keep its id.
    #[serde(serialize_with = "Secret::serialize_exposed")]
    pub replace_token: Secret,
    /// SHA-256 of the enrollment token, to recognise the same enrolment.
    #[serde(default)]
    pub enrollment_token_sha256: String,
    /// RFC 3339.
    #[serde(default)]
    pub enrolled_at: String,
    /// As given at enrolment.
    #[serde(default)]
    pub tags: Vec<String>,
    /// How Fleet is reached when no policy says otherwise.
    pub connection: ConnectionSettings,
    /// `fleet.server`: the Fleet Server that runs under this agent.
    #[serde(default)]
    pub server: Option<Value>,
}

impl Enrollment {
    /// Tells this enrolment from any other: each has a key of its own.
    pub fn stamp(&self) -> String {
        hex::encode(Sha256::digest(self.access_api_key.expose().as_bytes()))
    }

    /// How Fleet is reached under a policy whose `fleet` block is `fleet`. An agent with a Fleet Server of its own talks
    /// to that one, whatever the policy says: the policy's hosts are for the others.
    pub fn connection_under_policy(&self, fleet: &Value) -> ConnectionSettings {
        match self.server {
            Some(_) => self.connection.clone(),
            None => self.connection.under_policy(fleet),
        }
    }
}

/// A policy that was taken.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct AppliedPolicy {
    /// The action that brought it.
    pub action_id: String,
    /// Its id.
    pub id: PolicyId,
    /// Its revision.
    pub revision: i64,
    /// All of it.
    pub policy: Value,
}

/// What the agent last did.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct AgentState {
    /// [`Enrollment::stamp`] of the enrolment that it belongs to. What an agent did in one fleet means nothing in another.
    #[serde(default)]
    pub enrollment: String,
    /// To be sent with the next check-in.
    #[serde(default)]
    pub ack_token: Option<String>,
    /// The policy in force.
    #[serde(default)]
    pub policy: Option<AppliedPolicy>,
    /// The policy before it, while the one in force is on probation.
    #[serde(default)]
    pub previous: Option<AppliedPolicy>,
    /// Level that a SETTINGS action set; it overrides the policy's.
    #[serde(default)]
    pub log_level: Option<String>,
    /// Acknowledgements that have not arrived.
    #[serde(default)]
    pub unsent_acks: Vec<AckEvent>,
    /// Actions whose time has not come.
    #[serde(default)]
    pub scheduled: Vec<Action>,
    /// The last upgrade, when it is worth reporting.
    #[serde(default)]
    pub upgrade: Option<UpgradeDetails>,
    /// When the fleet let this agent go.
    #[serde(default)]
    pub unenrolled_at: Option<String>,
}

/// The two sealed files of an agent.
#[derive(Debug)]
pub struct StateStore {
    vault: Vault,
    fleet: SealedFile,
    state: SealedFile,
}

impl StateStore {
    /// Opens the vault; makes it when there is none.
    pub fn open(paths: &Paths) -> Result<Self, SealedError> {
        crate::sealed::private_directory(paths.config())?;
        crate::sealed::private_directory(&paths.data())?;
        Ok(Self {
            vault: Vault::open_or_create(&paths.vault())?,
            fleet: SealedFile::new(paths.fleet_file()),
            state: SealedFile::new(paths.state_file()),
        })
    }

    /// The enrolment, if this host is enrolled.
    pub fn enrollment(&self) -> Result<Option<Enrollment>, SealedError> {
        self.fleet.load(&self.vault)
    }

    /// Stores a new enrolment; the state of the one before goes.
    pub fn store_enrollment(&self, enrollment: &Enrollment) -> Result<(), SealedError> {
        self.fleet.store(&self.vault, enrollment)?;
        self.state.remove()?;
        Ok(())
    }

    /// What the agent last did under `enrollment`. A state that is lost costs a resend of policy and actions, not the
    /// enrolment.
    pub fn state(&self, enrollment: &Enrollment) -> AgentState {
        let stamp = enrollment.stamp();
        match self.state.load::<AgentState>(&self.vault) {
            // A daemon that had not heard of the new enrolment yet may have written it.
            Ok(Some(state)) if !state.enrollment.is_empty() && state.enrollment != stamp => AgentState::default(),
            Ok(state) => state.unwrap_or_default(),
            Err(error) => {
                tracing::warn!(error = %error, "starting without the saved state; Fleet will send the policy again");
                AgentState::default()
            }
        }
    }

    /// Stores what the agent did.
    pub fn store_state(&self, state: &AgentState) -> Result<(), SealedError> {
        self.state.store(&self.vault, state)
    }

    /// Forgets everything.
    pub fn remove(&self) -> Result<(), SealedError> {
        self.fleet.remove()?;
        self.state.remove()?;
        Ok(())
    }
}

/// Whether an enrolment is stored in `config`, without opening it.
pub fn is_enrolled(paths: &Paths) -> bool {
    let exists = |path: &Utf8Path| path.exists();
    exists(&paths.fleet_file()) || exists(Utf8Path::new(&format!("{}.previous", paths.fleet_file())))
}
