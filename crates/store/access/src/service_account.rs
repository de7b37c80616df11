//! Service accounts and their tokens.
//!
//! A token's value is the base64 of four bytes `00 01 00 01` and `namespace/service/name:secret`.

use std::sync::{Arc, LazyLock};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use secret::Secret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use store::{Operation, Source};

use crate::access::{
    Access, AccessError, AuthenticationError, SECURITY_INDEX, check_name, is_conflict, rejected, secret_matches,
};
use crate::credential::{Credential, decode};
use crate::principal::{OwnDescriptors, Principal, PrincipalKind};
use crate::random;
use crate::role::{Rights, RoleDescriptor, grant, role};

/// The account of Fleet Servers.
pub const FLEET_SERVER_ACCOUNT: &str = "elastic/fleet-server";
/// The account with which another fleet's agents ship here (its `remote_elasticsearch` output).
pub const FLEET_SERVER_REMOTE_ACCOUNT: &str = "elastic/fleet-server-remote";

const PREFIX: [u8; 4] = [0, 1, 0, 1];

/// The document of a token.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct TokenDocument {
    kind: String,
    account: String,
    name: String,
    /// Hex SHA-256 of the secret.
    hash: String,
    /// Milliseconds since 1970.
    created: i64,
}

impl Access {
    /// Makes a token of `account` (`elastic/fleet-server`, `elastic/fleet-server-remote`); the only time it is seen.
    pub async fn create_service_token(&self, account: &str, name: &str) -> Result<Secret, AccessError> {
        known(account)?;
        check_token_name(name)?;
        if let Some(native) = &self.native {
            return native.create_service_token(account, name).await;
        }
        let secret = random::key();
        let document = TokenDocument {
            kind: "service_token".to_owned(),
            account: account.to_owned(),
            name: name.to_owned(),
            hash: hex::encode(random::hash(&secret)),
            created: self.clock.now().as_millisecond(),
        };
        let operation = Operation::create(SECURITY_INDEX, document_id(account, name), Source::of(&document));
        match self.one(operation).await? {
            Ok(_) => Ok(encode(account, name, &secret)),
            Err(rejection) if is_conflict(&rejection) => Err(AccessError::Conflict(format!(
                "service account token [{account}/{name}] already exists; delete it first or take another name"
            ))),
            Err(rejection) => Err(AccessError::Refused(rejection)),
        }
    }

    /// The names of the tokens of `account`.
    pub async fn service_tokens(&self, account: &str) -> Result<Vec<String>, AccessError> {
        let found: Vec<TokenDocument> = self
            .all("service_token", query::Query::term("account", account))
            .await?;
        let mut names: Vec<_> = found.into_iter().map(|token| token.name).collect();
        if let Some(native) = &self.native {
            names.extend(native.service_tokens(account).await?);
        }
        Ok(names)
    }

    /// Revokes a token; `false` when there is none.
    pub async fn delete_service_token(&self, account: &str, name: &str) -> Result<bool, AccessError> {
        let mut deleted = self.remove(SECURITY_INDEX, &document_id(account, name)).await?;
        if let Some(native) = self.native.as_ref().filter(|_| !deleted) {
            deleted = native.delete_service_token(account, name).await?;
        }
        self.keys.invalidate(&document_id(account, name));
        Ok(deleted)
    }

