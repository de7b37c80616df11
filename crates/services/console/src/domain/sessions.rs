//! Log-in of people: sessions behind a cookie, and the token that protects forms.
//!
//! A session's token is random; the store has only its SHA-256. It ends 24 hours after the log-in, or 8 hours after its last use.

use std::net::IpAddr;
use std::sync::Arc;

use access::{AuthenticationError, Credential, Principal};
use jiff::{SignedDuration, Timestamp};
use query::{Query, RangeBound, SearchRequest};
use secret::Secret;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use store::{Operation, Refresh, Source};

use crate::Console;
use crate::domain::documents::{SESSIONS, text};
use crate::domain::error::FleetError;

/// Name of the cookie.
pub const COOKIE: &str = "flotilla_session";
/// Name of the form field that carries [`Session::csrf_token`].
pub const CSRF_FIELD: &str = "csrf_token";

/// Characters of the random beginning of a form's token.
const SALT: usize = 32;
const LIFETIME: SignedDuration = SignedDuration::from_hours(24);
const IDLE: SignedDuration = SignedDuration::from_hours(8);
/// The last use is written down at most this often.
const RENEW_EVERY: SignedDuration = SignedDuration::from_mins(5);

/// Somebody who is logged in.
#[derive(Clone, Debug)]
pub struct Session {
    /// Who.
    pub principal: Arc<Principal>,
    token: Secret,
}

impl Session {
    /// What a form must send back in [`CSRF_FIELD`]: other sites cannot know it. It is another one each time, so that
    /// nothing can be learned about it from the length of compressed pages.
    pub fn csrf_token(&self) -> String {
        let salt = uuid::Uuid::new_v4().simple().to_string();
        format!("{salt}{}", self.csrf_proof(&salt))
    }

    fn csrf_proof(&self, salt: &str) -> String {
        hash(&format!("csrf {salt} {}", self.token.expose()))
    }

    /// Whether a form sent the right token.
    pub fn accepts_csrf(&self, given: &str) -> bool {
        let Some((salt, proof)) = given.split_at_checked(SALT) else {
            return false;
        };
        secret::constant_time_eq(self.csrf_proof(salt).as_bytes(), proof.as_bytes())
    }

    /// The `Set-Cookie` value of a log-in.
    pub fn cookie(&self) -> String {
        format!(
            "{COOKIE}={}; Path=/; HttpOnly; Secure; SameSite=Lax; Max-Age={}",
            self.token.expose(),
            LIFETIME.as_secs()
        )
    }
}

/// The `Set-Cookie` value of a log-out.
pub fn expired_cookie() -> String {
    format!("{COOKIE}=; Path=/; HttpOnly; Secure; SameSite=Lax; Max-Age=0")
}

/// Why a log-in failed.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// Name and password do not belong together.
    #[error("invalid username or password")]
    Rejected,
    /// Too many failures from here.
    #[error("too many failed log-ins; try again in {seconds} seconds")]
    TooMany {
        /// How long to wait.
        seconds: i64,
    },
    /// It could not be checked.
    #[error(transparent)]
    Unchecked(#[from] FleetError),
}

/// Logs a user in.
///
/// # Errors
/// Wrong name or password, or too many failures before.
pub async fn log_in(
    console: &Console,
    username: &str,
    password: Secret,
    address: Option<IpAddr>,
) -> Result<Session, LoginError> {
    let credential = Credential::Basic {
        username: username.to_owned(),
        password,
    };
    let principal = authenticate(console, &credential, address).await?;
    let token = Secret::from(hex::encode(rand::random::<[u8; 32]>()));
    let now = console.clock.now();
    let document = json!({
        "username": principal.username, "created_at": clock::rfc3339_millis(now),
        "last_used": clock::rfc3339_millis(now), "expires": clock::rfc3339_millis(later(now, LIFETIME)),
        "address": address.map(|address| address.to_string()),
    });
    let operation = Operation::create(SESSIONS.index, hash(token.expose()), Source::of(&document));
    for outcome in console
        .store
        .bulk(vec![operation], Refresh::Soon)
        .await
        .map_err(FleetError::from)?
    {
        outcome.written().map_err(FleetError::from)?;
    }
    tracing::info!(user = %principal.username, "logged in");
    Ok(Session { principal, token })
}

