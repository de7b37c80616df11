//! The `elasticsearch` output's block: keys, defaults and presets.
//!
//! Source: the output's reference; presets override the user's values for the keys they hold, and remove `queue.*`.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secret::Secret;
use serde_json::Value;
use transport::ProxySettings;
use url::Url;

use crate::OutputError;
use crate::setting::Block;

/// An Elasticsearch output, every value set and checked; nothing was loaded or connected yet.
#[derive(Clone, Debug)]
pub(crate) struct ElasticsearchSettings {
    pub(crate) hosts: Vec<Url>,
    /// Value of the `Authorization` header.
    pub(crate) authorization: Option<Secret>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) proxy: Option<ProxyBlock>,
    pub(crate) ssl: Value,
    /// Connections for each host.
    pub(crate) workers: usize,
    pub(crate) load_balance: bool,
    /// Events in one request, at most.
    pub(crate) bulk_max_size: usize,
    /// Gzip level, 0 for none.
    pub(crate) compression_level: u32,
    pub(crate) timeout: Duration,
    /// How long an unused connection is kept; `None`: until the other side closes it.
    pub(crate) idle_connection_timeout: Option<Duration>,
    pub(crate) backoff_init: Duration,
    pub(crate) backoff_max: Duration,
    pub(crate) queue_events: usize,
    pub(crate) flush_min_events: usize,
    pub(crate) flush_timeout: Duration,
    pub(crate) warnings: Vec<String>,
}

/// The proxy that the block names; `disable` also hides the one of the environment.
#[derive(Clone)]
pub(crate) struct ProxyBlock {
    pub(crate) url: Option<Url>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) disable: bool,
}

/// URL and headers may hold a password.
impl std::fmt::Debug for ProxyBlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProxyBlock")
            .field("disable", &self.disable)
            .finish_non_exhaustive()
    }
}

struct Preset {
    bulk_max_size: usize,
    workers: usize,
    queue_events: usize,
    flush_min_events: usize,
    flush_timeout_s: u64,
    idle_connection_timeout_s: u64,
    backoff_init_s: u64,
    backoff_max_s: u64,
}

const BALANCED: Preset = Preset {
    bulk_max_size: 1600,
    workers: 1,
    queue_events: 3200,
    flush_min_events: 1600,
    flush_timeout_s: 10,
    idle_connection_timeout_s: 3,
    backoff_init_s: 1,
    backoff_max_s: 60,
};

fn preset(name: &str) -> Option<Preset> {
    Some(match name {
        "balanced" => BALANCED,
        "throughput" => Preset {
            workers: 4,
            queue_events: 12_800,
            flush_timeout_s: 5,
            idle_connection_timeout_s: 15,
            ..BALANCED
        },
        "scale" => Preset {
            flush_timeout_s: 20,
            idle_connection_timeout_s: 1,
            backoff_init_s: 5,
            backoff_max_s: 300,
            ..BALANCED
        },
        "latency" => Preset {
            bulk_max_size: 50,
            queue_events: 4100,
            flush_min_events: 2050,
            flush_timeout_s: 1,
            idle_connection_timeout_s: 60,
            ..BALANCED
        },
        _ => return None,
    })
}

/// Keys that a named preset decides.
const PRESET_KEYS: [&str; 8] = [
    "bulk_max_size",
    "worker",
    "workers",
    "queue.mem",
    "compression_level",
    "idle_connection_timeout",
    "backoff.init",
    "backoff.max",
];

impl ElasticsearchSettings {
    pub(crate) fn from_block(block: &Block<'_>) -> Result<Self, OutputError> {
        let mut settings = Self::with_own_values(block)?;
        let name = block.text("preset")?.unwrap_or_else(|| "custom".to_owned());
        if name != "custom" {
            let Some(preset) = preset(&name) else {
                return Err(block.invalid("preset", "balanced, throughput, scale, latency or custom"));
            };
            settings.apply(&preset);
            let overridden: Vec<_> = PRESET_KEYS.into_iter().filter(|key| block.at(key).is_some()).collect();
            if !overridden.is_empty() {
                settings
                    .warnings
                    .push(format!("preset `{name}` overrides {}", overridden.join(", ")));
            }
        }
        Ok(settings)
    }

