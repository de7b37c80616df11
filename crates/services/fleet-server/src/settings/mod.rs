//! What a Fleet Server can be told. [`FleetServerSettings::default`] is what `flotilla up` uses;
//! [`FleetServerSettings::from_yaml`] reads the stock `fleet-server.yml`.
//!
//! TLS blocks stay as values: turning them into certificates is the business of `tls` and of the binary.

use std::time::Duration;

use camino::Utf8PathBuf;
use secret::Secret;
use serde_json::Value;

mod limits;
pub use limits::{Limit, Limits};

mod yaml;
mod yaml_text;
pub use yaml::{SettingsProblem, SettingsWarning};

/// Everything that a Fleet Server can be told.
#[derive(Clone, Debug)]
pub struct FleetServerSettings {
    /// What it says it is, and the newest agent that it serves: `9.6.0`.
    pub version: String,
    /// Commit, shown to those with a key.
    pub build_hash: String,
    /// RFC 3339, shown to those with a key.
    pub build_time: String,
    /// Where it listens. The binary binds; the router does not look at it.
    pub listen: ListenSettings,
    /// Where its documents are, when it does not stand on the embedded store.
    pub output: OutputSettings,
    /// The policy of the host that it runs on; empty: the default Fleet Server policy.
    pub policy_id: String,
    /// Times.
    pub timeouts: Timeouts,
    /// How much is admitted.
    pub limits: Limits,
    /// When and how answers to check-ins are compressed.
    pub compression: Compression,
    /// How replace tokens are hashed.
    pub pbkdf2: Pbkdf2Settings,
    /// The key that signs upgrades.
    pub pgp: PgpSettings,
    /// How long things are kept in memory.
    pub cache: CacheSettings,
    /// Removal of old actions.
    pub gc: GcSettings,
    /// Enrollment tokens that need no document.
    pub static_policy_tokens: Vec<StaticPolicyToken>,
    /// Ignore what agents say about the policy that they run, and go by the documents.
    pub ignore_checkin_policy_id: bool,
    /// `logging` of the stock file, for the binary.
    pub logging: Value,
    /// `http` of the stock file (metrics), for the binary.
    pub http: Value,
    /// `fleet` of the stock file: `agent.id`, `host.id`, ..
    pub fleet: Value,
}

/// Where to listen.
#[derive(Clone, Debug)]
pub struct ListenSettings {
    /// Address.
    pub host: String,
    /// Port for agents.
    pub port: u16,
    /// Port on localhost for the agent that supervises this server.
    pub internal_port: u16,
    /// `ssl` block, dotted keys expanded; none: plain HTTP.
    pub ssl: Option<Value>,
}

/// `output.elasticsearch`.
#[derive(Clone, Debug)]
pub struct OutputSettings {
    /// `http` or `https`, for hosts that do not say it.
    pub protocol: String,
    /// Hosts with or without protocol and port.
    pub hosts: Vec<String>,
    /// Put before every path.
    pub path: String,
    /// Bearer token.
    pub service_token: Option<Secret>,
    /// File with the token; used when there is no token.
    pub service_token_path: Option<Utf8PathBuf>,
    /// User, for stores without service tokens (OpenSearch); used when there is no token.
    pub username: Option<String>,
    /// That user's password.
    pub password: Option<Secret>,
    /// For one request.
    pub timeout: Duration,
    /// How often a request is tried again.
    pub max_retries: u32,
    /// Connections for each host.
    pub max_conn_per_host: usize,
    /// Added to every request.
    pub headers: Vec<(String, String)>,
    /// Proxy.
    pub proxy_url: Option<String>,
    /// No proxy, whatever the environment says.
    pub proxy_disable: bool,
    /// For the proxy only.
    pub proxy_headers: Vec<(String, String)>,
    /// `ssl` block, dotted keys expanded.
    pub ssl: Option<Value>,
}

/// Times of the server and of check-ins.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// To read a request's body.
    pub read: Duration,
    /// To read a request's head.
    pub read_header: Duration,
    /// Between requests of one connection.
    pub idle: Duration,
    /// To write an answer.
    pub write: Duration,
    /// For open requests when the server stops.
    pub drain: Duration,
    /// How long a check-in is held when the agent does not say.
    pub checkin_long_poll: Duration,
    /// How often `last_checkin` of a connected agent is renewed; more rarely beyond 3,000 agents, at most every 2 min.
    pub checkin_timestamp: Duration,
    /// Up to this much is randomly taken off each poll.
    pub checkin_jitter: Duration,
    /// The longest poll, whatever the agent says.
    pub checkin_max_poll: Duration,
    /// How often changes from check-ins are written to the store.
    pub checkin_flush: Duration,
}

