//! Replace tokens: whoever knows one may take over an agent's id. Kept as PBKDF2-HMAC-SHA512.
//!
//! A hash takes tens of milliseconds by design: it runs off the async threads, and only a few at a time.

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA512};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use secret::Secret;
use tokio::sync::Semaphore;

use crate::error::ApiError;
use crate::settings::Pbkdf2Settings;

/// More rounds than this in a stored hash are refused: checking them would be a way to stop the server.
const MOST_ITERATIONS: u32 = 10_000_000;
const LONGEST_PART: usize = 1024;

/// Hashes and checks replace tokens.
#[derive(Debug)]
pub(crate) struct ReplaceTokens {
    settings: Pbkdf2Settings,
    at_once: Semaphore,
}

/// A stored hash: `$pbkdf2-sha512$<iterations>$<salt>$<key>`, raw base64.
#[derive(Debug)]
struct Stored {
    iterations: NonZeroU32,
    salt: Vec<u8>,
    key: Vec<u8>,
}

impl ReplaceTokens {
    pub(crate) fn new(settings: Pbkdf2Settings, at_once: usize) -> Self {
        Self {
            settings,
            at_once: Semaphore::new(at_once.max(1)),
        }
    }

    /// The text to keep.
    pub(crate) async fn hash(&self, token: &Secret) -> Result<String, ApiError> {
        let settings = self.settings;
        let token = token.clone();
        self.off_thread(move || {
            let mut salt = vec![0; settings.salt_length.clamp(8, LONGEST_PART)];
            rand::fill(&mut salt).map_err(|_| ApiError::store(std::io::Error::other("no random bytes")))?;
            let iterations = NonZeroU32::new(settings.iterations).unwrap_or(NonZeroU32::MIN);
            let mut key = vec![0; settings.key_length.clamp(16, LONGEST_PART)];
            pbkdf2::derive(
                PBKDF2_HMAC_SHA512,
                iterations,
                &salt,
                token.expose().as_bytes(),
                &mut key,
            );
            let (salt, key) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(key));
            Ok(format!("$pbkdf2-sha512${iterations}${salt}${key}"))
        })
        .await?
    }

    /// Whether the token is the one that was hashed. An unreadable hash matches nothing.
    pub(crate) async fn matches(&self, token: &Secret, stored: &str) -> Result<bool, ApiError> {
        let Some(stored) = Stored::parse(stored) else {
            return Ok(false);
        };
        let token = token.clone();
        self.off_thread(move || {
            let secret = token.expose().as_bytes();
            pbkdf2::verify(PBKDF2_HMAC_SHA512, stored.iterations, &stored.salt, secret, &stored.key).is_ok()
        })
        .await
    }

    async fn off_thread<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
        let _permit = self.at_once.acquire().await.map_err(ApiError::store)?;
        tokio::task::spawn_blocking(work).await.map_err(ApiError::store)
    }
}

impl Stored {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("$pbkdf2-sha512$")?.split('$');
        let iterations = parts
            .next()?
            .parse::<u32>()
            .ok()
            .filter(|iterations| *iterations <= MOST_ITERATIONS)?;
        let mut bytes = || {
            STANDARD_NO_PAD
                .decode(parts.next()?)
                .ok()
                .filter(|bytes| bytes.len() <= LONGEST_PART)
        };
        let (salt, key) = (bytes()?, bytes()?);
        let is_whole = parts.next().is_none() && key.len() >= 16;
        is_whole.then_some(Self {
            iterations: NonZeroU32::new(iterations)?,
            salt,
            key,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> ReplaceTokens {
        ReplaceTokens::new(
            Pbkdf2Settings {
                iterations: 1000,
                key_length: 32,
                salt_length: 64,
            },
            1,
        )
    }

    #[tokio::test]
    async fn a_token_matches_its_own_hash_only() {
        let tokens = tokens();
        let stored = tokens.hash(&"replace-me".into()).await.unwrap();
        assert!(stored.starts_with("$pbkdf2-sha512$1000$"), "{stored}");
        assert!(tokens.matches(&"replace-me".into(), &stored).await.unwrap());
        assert!(!tokens.matches(&"wrong".into(), &stored).await.unwrap());
        assert_ne!(stored, tokens.hash(&"replace-me".into()).await.unwrap());
    }

    /// Source: the recorded exchange "same id with a replace token".
    #[tokio::test]
    async fn a_stock_server_s_hash_is_understood() {
        let stored = "$pbkdf2-sha512$210000$5omwS7sRkeo45q0LIno3LHuDaWDJ3MfP5ffhuvKyfWyTLuKHxQZyi7EgLcvgNuE6LQOGGc1a4ISbnFCY+Y4weg$7xP3jisY7MPn161JCCC/z8vlgoTrT6BF11OTKaclU4o";
        assert!(tokens().matches(&"replace-me".into(), stored).await.unwrap());
    }

    #[tokio::test]
    async fn what_is_no_hash_matches_nothing() {
        for stored in [
            "",
            "replace-me",
            "$pbkdf2-sha512$0$YQ$YQ",
            "$pbkdf2-sha512$1$YQ$",
            "$pbkdf2-sha512$99999999$YQ$YQ",
            "$pbkdf2-sha512$1$YQ$YWFhYWFhYWFhYWFhYWFhYQ$x",
        ] {
            assert!(
                !tokens().matches(&"replace-me".into(), stored).await.unwrap(),
                "{stored}"
            );
        }
    }
}
