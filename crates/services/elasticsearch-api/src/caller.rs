//! Who sends the request. A handler that takes [`Caller`] cannot be reached without a credential.

use std::sync::Arc;

use access::{ClusterPrivilege, Credential, CredentialError, IndexPrivilege, Principal, PrincipalKind, Privilege};
use axum::extract::FromRequestParts;
use http::header::AUTHORIZATION;
use http::request::Parts;
use transport::Peer;

use crate::api::ElasticsearchApi;
use crate::error::ApiError;

/// An authenticated caller.
#[derive(Clone, Debug)]
pub(crate) struct Caller(pub(crate) Arc<Principal>);

impl FromRequestParts<Arc<ElasticsearchApi>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<ElasticsearchApi>) -> Result<Self, ApiError> {
        let credential = credential(parts)?;
        Ok(Self(
            api.access
                .authenticate(&credential)
                .await
                .map_err(|error| authentication(&credential, error))?,
        ))
    }
}

/// The header wins over the certificate, as in the original's chain of realms.
fn credential(parts: &Parts) -> Result<Credential, ApiError> {
    if let Some(header) = parts.headers.get(AUTHORIZATION) {
        let text = header
            .to_str()
            .map_err(|_| malformed(parts, CredentialError::NotBase64))?;
        return Credential::from_header(text).map_err(|error| malformed(parts, error));
    }
    if let Some(common_name) = parts.extensions.get::<Arc<Peer>>().and_then(|peer| common_name(peer)) {
        return Ok(Credential::Certificate { common_name });
    }
    Err(ApiError::unauthenticated(format!(
        "missing authentication credentials for REST request [{}]",
        parts.uri
    )))
}

fn common_name(peer: &Peer) -> Option<String> {
    let leaf = peer.certificates.first()?;
    let (_, certificate) = x509_parser::parse_x509_certificate(leaf).ok()?;
    certificate
        .subject()
        .iter_common_name()
        .next()?
        .as_str()
        .ok()
        .map(str::to_owned)
}

fn malformed(parts: &Parts, error: CredentialError) -> ApiError {
    ApiError::unauthenticated(format!(
        "cannot read the credentials of REST request [{}]: {error}",
        parts.uri.path()
    ))
}

/// For API keys the client is told why, as the original does; for people it is not.
fn authentication(credential: &Credential, error: access::AuthenticationError) -> ApiError {
    let mut error = ApiError::from(error);
    if !matches!(credential, Credential::ApiKey(_)) {
        error.details.remove("additional_unsuccessful_credentials");
    }
    error
}

impl Caller {
    /// Refuses unless the caller may do `privilege` to the whole.
    pub(crate) fn needs_cluster(&self, privilege: ClusterPrivilege, action: &str) -> Result<(), ApiError> {
        if self.0.may(Privilege::Cluster(privilege)) {
            return Ok(());
        }
        Err(ApiError::forbidden(format!(
            "action [{action}] is unauthorized for {}, this action is granted by the cluster privileges [{}]",
            self.subject(),
            granted_by_cluster(privilege)
        )))
    }

    /// Refuses unless the caller may do `privilege` to `index`.
    pub(crate) fn needs_index(&self, index: &str, privilege: IndexPrivilege, action: &str) -> Result<(), ApiError> {
        if self.0.may_index(index, privilege) {
            return Ok(());
        }
        Err(self.index_refusal(index, privilege, action))
    }

    /// The refusal of `privilege` on `index`.
    pub(crate) fn index_refusal(&self, index: &str, privilege: IndexPrivilege, action: &str) -> ApiError {
        ApiError::forbidden(format!(
            "action [{action}] is unauthorized for {} on indices [{index}], this action is granted by the index privileges [{}]",
            self.subject(),
            granted_by_index(privilege)
        ))
    }

    /// Who it is, in the words of refusals.
    fn subject(&self) -> String {
        let name = &self.0.username;
        match (&self.0.kind, &self.0.api_key_id) {
            (PrincipalKind::ApiKey { .. }, Some(id)) => format!("API key id [{id}] of user [{name}]"),
            (PrincipalKind::ServiceAccount { .. }, _) => format!("service account [{name}]"),
            _ => format!("user [{name}] with effective roles [{}]", self.0.roles.join(",")),
        }
    }
}

fn granted_by_index(privilege: IndexPrivilege) -> &'static str {
    match privilege {
        IndexPrivilege::Read => "read,all",
        IndexPrivilege::CreateDocument => "create_doc,create,index,write,all",
        IndexPrivilege::IndexDocument => "create,index,write,all",
        IndexPrivilege::Update => "index,write,all",
        IndexPrivilege::Delete => "delete,write,all",
        IndexPrivilege::AutoCreate => "auto_configure,create_index,manage,all",
        IndexPrivilege::Create => "create_index,manage,all",
        IndexPrivilege::DeleteIndex => "delete_index,manage,all",
        IndexPrivilege::ViewMetadata => "view_index_metadata,manage,all",
        IndexPrivilege::Monitor => "monitor,manage,all",
        IndexPrivilege::Maintenance => "maintenance,manage,all",
        IndexPrivilege::Manage => "manage,all",
    }
}

fn granted_by_cluster(privilege: ClusterPrivilege) -> &'static str {
    match privilege {
        ClusterPrivilege::Monitor => "monitor,manage,all",
        ClusterPrivilege::Manage => "manage,all",
        ClusterPrivilege::ManageSecurity => "manage_security,all",
        ClusterPrivilege::ReadSecurity => "read_security,manage_security,all",
        ClusterPrivilege::ManageApiKey => "manage_api_key,manage_security,all",
        ClusterPrivilege::ManageOwnApiKey => "manage_own_api_key,manage_api_key,manage_security,all",
        ClusterPrivilege::ManageIndexTemplates => "manage_index_templates,manage,all",
        ClusterPrivilege::ManagePipeline => "manage_ingest_pipelines,manage_pipeline,manage,all",
        ClusterPrivilege::ReadPipeline => "read_pipeline,manage_pipeline,manage,all",
        ClusterPrivilege::ManageIlm => "manage_ilm,manage,all",
        ClusterPrivilege::ReadIlm => "read_ilm,manage_ilm,manage,all",
        ClusterPrivilege::ReadFleetSecrets => "read_fleet_secrets,all",
        ClusterPrivilege::WriteFleetSecrets => "write_fleet_secrets,all",
    }
}
