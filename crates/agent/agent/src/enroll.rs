//! Joining a fleet.
//!
//! A wrong CA, a wrong name, a bad token fail at once with the explanation; only what passes by itself (a server that is
//! starting or busy) is tried again, until the timeout. A host that is enrolled already keeps its id: it shows the replace
//! token that it made at its first enrolment, so that no ghost of it stays behind.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clock::SharedClock;
use http::{Method, StatusCode};
use outputs::Backoff;
use protocol::{
    AgentId, AuditUnenrollReason, AuditUnenrollRequest, ENROLL_PATH, EnrollMetadata, EnrollRequest, EnrollResponse,
    PolicyId,
};
use secret::Secret;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::connection::ConnectionSettings;
use crate::first_trust::{self, FirstTrustError};
use crate::fleet_client::{ConnectionError, FleetClient, FleetError, FleetRequest, fleet_url};
use crate::host::{AgentFacts, Host};
use crate::paths::Paths;
use crate::sealed::SealedError;
use crate::state::{Enrollment, StateStore};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(90);
const BACKOFF_INIT: Duration = Duration::from_secs(5);
const BACKOFF_MAX: Duration = Duration::from_mins(10);

/// What an enrolment needs to know.
#[derive(Clone, Debug)]
pub struct EnrollOptions {
    /// The agent's folders.
    pub paths: Paths,
    /// Fleet Servers, TLS, proxy and headers, as the flags say.
    pub connection: ConnectionSettings,
    /// The enrollment token.
    pub enrollment_token: Secret,
    /// SHA-256 of the CA to trust, from a join string. The CA itself is fetched and stored.
    pub ca_fingerprint: Option<String>,
    /// Accept `http://` and unverified servers.
    pub insecure: bool,
    /// The wanted agent id.
    pub id: Option<String>,
    /// A replace token of the user's own; else one is made.
    pub replace_token: Option<Secret>,
    /// Tags, in the order given.
    pub tags: Vec<String>,
    /// How long passing failures are tried again; `None`: for ever.
    pub timeout: Option<Duration>,
    /// `fleet.server`, when a Fleet Server runs under this agent.
    pub server: Option<Value>,
    /// About this program.
    pub build: Build,
    /// Time.
    pub clock: SharedClock,
}

/// What is known about the running program.
#[derive(Clone, Debug)]
pub struct Build {
    /// `9.6.0`.
    pub version: String,
    /// Commit of the source.
    pub commit: String,
    /// RFC 3339, or empty.
    pub time: String,
    /// A build between releases.
    pub snapshot: bool,
}

impl Build {
    /// As `build.original` has it.
    pub fn original(&self) -> String {
        let snapshot = if self.snapshot { "-SNAPSHOT" } else { "" };
        format!("{}{snapshot} (build: {} at {})", self.version, self.commit, self.time)
    }
}

/// A successful enrolment.
#[derive(Clone, Debug)]
pub struct Enrolled {
    /// The agent's id.
    pub agent_id: AgentId,
    /// Its policy.
    pub policy_id: PolicyId,
    /// Whether this host was enrolled before under the same id.
    pub kept_id: bool,
    /// The id that this host had before, when it could not be kept.
    pub replaced_id: Option<AgentId>,
    /// What should be said to the user.
    pub warnings: Vec<String>,
}

