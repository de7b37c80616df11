//! What the Fleet Server presents: the user's files, a pair made here, or nothing.

use anyhow::{Context, Result};
use certs::KeyFormat;
use pki::{Authority, AuthorityRequest, KeyType, LeafRequest, Usages};
use secret::Secret;
use serde_json::{Map, Value, json};

use super::exposed;
use crate::elastic_agent::join::Join;
use crate::host_names::own_name;

/// Ten years, as in the original: nobody renews what nobody made by hand.
const DAYS: u32 = 3650;

pub(super) enum Certificates {
    /// `--fleet-server-cert` and its key.
    Given {
        /// The certificate's file.
        certificate: String,
    },
    /// A CA and a certificate for this host's name, kept in the sealed enrolment only.
    Made {
        authority: String,
        certificate: String,
        key: Secret,
    },
    /// `--fleet-server-insecure-http`.
    Plain,
}

impl Certificates {
    pub(super) fn of(join: &Join) -> Result<Self> {
        let flags = &join.flags.fleet_server;
        if flags.fleet_server_insecure_http == Some(true) {
            return Ok(Self::Plain);
        }
        match &flags.fleet_server_cert {
            Some(certificate) => Ok(Self::Given {
                certificate: certificate.clone(),
            }),
            None => make().context("cannot make a certificate for the Fleet Server"),
        }
    }

    pub(super) fn is_plain(&self) -> bool {
        matches!(self, Self::Plain)
    }

    pub(super) fn are_made(&self) -> bool {
        matches!(self, Self::Made { .. })
    }

    /// `server.ssl`. Without `--fleet-server-client-auth` nobody is asked for a certificate.
    pub(super) fn server_ssl(&self, join: &Join) -> Option<Value> {
        let flags = &join.flags.fleet_server;
        let mut ssl = match self {
            Self::Plain => return None,
            Self::Given { certificate } => json!({"certificate": certificate, "key": flags.fleet_server_cert_key}),
            Self::Made { certificate, key, .. } => json!({"certificate": certificate, "key": exposed(key)}),
        };
        if let Some(passphrase) = &flags.fleet_server_cert_key_passphrase {
            ssl["key_passphrase_path"] = json!(passphrase);
        }
        if let Some(authorities) = join.ssl().get("certificate_authorities") {
            ssl["certificate_authorities"] = authorities.clone();
        }
        ssl["client_authentication"] = json!(flags.fleet_server_client_auth.as_deref().unwrap_or("none"));
        Some(ssl)
    }

    /// The agent trusts the CAs of the flags; without them the very certificate that its own server presents.
    pub(super) fn trust(&self, join: &Join, ssl: &mut Map<String, Value>) {
        let own = match self {
            Self::Plain => return,
            Self::Given { .. } if join.flags.certificate_authorities.is_some() => return,
            Self::Given { certificate } => certificate,
            Self::Made { authority, .. } => authority,
        };
        ssl.insert("certificate_authorities".to_owned(), json!([own]));
    }
}

fn make() -> Result<Certificates> {
    let authority = Authority::generate(AuthorityRequest {
        subject_cn: "Fleet Server CA".to_owned(),
        key_type: KeyType::Rsa(2048),
        days: DAYS,
        ..AuthorityRequest::default()
    })?;
    let name = own_name();
    let leaf = authority.issue(LeafRequest {
        common_name: name.clone(),
        dns: vec![name],
        key_type: KeyType::Rsa(2048),
        days: DAYS,
        usages: Usages::Server,
        ..LeafRequest::default()
    })?;
    Ok(Certificates::Made {
        authority: authority.certificate_pem(),
        certificate: certs::write_pem_certificates(&leaf.chain),
        key: certs::write_pem_key(&leaf.key, KeyFormat::Pkcs8)?,
    })
}
