//! `POST /api/fleet/agents/enroll`.

use std::str::FromStr;

use secret::Secret;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::{AgentId, ApiKeyId, PolicyId};

/// What an agent asks with.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct EnrollRequest {
    /// Agents send `PERMANENT`; see [`EnrollmentType`].
    #[serde(rename = "type", default)]
    pub enrollment_type: String,
    /// The wanted agent id; none or empty: the server chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Makes one enrolment idempotent: asked again before the first check-in, the first agent is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrollment_id: Option<String>,
    /// Whoever knows it may later take over this agent's id; none or empty: nobody may.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "exposed")]
    pub replace_token: Option<Secret>,
    /// About the host.
    #[serde(default)]
    pub metadata: EnrollMetadata,
}

/// `metadata` of an enrolment.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct EnrollMetadata {
    /// Host, operating system, agent version: an object, kept as it is.
    #[serde(default)]
    pub local: Option<Box<RawValue>>,
    /// Accepted for old agents, not kept.
    #[serde(default)]
    pub user_provided: Option<Box<RawValue>>,
    /// Kept sorted, each once.
    #[serde(default)]
    pub tags: Option<Vec<String>>,
}

/// The kinds of enrolment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EnrollmentType {
    /// What agents send.
    Permanent,
    /// Accepted, treated the same.
    Ephemeral,
    /// Accepted, treated the same.
    Temporary,
}

/// Another text than the known enrolment types.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("unknown enroll request type")]
pub struct UnknownEnrollmentType;

impl FromStr for EnrollmentType {
    type Err = UnknownEnrollmentType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "PERMANENT" => Ok(Self::Permanent),
            "EPHEMERAL" => Ok(Self::Ephemeral),
            "TEMPORARY" => Ok(Self::Temporary),
            _ => Err(UnknownEnrollmentType),
        }
    }
}

impl EnrollmentType {
    /// The text on the wire and in the document.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Permanent => "PERMANENT",
            Self::Ephemeral => "EPHEMERAL",
            Self::Temporary => "TEMPORARY",
        }
    }
}

/// What an agent gets.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct EnrollResponse {
    /// `created`.
    pub action: String,
    /// The agent.
    pub item: EnrolledAgent,
}

/// `item` of an enrolment's answer.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct EnrolledAgent {
    /// The agent's id from now on.
    pub id: AgentId,
    /// `true`.
    #[serde(default)]
    pub active: bool,
    /// The policy of the enrollment token.
    pub policy_id: PolicyId,
    /// As asked.
    #[serde(rename = "type", default)]
    pub enrollment_type: String,
    /// RFC 3339.
    #[serde(default)]
    pub enrolled_at: String,
    /// Always null.
    #[serde(default)]
    pub user_provided_metadata: Value,
    /// As asked, with the agent's id put in.
    #[serde(default)]
    pub local_metadata: Option<Box<RawValue>>,
    /// Public half of the access key.
    #[serde(default)]
    pub access_api_key_id: ApiKeyId,
    /// Base64 of `id:key`: what goes behind `Authorization: ApiKey`.
    #[serde(serialize_with = "Secret::serialize_exposed")]
    pub access_api_key: Secret,
    /// `online`.
    #[serde(default)]
    pub status: String,
    /// As kept.
    #[serde(default)]
    pub tags: Vec<String>,
}

#[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
fn exposed<S: Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => secret.serialize_exposed(serializer),
        None => serializer.serialize_none(),
    }
}
