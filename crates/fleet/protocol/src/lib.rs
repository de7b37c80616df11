//! Wire types of the agent protocol on 8220 and of the `.fleet-*` documents behind it.
//!
//! Agents, Fleet Server and console share these types and nothing else: how a party behaves is its own business. Free
//! JSON (metadata, components, policies, action data) stays text or a value, so that fields that a newer peer sends
//! survive the way through an older one. Source of the shapes: the Fleet Server API and the recorded exchanges.

mod ids;
pub use ids::{AgentId, ApiKeyId, PolicyId};

pub mod indices;

mod enroll;
pub use enroll::{EnrollMetadata, EnrollRequest, EnrollResponse, EnrolledAgent, EnrollmentType, UnknownEnrollmentType};

mod checkin;
pub use checkin::{
    CheckinRequest, CheckinResponse, Component, Unit, UpgradeDetails, UpgradeReport, UpgradeState, unhealthy_reason,
};

mod action;
pub use action::{Action, ActionType, PolicyActionId, SignedData};

mod ack;
pub use ack::{AckEvent, AckItem, AckRequest, AckResponse};

mod upload;
pub use upload::{TransitHash, UploadBeginResponse, UploadCompleteRequest, UploadCompleteResponse, UploadStatus};

mod status;
pub use status::{ServerStatus, StatusResponse, StatusVersion};

mod audit;
pub use audit::{AuditUnenrollReason, AuditUnenrollRequest};

mod error_body;
pub use error_body::ErrorBody;

mod document;
pub use document::{
    ActionDocument, ActionResultDocument, AgentDocument, AgentOutput, AgentReference, ArtifactDocument,
    EnrollmentApiKeyDocument, EnrollmentUseDocument, PolicyData, PolicyDocument, RetiredApiKey, SecretReference,
};

mod secret_reference;
pub use secret_reference::{find_secret_references, secret_reference};

mod join_string;
pub use join_string::{JoinString, JoinStringError};

/// The API version that agents ask for with `elastic-api-version` and that every answer carries.
pub const API_VERSION: &str = "2023-06-01";
/// Name of the request and response header that carries [`API_VERSION`].
pub const API_VERSION_HEADER: &str = "elastic-api-version";
/// Name of the request and response header that ties a request to its log lines.
pub const REQUEST_ID_HEADER: &str = "x-request-id";
/// Path of the status endpoint.
pub const STATUS_PATH: &str = "/api/status";
/// Path of the enrolment endpoint.
pub const ENROLL_PATH: &str = "/api/fleet/agents/enroll";
/// Path of the endpoint that starts an upload.
pub const UPLOADS_PATH: &str = "/api/fleet/uploads";
/// Size of every chunk of an upload but the last, in bytes.
pub const UPLOAD_CHUNK_SIZE: u64 = 4 * 1024 * 1024;

/// Path of an agent's check-in endpoint.
pub fn checkin_path(agent_id: &AgentId) -> String {
    format!("/api/fleet/agents/{agent_id}/checkin")
}

/// Path of an agent's acknowledgement endpoint.
pub fn acks_path(agent_id: &AgentId) -> String {
    format!("/api/fleet/agents/{agent_id}/acks")
}

/// Path on which an agent says that it is being uninstalled.
pub fn audit_unenroll_path(agent_id: &AgentId) -> String {
    format!("/api/fleet/agents/{agent_id}/audit/unenroll")
}

/// The User-Agent that agents must send on enrolment and check-in.
pub fn user_agent(version: &str) -> String {
    format!("Elastic Agent v{version}")
}