/// Checks a credential, with the limit on failures. API keys and service tokens are random, so only names with passwords count.
///
/// # Errors
/// As [`log_in`].
pub async fn authenticate(
    console: &Console,
    credential: &Credential,
    address: Option<IpAddr>,
) -> Result<Arc<Principal>, LoginError> {
    let name = match credential {
        Credential::Basic { username, .. } => Some(username.as_str()),
        _ => None,
    };
    if let Some(wait) = name.and_then(|name| console.login_limit.wait(address, name)) {
        return Err(LoginError::TooMany {
            seconds: wait.as_secs().max(1),
        });
    }
    match console.access.authenticate(credential).await {
        Ok(principal) => {
            if let Some(name) = name {
                console.login_limit.succeeded(address, name);
            }
            Ok(principal)
        }
        Err(AuthenticationError::Rejected(reason)) => {
            if let Some(name) = name {
                tracing::warn!(user = %name, address = ?address, "log-in refused");
                console.login_limit.failed(address, name);
            } else {
                tracing::debug!(reason = %reason, "credential refused");
            }
            Err(LoginError::Rejected)
        }
        Err(AuthenticationError::Unchecked(error)) => Err(LoginError::Unchecked(error.into())),
    }
}

/// The session of a request's `Cookie` header; none when it has no valid one.
///
/// # Errors
/// The store cannot answer.
pub async fn of_cookies(console: &Console, cookies: &str) -> Result<Option<Session>, FleetError> {
    let Some(token) = token_in(cookies) else {
        return Ok(None);
    };
    let id = hash(token.expose());
    let Some(stored) = console.find(&SESSIONS, &id).await? else {
        return Ok(None);
    };
    let now = console.clock.now();
    let time = |key: &str| {
        text(&stored.fields, key)
            .and_then(|text| text.parse::<Timestamp>().ok())
            .unwrap_or(Timestamp::MIN)
    };
    let last_used = renewed(console, &id).unwrap_or(Timestamp::MIN).max(time("last_used"));
    if time("expires") <= now || later(last_used, IDLE) <= now {
        console
            .store
            .bulk(vec![Operation::delete(SESSIONS.index, &id)], Refresh::Soon)
            .await?;
        return Ok(None);
    }
    if now.duration_since(last_used) >= RENEW_EVERY {
        renew(console, &id, now).await?;
    }
    let username = text(&stored.fields, "username").unwrap_or_default().to_owned();
    match console
        .access
        .authenticate(&Credential::Certificate { common_name: username })
        .await
    {
        Ok(principal) => Ok(Some(Session { principal, token })),
        // The user is gone or disabled.
        Err(AuthenticationError::Rejected(_)) => Ok(None),
        Err(AuthenticationError::Unchecked(error)) => Err(error.into()),
    }
}

/// Ends a session.
///
/// # Errors
/// The store cannot answer.
pub async fn log_out(console: &Console, cookies: &str) -> Result<(), FleetError> {
    if let Some(token) = token_in(cookies) {
        let delete = Operation::delete(SESSIONS.index, hash(token.expose()));
        console.store.bulk(vec![delete], Refresh::Soon).await?;
    }
    Ok(())
}

/// Removes sessions that ended.
///
/// # Errors
/// The store cannot answer.
pub async fn clean_up(console: &Console) -> Result<(), FleetError> {
    let now = Value::from(clock::rfc3339_millis(console.clock.now()));
    let ended = Query::Range {
        field: "expires".into(),
        from: None,
        to: Some(RangeBound::inclusive(now)),
    };
    let found = console
        .store
        .search(SearchRequest::new(SESSIONS.index).query(ended).size(1000))
        .await?;
    let deletes: Vec<Operation> = found
        .hits
        .into_iter()
        .map(|hit| Operation::delete(SESSIONS.index, hit.document.id))
        .collect();
    if !deletes.is_empty() {
        console.store.bulk(deletes, Refresh::Soon).await?;
    }
    Ok(())
}

fn token_in(cookies: &str) -> Option<Secret> {
    let value = cookies
        .split(';')
        .find_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='))?;
    (value.len() == 64).then(|| Secret::from(value))
}

fn hash(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

fn renewed(console: &Console, id: &str) -> Option<Timestamp> {
    console
        .session_renewals
        .lock()
        .expect("no holder of this lock can panic")
        .get(id)
        .copied()
}

async fn renew(console: &Console, id: &str, now: Timestamp) -> Result<(), FleetError> {
    {
        let mut renewals = console
            .session_renewals
            .lock()
            .expect("no holder of this lock can panic");
        renewals.retain(|_, time| now.duration_since(*time) < IDLE);
        renewals.insert(id.to_owned(), now);
    }
    let partial = json!({"last_used": clock::rfc3339_millis(now)})
        .as_object()
        .cloned()
        .unwrap_or_default();
    console
        .store
        .bulk(vec![Operation::merge(SESSIONS.index, id, partial)], Refresh::Soon)
        .await?;
    Ok(())
}
