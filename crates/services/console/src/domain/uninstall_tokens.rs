//! Uninstall tokens: one for each policy; who has it may uninstall a protected agent.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use secret::Secret;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::Console;
use crate::domain::changes::Changes;
use crate::domain::documents::{AGENT_POLICIES, Fields, Stored, UNINSTALL_TOKENS, text};
use crate::domain::error::FleetError;

/// A token without its value.
#[derive(Clone, Debug)]
pub struct UninstallToken {
    /// Its id.
    pub id: String,
    /// The policy that it is for.
    pub policy_id: String,
    /// That policy's name.
    pub policy_name: Option<String>,
    /// When it was made, RFC 3339.
    pub created_at: String,
}

pub(crate) async fn add(console: &Console, policy_id: &str, changes: &mut Changes) -> Result<(), FleetError> {
    let token = hex::encode(rand::random::<[u8; 16]>());
    let hash = BASE64.encode(Sha256::digest(token.as_bytes()));
    let secret_id = console.access.put_secret(&Secret::from(token)).await?;
    let fields = json!({
        "id": uuid::Uuid::new_v4().to_string(), "policy_id": policy_id, "secret_id": secret_id, "value_hash": hash,
        "created_at": clock::rfc3339_millis(console.clock.now()),
    });
    changes.create(
        &UNINSTALL_TOKENS,
        policy_id,
        fields.as_object().cloned().unwrap_or_default(),
    );
    Ok(())
}

pub(crate) async fn remove(console: &Console, policy_id: &str, changes: &mut Changes) -> Result<(), FleetError> {
    let Some(token) = console.find(&UNINSTALL_TOKENS, policy_id).await? else {
        return Ok(());
    };
    if let Some(secret) = text(&token.fields, "secret_id") {
        console.access.delete_secret(secret).await?;
    }
    changes.delete(&UNINSTALL_TOKENS, &token);
    Ok(())
}

/// All tokens, newest policy last.
///
/// # Errors
/// The store cannot answer.
pub async fn list(console: &Console) -> Result<Vec<UninstallToken>, FleetError> {
    let policies = console.all(&AGENT_POLICIES).await?;
    let named = |id: &str| {
        policies
            .iter()
            .find(|policy| policy.id == id)
            .and_then(|policy| text(&policy.fields, "name"))
    };
    let all = console.all(&UNINSTALL_TOKENS).await?;
    Ok(all.iter().map(|token| described(token, named(&token.id))).collect())
}

fn described(token: &Stored, policy_name: Option<&str>) -> UninstallToken {
    let field = |key: &str| text(&token.fields, key).unwrap_or_default().to_owned();
    UninstallToken {
        id: field("id"),
        policy_id: token.id.clone(),
        policy_name: policy_name.map(str::to_owned),
        created_at: field("created_at"),
    }
}

/// A token with its value.
///
/// # Errors
/// No token of that id.
pub async fn reveal(console: &Console, id: &str) -> Result<(UninstallToken, Secret), FleetError> {
    let missing = || FleetError::NotFound(format!("Uninstall Token not found with id {id}"));
    let all = console.all(&UNINSTALL_TOKENS).await?;
    let fields: &Fields = all
        .iter()
        .map(|token| &token.fields)
        .find(|fields| text(fields, "id") == Some(id))
        .ok_or_else(missing)?;
    let secret = console
        .access
        .secret(text(fields, "secret_id").unwrap_or_default())
        .await?
        .ok_or_else(missing)?;
    let token = list(console)
        .await?
        .into_iter()
        .find(|token| token.id == id)
        .ok_or_else(missing)?;
    Ok((token, secret))
}