    fn with_own_values(block: &Block<'_>) -> Result<Self, OutputError> {
        let protocol = block.text("protocol")?.unwrap_or_else(|| "http".to_owned());
        let path = block.text("path")?.unwrap_or_default();
        let hosts = block.list("hosts")?;
        if hosts.is_empty() {
            return Err(block.invalid("hosts", "at least one URL, such as `https://es.example:9200`"));
        }
        let hosts = hosts
            .iter()
            .map(|host| host_url(host, &protocol, &path).ok_or_else(|| block.invalid("hosts", "http or https URLs")))
            .collect::<Result<Vec<_>, _>>()?;
        let compression_level = block.integer("compression_level")?.unwrap_or(1);
        if !(0..=9).contains(&compression_level) {
            return Err(block.invalid("compression_level", "a number from 0 to 9"));
        }
        let queue_events = positive(block, "queue.mem.events", 3200)?;
        let bulk_max_size = match block.integer("bulk_max_size")? {
            None => BALANCED.bulk_max_size,
            Some(size) if size <= 0 => queue_events,
            Some(size) => usize::try_from(size).unwrap_or(usize::MAX),
        };
        let workers_key = if block.at("workers").is_some() {
            "workers"
        } else {
            "worker"
        };
        Ok(Self {
            hosts,
            authorization: authorization(block)?,
            headers: block.map("headers")?.into_iter().collect(),
            parameters: block.map("parameters")?.into_iter().collect(),
            proxy: proxy(block)?,
            ssl: block.at("ssl").cloned().unwrap_or(Value::Null),
            workers: positive(block, workers_key, 1)?.min(64),
            load_balance: block.flag("loadbalance", true)?,
            bulk_max_size,
            compression_level: compression_level as u32,
            timeout: block.duration("timeout")?.unwrap_or(Duration::from_secs(90)),
            idle_connection_timeout: block
                .duration("idle_connection_timeout")?
                .map_or(Some(Duration::from_secs(BALANCED.idle_connection_timeout_s)), |idle| {
                    (!idle.is_zero()).then_some(idle)
                }),
            backoff_init: block.duration("backoff.init")?.unwrap_or(Duration::from_secs(1)),
            backoff_max: block.duration("backoff.max")?.unwrap_or(Duration::from_mins(1)),
            queue_events,
            flush_min_events: positive(block, "queue.mem.flush.min_events", 1600)?.min(queue_events),
            flush_timeout: block
                .duration("queue.mem.flush.timeout")?
                .unwrap_or(Duration::from_secs(10)),
            warnings: Vec::new(),
        })
    }

    fn apply(&mut self, preset: &Preset) {
        self.bulk_max_size = preset.bulk_max_size;
        self.workers = preset.workers;
        self.queue_events = preset.queue_events;
        self.flush_min_events = preset.flush_min_events;
        self.flush_timeout = Duration::from_secs(preset.flush_timeout_s);
        self.compression_level = 1;
        self.idle_connection_timeout = Some(Duration::from_secs(preset.idle_connection_timeout_s));
        self.backoff_init = Duration::from_secs(preset.backoff_init_s);
        self.backoff_max = Duration::from_secs(preset.backoff_max_s);
    }

    /// A batch leaves when this many events wait.
    pub(crate) fn batch_min(&self) -> usize {
        self.flush_min_events.min(self.bulk_max_size)
    }
}

pub(crate) fn positive(block: &Block<'_>, setting: &str, default: usize) -> Result<usize, OutputError> {
    match block.integer(setting)? {
        None => Ok(default),
        Some(number) if number > 0 => Ok(usize::try_from(number).unwrap_or(usize::MAX).min(1_000_000)),
        Some(_) => Err(block.invalid(setting, "a number above 0")),
    }
}

pub(crate) fn proxy(block: &Block<'_>) -> Result<Option<ProxyBlock>, OutputError> {
    let disable = block.flag("proxy_disable", false)?;
    let url = match block.text("proxy_url")? {
        Some(text) => {
            let wanted = "http://HOST:PORT or https://HOST:PORT";
            let proxy = ProxySettings::from_url(&text).map_err(|_| block.invalid("proxy_url", wanted))?;
            Some(proxy.url)
        }
        None => None,
    };
    let headers = block.map("proxy_headers")?.into_iter().collect();
    Ok((disable || url.is_some()).then_some(ProxyBlock { url, headers, disable }))
}

fn authorization(block: &Block<'_>) -> Result<Option<Secret>, OutputError> {
    let api_key = block.text("api_key")?;
    let username = block.text("username")?;
    if api_key.is_some() && username.is_some() {
        return Err(block.invalid("api_key", "either `api_key` or `username` with `password`, not both"));
    }
    if let Some(key) = api_key {
        // Always `id:key` in a policy; a key that is already base64 has no colon.
        let encoded = if key.contains(':') { STANDARD.encode(&key) } else { key };
        return Ok(Some(Secret::from(format!("ApiKey {encoded}"))));
    }
    if let Some(token) = block.text("service_token")? {
        return Ok(Some(Secret::from(format!("Bearer {token}"))));
    }
    let Some(username) = username else { return Ok(None) };
    let password = block.text("password")?.unwrap_or_default();
    Ok(Some(Secret::from(format!(
        "Basic {}",
        STANDARD.encode(format!("{username}:{password}"))
    ))))
}