/// Why this host did not join.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// `http://` without `--insecure`.
    #[error(
        "`{url}` is not encrypted: the enrollment token would be readable on the way; use https, or pass --insecure to accept that"
    )]
    Plain {
        /// The URL.
        url: String,
    },
    /// Settings that cannot be used.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The CA of a join string.
    #[error(transparent)]
    FirstTrust(#[from] FirstTrustError),
    /// The server was not reached or refused.
    #[error("{error}{}", hint(error))]
    Fleet {
        /// What happened.
        error: FleetError,
    },
    /// Passing failures until the timeout.
    #[error("gave up after {} s; the last attempt: {last}", after.as_secs())]
    TimedOut {
        /// How long was tried.
        after: Duration,
        /// What happened last.
        last: String,
    },
    /// The enrolment could not be stored.
    #[error("cannot keep the enrolment: {0}")]
    State(#[from] SealedError),
}

fn hint(error: &FleetError) -> &'static str {
    let of_tls = match error.class() {
        Some("unknown_authority") => {
            "\nat enrolment: pass --certificate-authorities with the CA's file, or --join with the string that the console shows"
        }
        Some("client_certificate_missing") => {
            "\nat enrolment: pass --elastic-agent-cert and --elastic-agent-cert-key; this Fleet Server asks agents for a certificate"
        }
        Some("client_rejected_unknown_authority") => {
            "\nat enrolment: pass an --elastic-agent-cert of a CA that the Fleet Server trusts"
        }
        Some("hostname_mismatch") => "\nat enrolment: pass a --url with a name that the certificate has",
        Some("pin_mismatch") => "\nat enrolment: check --ca-sha256",
        _ => "",
    };
    if !of_tls.is_empty() {
        return of_tls;
    }
    match (error.status(), error.code()) {
        (Some(StatusCode::UNAUTHORIZED), _) => {
            "\nthe enrollment token is not valid: it was revoked, has expired or was mistyped, or it belongs to another fleet; copy one that is active from Enrollment tokens in the console"
        }
        (Some(StatusCode::FORBIDDEN), "AgentNotReplaceable") => {
            "\nan agent with this id exists and the replace token does not match; leave out --id, or pass the --replace-token it was enrolled with"
        }
        (Some(StatusCode::BAD_REQUEST), "UnsupportedVersion") => {
            "\nFleet Server is older than this agent: upgrade the server first"
        }
        (Some(StatusCode::NOT_FOUND), _) => {
            "\nthere is no Fleet Server at this URL: check host and port (8220 by default)"
        }
        _ => "",
    }
}

/// Enrols this host and stores the result. Progress and warnings go to the log.
///
/// # Errors
/// See [`EnrollError`]; what was stored before stays in force.
pub async fn enroll(options: EnrollOptions) -> Result<Enrolled, EnrollError> {
    enroll_leaving(options, AuditUnenrollReason::Uninstall).await
}