    pub(crate) async fn authenticate_service_token(
        &self,
        token: &Secret,
    ) -> Result<Arc<Principal>, AuthenticationError> {
        let Some((account, name, secret)) = parse(token) else {
            return Err(rejected("the bearer token is not a service token"));
        };
        let id = document_id(&account, &name);
        let now = self.clock.now();
        let wrong = || {
            rejected(format!(
                "failed to authenticate service account [{account}] with token name [{name}]"
            ))
        };
        if let Some((hash, principal)) = self.keys.fresh(&id, now) {
            return if secret_matches(&secret, &hash) {
                Ok(principal)
            } else {
                Err(wrong())
            };
        }
        let epoch = self.keys.epoch();
        let Some(document) = self.read::<TokenDocument>(&id).await? else {
            let Some(native) = self.native.as_deref() else {
                return Err(wrong());
            };
            let principal = self.identify(native, &Credential::Bearer(token.clone())).await?;
            let hash = random::hash(secret.expose());
            self.keys.put(&id, (hash, Arc::clone(&principal)), now, epoch);
            return Ok(principal);
        };
        let mut hash = [0; 32];
        hex::decode_to_slice(&document.hash, &mut hash).map_err(|error| AccessError::Unreadable {
            id: id.clone(),
            reason: error.to_string(),
        })?;
        if !secret_matches(&secret, &hash) || known(&document.account).is_err() {
            return Err(wrong());
        }
        let principal = Arc::new(of_account(&document.account, &name));
        self.keys.put(&id, (hash, Arc::clone(&principal)), now, epoch);
        Ok(principal)
    }
}

/// A Fleet Server that showed the token `name`.
pub(crate) fn fleet_server(token: &str) -> Principal {
    of_account(FLEET_SERVER_ACCOUNT, token)
}

fn of_account(account: &str, token: &str) -> Principal {
    let mut metadata = Map::new();
    metadata.insert("_elastic_service_account".to_owned(), json!(true));
    Principal {
        username: account.to_owned(),
        kind: PrincipalKind::ServiceAccount {
            token: token.to_owned(),
        },
        roles: Vec::new(),
        full_name: Some(format!("Service account - {account}")),
        email: None,
        metadata,
        api_key_id: None,
        assigned: rights(account).unwrap_or_default(),
        limited_by: None,
        own_descriptors: OwnDescriptors::Account(account.to_owned()),
    }
}

/// Who showed the token `token` of `account`; `None` for an account that has no rights here.
pub(crate) fn principal(account: &str, token: &str) -> Option<Principal> {
    rights(account).map(|_| of_account(account, token))
}

/// The rights of `account`.
pub(crate) fn rights(account: &str) -> Option<Arc<Rights>> {
    match account {
        FLEET_SERVER_ACCOUNT => Some(Arc::clone(&FLEET_SERVER_RIGHTS)),
        FLEET_SERVER_REMOTE_ACCOUNT => Some(Arc::clone(&FLEET_SERVER_REMOTE_RIGHTS)),
        _ => None,
    }
}

static FLEET_SERVER_RIGHTS: LazyLock<Arc<Rights>> = LazyLock::new(|| {
    let mut rights = Rights::default();
    rights
        .add(FLEET_SERVER_ACCOUNT, &fleet_server_role())
        .expect("a test compiles this role");
    Arc::new(rights)
});

static FLEET_SERVER_REMOTE_RIGHTS: LazyLock<Arc<Rights>> = LazyLock::new(|| {
    let mut rights = Rights::default();
    rights
        .add(FLEET_SERVER_REMOTE_ACCOUNT, &fleet_server_remote_role())
        .expect("a test compiles this role");
    Arc::new(rights)
});

/// What agents of another fleet need here: to write data, and keys of their own. No part of the fleet's state.
fn fleet_server_remote_role() -> RoleDescriptor {
    let data = ["logs-*", "metrics-*", "traces-*", "synthetics-*", "profiling-*"];
    let mut role = role(
        &["monitor", "manage_own_api_key"],
        &[grant(&data, &["write", "create_index", "auto_configure"])],
        &[],
    );
    role.metadata.insert("_reserved".to_owned(), Value::Bool(true));
    role
}

