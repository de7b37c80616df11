//! A token of the Fleet Servers' account, for processes that reach an Elasticsearch as an administrator.
//!
//! Keys that are made with it belong to that account and are limited by its rights, whichever process made them; so every
//! Fleet Server may change and revoke them, and the metadata of an agent's key can be trusted.

use access::{AccessError, FLEET_SERVER_ACCOUNT, SECRETS_INDEX};
use http::Method;
use secret::Secret;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{Action, Expected, Operation, Outcome, Refresh, Source, Store, StoreError};

use crate::api_keys::refused;
use crate::bulk::new_id;
use crate::peer::Kind;
use crate::settings::{RemoteCredential, sensitive};
use crate::store::RemoteStore;
use crate::wire::Call;

/// The document with which the processes of a cluster share it.
const DOCUMENT: &str = "fleet-server-account";
/// Each round but the last meets another process that makes one at the same moment.
const ROUNDS: usize = 5;

#[derive(Deserialize, Serialize)]
struct TokenDocument {
    name: String,
    #[serde(serialize_with = "Secret::serialize_exposed")]
    value: Secret,
}

#[derive(Deserialize)]
struct Created {
    token: TokenDocument,
}

/// The shared token, made by whoever comes first. `None` where the credential makes keys that are its own, or may not make
/// tokens.
pub(crate) async fn of(store: &RemoteStore, credential: &RemoteCredential) -> Result<Option<Secret>, AccessError> {
    if store.inner().peer.kind != Kind::Elasticsearch || credential.owns_its_keys() {
        return Ok(None);
    }
    for _ in 0..ROUNDS {
        if let Some(token) = shared(store).await? {
            return Ok(Some(token));
        }
        let made = match make(store).await {
            Ok(made) => made,
            Err(AccessError::Forbidden(reason)) => {
                tracing::warn!(
                    reason,
                    "keys of agents are made by the user of the store, not by the account of Fleet Servers; give it the cluster privilege `manage_service_account`"
                );
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if share(store, &made).await? {
            return Ok(Some(made.value));
        }
        revoke(store, &made.name).await?;
    }
    Err(
        StoreError::Unavailable("other processes keep replacing the token of the Fleet Servers' account".to_owned())
            .into(),
    )
}

/// The token that is there, unless somebody has revoked it.
async fn shared(store: &RemoteStore) -> Result<Option<Secret>, AccessError> {
    let Some(document) = store.get(SECRETS_INDEX, DOCUMENT).await? else {
        return Ok(None);
    };
    if let Ok(token) = document.source.parse::<TokenDocument>() {
        let mut call = Call::get("/_security/_authenticate");
        call.authorization = Some(sensitive(&format!("Bearer {}", token.value.expose())));
        let answer = store.inner().send(call).await?;
        if answer.is_success() {
            return Ok(Some(token.value));
        }
        if answer.status != 401 {
            return Err(refused(answer.status, &answer.body));
        }
    }
    let expected = Some(Expected::SeqNo(document.seq_no));
    let delete = Operation {
        action: Action::Delete { expected },
        ..Operation::delete(SECRETS_INDEX, DOCUMENT)
    };
    store.bulk(vec![delete], Refresh::Soon).await?;
    Ok(None)
}

async fn make(store: &RemoteStore) -> Result<TokenDocument, AccessError> {
    let name = format!("flotilla-{}", new_id());
    let answer = store.inner().send(Call::new(Method::POST, token_path(&name))).await?;
    if !answer.is_success() {
        return Err(refused(answer.status, &answer.body));
    }
    Ok(answer.parse::<Created>().await?.token)
}

/// `false` when another process was first.
async fn share(store: &RemoteStore, token: &TokenDocument) -> Result<bool, AccessError> {
    let mappings = json!({ "mappings": { "dynamic": false, "properties": {} } });
    match store.create_index(SECRETS_INDEX, mappings).await {
        Ok(()) | Err(StoreError::AlreadyExists(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let create = Operation::create(SECRETS_INDEX, DOCUMENT, Source::of(token));
    let outcome = store.bulk(vec![create], Refresh::Soon).await?.pop();
    Ok(!matches!(outcome, Some(Outcome::Rejected(_)) | None))
}

async fn revoke(store: &RemoteStore, name: &str) -> Result<(), AccessError> {
    let answer = store.inner().send(Call::new(Method::DELETE, token_path(name))).await?;
    answer.ok::<Value>("_security/service").await?;
    Ok(())
}

fn token_path(name: &str) -> String {
    format!("/_security/service/{FLEET_SERVER_ACCOUNT}/credential/token/{name}")
}