/// [`enroll`], with the reason that the fleet before is told when this host cannot stay the same agent.
pub(crate) async fn enroll_leaving(
    options: EnrollOptions,
    reason: AuditUnenrollReason,
) -> Result<Enrolled, EnrollError> {
    let mut connection = options.connection.clone();
    check_scheme(&connection, options.insecure)?;
    // Files that cannot be loaded are told before anything is written.
    FleetClient::new(&connection, &options.build.version)?;
    let store = StateStore::open(&options.paths)?;
    let before = match store.enrollment() {
        Ok(before) => before,
        Err(SealedError::Damaged { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let patience = Patience::new(options.timeout);
    if let Some(fingerprint) = &options.ca_fingerprint {
        let (key, trust) = if takes_a_proxy(&connection) {
            // Through a proxy the chain cannot be looked at beforehand: the fingerprint itself is the trust.
            ("ca_trusted_fingerprint", json!(fingerprint))
        } else {
            let ca = fetch_ca(&connection, fingerprint, patience.clone()).await?;
            ("certificate_authorities", json!([ca]))
        };
        connection.ssl.insert(key.to_owned(), trust);
    }
    let client = FleetClient::new(&connection, &options.build.version)?;
    let (response, kept_id, replace_token) = request(&options, &client, before.as_ref(), patience).await?;
    let item = response.item;
    let replaced_id = before
        .as_ref()
        .map(|before| before.agent_id.clone())
        .filter(|id| *id != item.id);
    if let (Some(before), true) = (&before, replaced_id.is_some()) {
        say_goodbye(before, &options, reason).await;
    }
    let enrollment = Enrollment {
        agent_id: item.id.clone(),
        access_api_key: item.access_api_key,
        policy_id: item.policy_id.clone(),
        replace_token,
        enrollment_token_sha256: token_hash(&options.enrollment_token),
        enrolled_at: clock::rfc3339_millis(options.clock.now()),
        tags: options.tags.clone(),
        connection,
        server: options.server.clone(),
    };
    store.store_enrollment(&enrollment)?;
    let warnings = warnings(&client, replaced_id.as_ref());
    Ok(Enrolled {
        agent_id: item.id,
        policy_id: item.policy_id,
        kept_id,
        replaced_id,
        warnings,
    })
}

/// SHA-256 of an enrollment token, hex.
pub fn token_hash(token: &Secret) -> String {
    hex::encode(Sha256::digest(token.expose().as_bytes()))
}

fn check_scheme(connection: &ConnectionSettings, insecure: bool) -> Result<(), EnrollError> {
    for host in &connection.hosts {
        if fleet_url(host)?.scheme() == "http" && !insecure {
            return Err(EnrollError::Plain { url: host.clone() });
        }
    }
    Ok(())
}

fn takes_a_proxy(connection: &ConnectionSettings) -> bool {
    let by_environment = |host: &String| fleet_url(host).is_ok_and(|url| transport::environment_has_proxy_for(&url));
    connection.proxy.is_some() || (!connection.proxy_disable && connection.hosts.iter().any(by_environment))
}

fn warnings(client: &FleetClient, replaced: Option<&AgentId>) -> Vec<String> {
    let mut warnings = client.warnings().to_vec();
    if client.settings().is_unverified() {
        warnings.push(
            "the connection to Fleet Server is not verified (--insecure): whoever sits in between can read and change everything"
                .to_owned(),
        );
    }
    if let Some(id) = replaced {
        warnings.push(format!(
            "this host was agent {id} before; that entry could not be taken over and stays in the fleet"
        ));
    }
    warnings
}

/// One enrolment, as the same id where this host had one, and under a new id when the server does not allow that.
async fn request(
    options: &EnrollOptions,
    client: &FleetClient,
    before: Option<&Enrollment>,
    patience: Patience,
) -> Result<(EnrollResponse, bool, Secret), EnrollError> {
    let fresh = options
        .replace_token
        .clone()
        .unwrap_or_else(|| Secret::from(hex::encode(rand::random::<[u8; 32]>())));
    if let Some(id) = &options.id {
        let response = send(options, client, id, &fresh, patience).await?;
        return Ok((response, false, fresh));
    }
    if let Some(before) = before {
        let attempt = send(
            options,
            client,
            before.agent_id.as_str(),
            &before.replace_token,
            patience.clone(),
        )
        .await;
        match attempt {
            Ok(response) => return Ok((response, true, before.replace_token.clone())),
            Err(EnrollError::Fleet { error }) if error.status() == Some(StatusCode::FORBIDDEN) => {
                tracing::info!(agent.id = %before.agent_id, "the id of this host cannot be kept; enrolling as a new agent");
            }
            Err(error) => return Err(error),
        }
    }
    let response = send(options, client, "", &fresh, patience).await?;
    Ok((response, false, fresh))
}

async fn send(
    options: &EnrollOptions,
    client: &FleetClient,
    id: &str,
    replace_token: &Secret,
    mut patience: Patience,
) -> Result<EnrollResponse, EnrollError> {
    let body = enroll_body(options, id, replace_token);
    loop {
        let request = FleetRequest {
            method: Method::POST,
            path: ENROLL_PATH,
            api_key: Some(&options.enrollment_token),
            body: body.clone(),
            gzip: false,
            headers: Vec::new(),
            timeout: REQUEST_TIMEOUT,
        };
        let error = match client.send(request).await {
            Ok(answer) => {
                return serde_json::from_slice(&answer).map_err(|error| EnrollError::Fleet {
                    error: FleetError::Unreadable {
                        host: client.settings().hosts.join(", "),
                        error,
                    },
                });
            }
            Err(error) => error,
        };
        if !error.is_passing() {
            return Err(EnrollError::Fleet { error });
        }
        patience.wait(error.to_string()).await?;
    }
}

async fn fetch_ca(
    connection: &ConnectionSettings,
    fingerprint: &str,
    mut patience: Patience,
) -> Result<String, EnrollError> {
    loop {
        let mut last = None;
        for host in &connection.hosts {
            match first_trust::fetch_ca(&fleet_url(host)?, fingerprint).await {
                Ok(ca) => return Ok(ca),
                // A wrong chain is worse news than a host that is down.
                Err(error) if error.is_passing() && last.is_some() => {}
                Err(error) => last = Some(error),
            }
        }
        match last {
            None => return Err(ConnectionError::NoHosts.into()),
            Some(error) if error.is_passing() => patience.wait(error.to_string()).await?,
            Some(error) => return Err(error.into()),
        }
    }
}

fn enroll_body(options: &EnrollOptions, id: &str, replace_token: &Secret) -> Bytes {
    let new_id = uuid::Uuid::new_v4().to_string();
    let facts = AgentFacts {
        id: if id.is_empty() { &new_id } else { id },
        version: &options.build.version,
        snapshot: options.build.snapshot,
        build: &options.build.original(),
        upgradeable: options.paths.installed_marker().exists(),
        log_level: "info",
        unprivileged: !rustix::process::geteuid().is_root(),
    };
    let request = EnrollRequest {
        enrollment_type: "PERMANENT".to_owned(),
        id: Some(id.to_owned()),
        enrollment_id: None,
        replace_token: Some(replace_token.clone()),
        metadata: EnrollMetadata {
            local: to_raw_value(&Host::read().metadata(&facts)).ok(),
            user_provided: to_raw_value(&json!({})).ok(),
            tags: Some(distinct(&options.tags)),
        },
    };
    serde_json::to_vec(&request)
        .expect("a request of texts can always be written")
        .into()
}

fn distinct(tags: &[String]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    tags.iter()
        .map(|tag| tag.trim().to_owned())
        .filter(|tag| !tag.is_empty() && seen.insert(tag.clone()))
        .collect()
}

/// Tells the fleet that the old entry of this host is no more. Best effort: the new enrolment does not depend on it.
async fn say_goodbye(before: &Enrollment, options: &EnrollOptions, reason: AuditUnenrollReason) {
    let Ok(client) = FleetClient::new(&before.connection, &options.build.version) else {
        return;
    };
    if let Err(error) = audit_unenroll(&client, before, &options.clock, reason).await {
        tracing::debug!(error = %error, "the old entry of this host could not be told");
    }
}

/// Tells Fleet that the agent of `paths` is being uninstalled. An agent that is not enrolled has nobody to tell.
///
/// # Errors
/// Fleet was not reached; removing the agent should go on all the same.
pub async fn tell_uninstalled(paths: &Paths, version: &str, clock: &SharedClock) -> Result<(), EnrollError> {
    let store = StateStore::open(paths)?;
    let Some(enrollment) = store.enrollment()? else {
        return Ok(());
    };
    let block = store
        .state(&enrollment)
        .policy
        .and_then(|policy| policy.policy.get("fleet").cloned())
        .unwrap_or_default();
    let client = FleetClient::new(&enrollment.connection_under_policy(&block), version)?;
    audit_unenroll(&client, &enrollment, clock, AuditUnenrollReason::Uninstall)
        .await
        .map_err(|error| EnrollError::Fleet { error })
}

/// Tells Fleet that this agent is being removed from its host.
async fn audit_unenroll(
    client: &FleetClient,
    enrollment: &Enrollment,
    clock: &SharedClock,
    reason: AuditUnenrollReason,
) -> Result<(), FleetError> {
    let body = AuditUnenrollRequest {
        reason,
        timestamp: clock::rfc3339_millis(clock.now()),
    };
    let request = FleetRequest {
        method: Method::POST,
        path: &protocol::audit_unenroll_path(&enrollment.agent_id),
        api_key: Some(&enrollment.access_api_key),
        body: serde_json::to_vec(&body).unwrap_or_default().into(),
        gzip: false,
        headers: Vec::new(),
        timeout: Duration::from_secs(10),
    };
    client.send(request).await.map(drop)
}

/// How long passing failures are waited for.
#[derive(Clone, Debug)]
struct Patience {
    started: Instant,
    timeout: Option<Duration>,
    backoff: Backoff,
}

impl Patience {
    fn new(timeout: Option<Duration>) -> Self {
        Self {
            started: Instant::now(),
            timeout,
            backoff: Backoff::new(BACKOFF_INIT, BACKOFF_MAX),
        }
    }

    /// Waits before the next attempt, or gives up when that would be after the timeout.
    async fn wait(&mut self, last: String) -> Result<(), EnrollError> {
        let wait = self.backoff.next_wait();
        let elapsed = self.started.elapsed();
        if self.timeout.is_some_and(|timeout| elapsed + wait > timeout) {
            return Err(EnrollError::TimedOut { after: elapsed, last });
        }
        tracing::warn!(error = %last, retry_in_s = wait.as_secs(), "Fleet Server is not ready; trying again");
        tokio::time::sleep(wait).await;
        Ok(())
    }
}