/// Source: fleet-server-elasticsearch, rights of the service account.
fn fleet_server_role() -> RoleDescriptor {
    let data = [
        "logs-*",
        "metrics-*",
        "traces-*",
        ".logs-endpoint.diagnostic.collection-*",
        ".logs-endpoint.action.responses-*",
    ];
    let writes = ["write", "create_index", "auto_configure"];
    let fleet = [
        "read",
        "write",
        "monitor",
        "create_index",
        "auto_configure",
        "maintenance",
    ];
    let mut role = role(
        &[
            "monitor",
            "manage_own_api_key",
            "read_fleet_secrets",
            "write_fleet_secrets",
        ],
        &[
            grant(&data, &writes),
            grant(&["profiling-*"], &["read", "write", "auto_configure"]),
            grant(&["traces-apm.sampled-*"], &["read", "monitor", "maintenance"]),
            grant(&["synthetics-*"], &["read", "write", "create_index", "auto_configure"]),
            grant(&[".fleet-*"], &fleet),
        ],
        &[],
    );
    role.metadata.insert("_reserved".to_owned(), Value::Bool(true));
    role
}

fn known(account: &str) -> Result<(), AccessError> {
    if rights(account).is_some() {
        return Ok(());
    }
    Err(AccessError::Invalid(format!(
        "service account [{account}] does not exist; there are [{FLEET_SERVER_ACCOUNT}] and [{FLEET_SERVER_REMOTE_ACCOUNT}]"
    )))
}

fn check_token_name(name: &str) -> Result<(), AccessError> {
    check_name("service token", name)?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if name.len() > 256 || name.starts_with('_') || !name.bytes().all(allowed) {
        return Err(AccessError::Invalid(format!(
            "service token name [{name}] must have at most 256 letters, digits, dashes and underscores and not begin with an underscore"
        )));
    }
    Ok(())
}

fn document_id(account: &str, name: &str) -> String {
    format!("service-token-{account}/{name}")
}

fn encode(account: &str, name: &str, secret: &str) -> Secret {
    let mut bytes = PREFIX.to_vec();
    bytes.extend_from_slice(format!("{account}/{name}:{secret}").as_bytes());
    Secret::from(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// Account, token name and secret of a token's value.
fn parse(token: &Secret) -> Option<(String, String, Secret)> {
    let bytes = decode(token.expose())?;
    let text = std::str::from_utf8(bytes.strip_prefix(&PREFIX)?).ok()?;
    let (qualified, secret) = text.split_once(':')?;
    let (account, name) = qualified.rsplit_once('/')?;
    Some((account.to_owned(), name.to_owned(), Secret::from(secret)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_elasticsearchs_format() {
        let (account, name, secret) =
            parse(&Secret::from("AAEAAWVsYXN0aWMvZmxlZXQtc2VydmVyL3Rlc3Q6dGVzdC10b2tlbg")).unwrap();
        assert_eq!(
            (account.as_str(), name.as_str(), secret.expose()),
            ("elastic/fleet-server", "test", "test-token")
        );
        let encoded = encode("elastic/fleet-server", "test", "test-token");
        assert_eq!(
            encoded.expose(),
            "AAEAAWVsYXN0aWMvZmxlZXQtc2VydmVyL3Rlc3Q6dGVzdC10b2tlbg"
        );
        assert!(parse(&Secret::from("bm90IGEgdG9rZW4")).is_none());
    }

    #[test]
    fn the_fleet_server_may_what_it_needs_and_no_more() {
        use crate::privilege::IndexPrivilege as P;
        let principal = fleet_server("t");
        assert!(principal.may_index(".fleet-agents", P::Read) && principal.may_index(".fleet-agents", P::Delete));
        assert!(principal.may_index("logs-x-default", P::CreateDocument));
        assert!(!principal.may_index("logs-x-default", P::Read) && !principal.may_index("mine", P::CreateDocument));
        assert!(!principal.may_index(SECURITY_INDEX, P::Read));
    }

    #[test]
    fn another_fleet_ships_data_and_sees_nothing() {
        use crate::privilege::IndexPrivilege as P;
        let principal = of_account(FLEET_SERVER_REMOTE_ACCOUNT, "t");
        assert!(principal.may_index("logs-x-default", P::CreateDocument));
        assert!(!principal.may_index("logs-x-default", P::Read) && !principal.may_index(".fleet-agents", P::Read));
    }
}
