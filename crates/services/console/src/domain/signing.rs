//! The key that signs policies and actions for tamper protection: ECDSA P-256, kept as a secret.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use secret::Secret;
use serde_json::json;
use store::{Operation, Outcome, Refresh, RejectionKind, Source};

use crate::Console;
use crate::domain::documents::{SETTINGS, text};
use crate::domain::error::FleetError;

const DOCUMENT: &str = "message-signing-key";

/// A key pair.
pub(crate) struct SigningKey {
    pair: EcdsaKeyPair,
    public_key: Vec<u8>,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

impl SigningKey {
    fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, FleetError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8)
            .map_err(|error| broken(&error.to_string()))?;
        let public_key: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|_| broken("no public key"))?;
        let public_key = public_key.as_ref().to_vec();
        Ok(Self { pair, public_key })
    }

    /// DER of the SubjectPublicKeyInfo.
    pub(crate) fn public_key(&self) -> &[u8] {
        &self.public_key
    }
}

impl policy::Sign for SigningKey {
    fn sign(&self, data: &[u8]) -> Vec<u8> {
        let signature = self.pair.sign(&SystemRandom::new(), data);
        signature
            .expect("the system's random numbers do not fail once the process runs")
            .as_ref()
            .to_vec()
    }
}

fn broken(reason: &str) -> FleetError {
    FleetError::Unreadable {
        index: SETTINGS.index.to_owned(),
        id: DOCUMENT.to_owned(),
        reason: reason.to_owned(),
    }
}

/// The key; made when there is none.
pub(crate) async fn key(console: &Console) -> Result<Arc<SigningKey>, FleetError> {
    if let Some(key) = console.signing_key.read().await.as_ref() {
        return Ok(Arc::clone(key));
    }
    let mut known = console.signing_key.write().await;
    if let Some(key) = known.as_ref() {
        return Ok(Arc::clone(key));
    }
    let key = match stored(console).await? {
        Some(key) => key,
        None => make(console).await?,
    };
    *known = Some(Arc::clone(&key));
    Ok(key)
}

async fn make(console: &Console) -> Result<Arc<SigningKey>, FleetError> {
    let secret_id = new_secret(console).await?;
    let create = Operation::create(SETTINGS.index, DOCUMENT, Source::of(&json!({"secret_id": secret_id})));
    for outcome in console.store.bulk(vec![create], Refresh::WaitFor).await? {
        match outcome {
            // A conflict: another process was faster, and its key counts.
            Outcome::Rejected(rejection) if rejection.kind != RejectionKind::VersionConflict => {
                return Err(rejection.into());
            }
            _ => {}
        }
    }
    stored(console)
        .await?
        .ok_or_else(|| broken("the key that was just written is not there"))
}

/// Makes a new key in place of the present one.
pub(crate) async fn rotate(console: &Console) -> Result<(), FleetError> {
    let mut known = console.signing_key.write().await;
    let present = console.find(&SETTINGS, DOCUMENT).await?;
    let secret_id = new_secret(console).await?;
    let write = Operation::index(SETTINGS.index, DOCUMENT, Source::of(&json!({"secret_id": secret_id})));
    for outcome in console.store.bulk(vec![write], Refresh::WaitFor).await? {
        outcome.written()?;
    }
    if let Some(old) = present.as_ref().and_then(|present| text(&present.fields, "secret_id")) {
        console.access.delete_secret(old).await?;
    }
    *known = None;
    Ok(())
}

async fn new_secret(console: &Console) -> Result<String, FleetError> {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
        .map_err(|_| broken("the key cannot be generated"))?;
    Ok(console
        .access
        .put_secret(&Secret::from(BASE64.encode(pkcs8.as_ref())))
        .await?)
}

async fn stored(console: &Console) -> Result<Option<Arc<SigningKey>>, FleetError> {
    let Some(document) = console.find(&SETTINGS, DOCUMENT).await? else {
        return Ok(None);
    };
    let id = text(&document.fields, "secret_id").unwrap_or_default();
    let secret = console
        .access
        .secret(id)
        .await?
        .ok_or_else(|| broken("its secret is gone"))?;
    let pkcs8 = BASE64.decode(secret.expose()).map_err(|_| broken("not base64"))?;
    Ok(Some(Arc::new(SigningKey::from_pkcs8(&pkcs8)?)))
}
