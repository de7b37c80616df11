//! The configuration file of the parts that run over a cluster.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use camino::{Utf8Path, Utf8PathBuf};
use fleet_server::FleetServerSettings;
use fs_err as fs;
use secret::Secret;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::Part;
use crate::fleet_server_command::memory_mib;
use crate::printer::{self, Hint};

/// What one part is told.
#[derive(Debug)]
pub(super) struct Configuration {
    /// The cluster, the listener and the logging: read as a Fleet Server's are.
    pub(super) settings: FleetServerSettings,
    /// Set at each start; without it users are those that the cluster has.
    pub(super) elastic_password: Option<Secret>,
    pub(super) console: ConsoleSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ApiSection {
    host: Option<String>,
    port: Option<u16>,
    ssl: Option<Value>,
}

/// `console`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConsoleSection {
    host: Option<String>,
    port: Option<u16>,
    ssl: Option<Value>,
    #[serde(default)]
    pub(super) fleet_server_urls: Vec<String>,
    #[serde(default)]
    pub(super) elasticsearch_urls: Vec<String>,
    #[serde(default)]
    pub(super) console_urls: Vec<String>,
    pub(super) ca_trusted_fingerprint: Option<String>,
    /// How the console verifies Fleet Servers when it asks for their state.
    pub(super) fleet_server_ssl: Option<Value>,
}

impl Configuration {
    pub(super) fn read(part: Part, path: &Utf8Path, environment: &BTreeMap<String, String>) -> Result<Self> {
        let text = fs::read_to_string(path)
            .map_err(|error| Hint::error(error.to_string(), "name the configuration file with -c"))?;
        Self::parse(part, path.as_str(), &text, environment)
    }

    fn parse(part: Part, name: &str, text: &str, environment: &BTreeMap<String, String>) -> Result<Self> {
        let Value::Object(mut root) = settings::from_yaml(name, text)? else {
            bail!("`{name}` holds no settings");
        };
        let elastic_password = elastic_password(name, &mut root)?;
        let api: ApiSection = section(name, &mut root, Part::ElasticsearchApi)?;
        let console: ConsoleSection = section(name, &mut root, Part::Console)?;
        let (host, port, ssl) = match part {
            Part::ElasticsearchApi => (api.host, api.port, api.ssl),
            Part::Console => (console.host.clone(), console.port, console.ssl.clone()),
        };
        let mut server = json!({
            "host": host.as_deref().unwrap_or("0.0.0.0"),
            "port": port.unwrap_or(part.default_port()),
        });
        if let Some(ssl) = ssl {
            server["ssl"] = ssl;
        }
        let output = root
            .remove("output")
            .context("`output.elasticsearch` is missing: where the cluster is")?;
        let mut stock = json!({ "output": output, "inputs": [{ "type": "fleet-server", "server": server }] });
        if let Some(logging) = root.remove("logging") {
            stock["logging"] = logging;
        }
        // The Fleet Server's own settings may stand in the same file.
        for key in root
            .keys()
            .filter(|key| !matches!(key.as_str(), "inputs" | "fleet" | "http"))
        {
            printer::warning(format!("{name}: `{key}` has no effect"));
        }
        let text = settings::to_yaml(&stock);
        let (settings, warnings) = FleetServerSettings::from_yaml(name, &text, environment, memory_mib())?;
        for warning in warnings {
            printer::warning(format!("{name}: `{}` has no effect", warning.key));
        }
        Ok(Self {
            settings,
            elastic_password,
            console,
        })
    }
}

fn section<T: Default + DeserializeOwned>(name: &str, root: &mut Map<String, Value>, part: Part) -> Result<T> {
    match root.remove(part.section()) {
        None | Some(Value::Null) => Ok(T::default()),
        Some(value) => {
            serde_json::from_value(value).with_context(|| format!("{name}: `{}` cannot be used", part.section()))
        }
    }
}

/// `elastic_password`, or the first line of the file that `elastic_password_path` names.
fn elastic_password(name: &str, root: &mut Map<String, Value>) -> Result<Option<Secret>> {
    let mut text = |key: &str| match root.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
        Some(_) => bail!("{name}: `{key}` must be a text in quotation marks"),
    };
    let (password, path) = (
        text("elastic_password")?,
        text("elastic_password_path")?.map(Utf8PathBuf::from),
    );
    let Some(path) = path else {
        return Ok(password.map(Secret::from));
    };
    if password.is_some() {
        bail!("{name}: `elastic_password` and `elastic_password_path` exclude each other");
    }
    let text = fs::read_to_string(&path)?;
    match text.lines().next().map(str::trim).filter(|line| !line.is_empty()) {
        Some(line) => Ok(Some(Secret::from(line))),
        None => bail!("`{path}` (`elastic_password_path`) is empty"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "output.elasticsearch:\n  hosts: [\"https://os:9200\"]\n  username: admin\n  password: p\n\
        elastic_password: secret\nelasticsearch-api:\n  port: 9201\nconsole:\n  host: 127.0.0.1\n  \
        fleet_server_urls: [\"https://fleet:8220\"]\n";

    fn parsed(part: Part, text: &str) -> Result<Configuration> {
        Configuration::parse(part, "flotilla.yml", text, &BTreeMap::new())
    }

    #[test]
    fn one_file_serves_both() {
        let api = parsed(Part::ElasticsearchApi, FILE).unwrap();
        assert_eq!(
            (api.settings.listen.host.as_str(), api.settings.listen.port),
            ("0.0.0.0", 9201)
        );
        assert_eq!(api.settings.output.hosts, ["https://os:9200"]);
        assert_eq!(api.elastic_password.unwrap().expose(), "secret");
        let console = parsed(Part::Console, FILE).unwrap();
        assert_eq!(
            (console.settings.listen.host.as_str(), console.settings.listen.port),
            ("127.0.0.1", 5601)
        );
        assert_eq!(console.console.fleet_server_urls, ["https://fleet:8220"]);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (text, named) in [
            ("elasticsearch-api:\n  port: 1\n", "output.elasticsearch"),
            (&*format!("{FILE}  no_such: 1\n"), "`console`"),
            (&*format!("{FILE}elastic_password_path: /p\n"), "exclude each other"),
            ("elastic_password: 7\n", "`elastic_password`"),
        ] {
            let error = format!("{:#}", parsed(Part::Console, text).unwrap_err());
            assert!(error.contains(named), "{error}");
        }
    }
}