/// `host`, `host:port` or a URL; the port is 9200 when none is named.
fn host_url(host: &str, protocol: &str, path: &str) -> Option<Url> {
    let explicit = host.contains("://");
    let text = if explicit {
        host.to_owned()
    } else {
        format!("{protocol}://{host}")
    };
    let mut url = Url::parse(&text).ok()?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return None;
    }
    if url.port().is_none() && !names_port(&text) {
        url.set_port(Some(9200)).ok()?;
    }
    if url.path().trim_matches('/').is_empty() && !path.is_empty() {
        url.set_path(path);
    }
    Some(url)
}

/// Whether the text names a port, also one that is the scheme's default (which `Url` hides).
fn names_port(text: &str) -> bool {
    let authority = text
        .split("://")
        .nth(1)
        .and_then(|rest| rest.split('/').next())
        .unwrap_or_default();
    let after_host = authority.rsplit('@').next().unwrap_or_default();
    let after_host = after_host.rsplit(']').next().unwrap_or_default();
    after_host.contains(':')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: &Value) -> Result<ElasticsearchSettings, OutputError> {
        ElasticsearchSettings::from_block(&Block { name: "default", value })
    }

    #[test]
    fn presets_hold_the_documented_numbers() {
        let check = |preset: &str, expected: (usize, usize, usize, usize, u64, u64)| {
            let settings = read(&json!({"hosts": ["https://es:9200"], "preset": preset})).unwrap();
            let seen = (
                settings.bulk_max_size,
                settings.workers,
                settings.queue_events,
                settings.flush_min_events,
                settings.flush_timeout.as_secs(),
                settings.idle_connection_timeout.unwrap().as_secs(),
            );
            assert_eq!(seen, expected, "{preset}");
            assert_eq!(settings.compression_level, 1);
        };
        check("balanced", (1600, 1, 3200, 1600, 10, 3));
        check("throughput", (1600, 4, 12_800, 1600, 5, 15));
        check("scale", (1600, 1, 3200, 1600, 20, 1));
        check("latency", (50, 1, 4100, 2050, 1, 60));
        check("custom", (1600, 1, 3200, 1600, 10, 3));
    }

    #[test]
    fn a_preset_overrides_and_says_so() {
        let settings = read(&json!({"hosts": "es", "preset": "latency", "bulk_max_size": 7, "worker": 3})).unwrap();
        assert_eq!(settings.bulk_max_size, 50);
        assert_eq!(settings.warnings, ["preset `latency` overrides bulk_max_size, worker"]);
    }

    #[test]
    fn hosts_get_scheme_port_and_path() {
        let check = |host: &str, expected: &str| {
            let settings = read(&json!({"hosts": [host], "path": "/es"})).unwrap();
            assert_eq!(settings.hosts[0].as_str(), expected, "{host}");
        };
        check("es", "http://es:9200/es");
        check("es:19200", "http://es:19200/es");
        check("https://es", "https://es:9200/es");
        check("https://es:443/own", "https://es/own");
        check("https://[::1]:9243", "https://[::1]:9243/es");
    }

    #[test]
    fn credentials_become_one_header() {
        let header = |value: Value| read(&value).unwrap().authorization.unwrap().expose().to_owned();
        assert_eq!(header(json!({"hosts": "es", "api_key": "id:key"})), "ApiKey aWQ6a2V5");
        assert_eq!(
            header(json!({"hosts": "es", "username": "u", "password": "p"})),
            "Basic dTpw"
        );
        let both = read(&json!({"hosts": "es", "username": "u", "api_key": "a:b"}));
        assert!(both.unwrap_err().to_string().contains("not both"));
    }

    #[test]
    fn wrong_values_name_the_setting() {
        let check = |value: Value, setting: &str| {
            let error = read(&value).unwrap_err().to_string();
            assert!(error.contains(&format!("`{setting}`")), "{error}");
        };
        check(json!({}), "hosts");
        check(json!({"hosts": ["ftp://x"]}), "hosts");
        check(json!({"hosts": "es", "compression_level": 11}), "compression_level");
        check(json!({"hosts": "es", "worker": 0}), "worker");
        check(json!({"hosts": "es", "timeout": "soon"}), "timeout");
        check(json!({"hosts": "es", "preset": "fast"}), "preset");
    }
}