/// Compression of answers to check-ins.
#[derive(Clone, Copy, Debug)]
pub struct Compression {
    /// 0 (none) to 9.
    pub level: u32,
    /// Bytes; smaller bodies are not compressed.
    pub threshold: usize,
}

/// PBKDF2-HMAC-SHA512 of replace tokens.
#[derive(Clone, Copy, Debug)]
pub struct Pbkdf2Settings {
    /// Rounds.
    pub iterations: u32,
    /// Bytes.
    pub key_length: usize,
    /// Bytes.
    pub salt_length: usize,
}

/// The public key that agents check upgrades with.
#[derive(Clone, Debug)]
pub struct PgpSettings {
    /// Folder with `default.pgp`.
    pub dir: Option<Utf8PathBuf>,
    /// Where the key is fetched from when the folder lacks it; empty: nowhere.
    pub upstream_url: String,
}

/// How long things stay in memory.
#[derive(Clone, Debug)]
pub struct CacheSettings {
    /// An enrollment token's record.
    pub ttl_enroll_key: Duration,
    /// An artifact.
    pub ttl_artifact: Duration,
    /// A checked API key, for when the store cannot be asked.
    pub ttl_api_key: Duration,
    /// Bytes of artifacts.
    pub max_cost: u64,
}

/// Removal of old actions.
#[derive(Clone, Debug)]
pub struct GcSettings {
    /// How often.
    pub schedule_interval: Duration,
    /// How long after their expiration.
    pub cleanup_after_expired: Duration,
}

/// A token that needs no document.
#[derive(Clone, Debug)]
pub struct StaticPolicyToken {
    /// The secret half of what agents enrol with.
    pub token_key: Secret,
    /// The policy that they get.
    pub policy_id: String,
}

impl Default for FleetServerSettings {
    fn default() -> Self {
        Self {
            version: "9.6.0".to_owned(),
            build_hash: String::new(),
            build_time: "0001-01-01T00:00:00Z".to_owned(),
            listen: ListenSettings::default(),
            output: OutputSettings::default(),
            policy_id: String::new(),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            compression: Compression {
                level: 1,
                threshold: 1024,
            },
            pbkdf2: Pbkdf2Settings {
                iterations: 210_000,
                key_length: 32,
                salt_length: 64,
            },
            pgp: PgpSettings {
                dir: None,
                upstream_url: String::new(),
            },
            cache: CacheSettings::default(),
            gc: GcSettings {
                schedule_interval: Duration::from_hours(1),
                cleanup_after_expired: Duration::from_hours(30 * 24),
            },
            static_policy_tokens: Vec::new(),
            ignore_checkin_policy_id: false,
            logging: Value::Null,
            http: Value::Null,
            fleet: Value::Null,
        }
    }
}

impl Default for ListenSettings {
    fn default() -> Self {
        Self {
            host: "0.0.0.0".to_owned(),
            port: 8220,
            internal_port: 8221,
            ssl: None,
        }
    }
}

impl Default for OutputSettings {
    fn default() -> Self {
        Self {
            protocol: "http".to_owned(),
            hosts: vec!["localhost:9200".to_owned()],
            path: String::new(),
            service_token: None,
            service_token_path: None,
            username: None,
            password: None,
            timeout: Duration::from_secs(90),
            max_retries: 3,
            max_conn_per_host: 128,
            headers: Vec::new(),
            proxy_url: None,
            proxy_disable: false,
            proxy_headers: Vec::new(),
            ssl: None,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            read: Duration::from_mins(1),
            read_header: Duration::from_secs(5),
            idle: Duration::from_secs(35),
            write: Duration::from_mins(10),
            drain: Duration::from_secs(10),
            checkin_long_poll: Duration::from_mins(5),
            checkin_timestamp: Duration::from_secs(30),
            checkin_jitter: Duration::from_secs(30),
            checkin_max_poll: Duration::from_hours(1),
            checkin_flush: Duration::from_secs(1),
        }
    }
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            ttl_enroll_key: Duration::from_mins(1),
            ttl_artifact: Duration::from_hours(24),
            ttl_api_key: Duration::from_mins(15),
            max_cost: 50 * 1024 * 1024,
        }
    }
}
