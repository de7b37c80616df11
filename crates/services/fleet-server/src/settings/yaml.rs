//! Reads the stock `fleet-server.yml`. Unknown keys are warnings with their line: the file belongs to another program.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use secret::Secret;
use serde_json::{Map, Value};

use super::yaml_text::{expand_variables, line_of};
use super::{FleetServerSettings, Limit, Limits, StaticPolicyToken};

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsProblem {
    /// Not YAML.
    #[error(transparent)]
    Yaml(#[from] settings::SettingsError),
    /// A value of a wrong kind.
    #[error("`{key}` in `{name}`{line}: expected {expected}", line = at_line(*line))]
    Value {
        /// The file.
        name: String,
        /// The dotted key.
        key: String,
        /// Where, when it could be found.
        line: Option<usize>,
        /// What would be right.
        expected: &'static str,
    },
    /// `${NAME}` without a value.
    #[error(
        "`{key}` in `{name}` needs the variable `{variable}`, which is not set; set it or write `${{{variable}:default}}`"
    )]
    Variable {
        /// The file.
        name: String,
        /// The dotted key.
        key: String,
        /// The variable.
        variable: String,
    },
    /// Not exactly one Fleet Server.
    #[error("`{name}` must have exactly one input of type `fleet-server`; it has {found}")]
    Inputs {
        /// The file.
        name: String,
        /// How many it has.
        found: usize,
    },
}

/// Something in the file that has no effect.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SettingsWarning {
    /// The dotted key.
    pub key: String,
    /// Where, when it could be found.
    pub line: Option<usize>,
    /// In words.
    pub message: String,
}

impl std::fmt::Display for SettingsWarning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`{}: {}", self.key, at_line(self.line), self.message)
    }
}

fn at_line(line: Option<usize>) -> String {
    line.map(|line| format!(" (line {line})")).unwrap_or_default()
}

impl FleetServerSettings {
    /// Reads the stock configuration file. `name` is the file, for errors; `variables` fill `${NAME}` and
    /// `${NAME:default}`; `memory_mib` chooses the limits when the file names no number of agents.
    ///
    /// # Errors
    /// When it is not YAML, a value is of a wrong kind, or a variable is missing.
    pub fn from_yaml(
        name: &str,
        text: &str,
        variables: &BTreeMap<String, String>,
        memory_mib: u64,
    ) -> Result<(Self, Vec<SettingsWarning>), SettingsProblem> {
        let mut root = settings::from_yaml(name, text)?;
        expand_variables(name, "", &mut root, variables)?;
        let mut reader = Reader {
            name,
            text,
            warnings: Vec::new(),
        };
        let read = reader.read(root, memory_mib)?;
        Ok((read, reader.warnings))
    }
}

struct Reader<'a> {
    name: &'a str,
    text: &'a str,
    warnings: Vec<SettingsWarning>,
}

/// A map under reading: what is taken out is known, what is left over is not.
struct Section {
    path: String,
    map: Map<String, Value>,
}

impl Section {
    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }
}

impl Reader<'_> {
    fn read(&mut self, root: Value, memory_mib: u64) -> Result<FleetServerSettings, SettingsProblem> {
        let mut read = FleetServerSettings {
            limits: Limits::for_memory(memory_mib),
            ..FleetServerSettings::default()
        };
        let mut root = self.section("", Some(root))?;
        let mut output = self.take_section(&mut root, "output")?;
        let elasticsearch = self.take_section(&mut output, "elasticsearch")?;
        self.leave(output);
        self.output(elasticsearch, &mut read)?;
        read.fleet = root.map.remove("fleet").unwrap_or_default();
        read.logging = root.map.remove("logging").unwrap_or_default();
        read.http = root.map.remove("http").unwrap_or_default();
        let input = self.only_input(root.map.remove("inputs"))?;
        self.input(input, &mut read)?;
        let cache = self.take_section(&mut root, "cache")?;
        self.cache(cache, &mut read)?;
        self.leave(root);
        Ok(read)
    }

    fn only_input(&mut self, inputs: Option<Value>) -> Result<Value, SettingsProblem> {
        let Some(Value::Array(inputs)) = inputs else {
            return Err(SettingsProblem::Inputs {
                name: self.name.to_owned(),
                found: 0,
            });
        };
        let is_ours = |input: &Value| input["type"] == "fleet-server";
        let mut ours: Vec<_> = inputs.into_iter().filter(is_ours).collect();
        match (ours.pop(), ours.len()) {
            (Some(input), 0) => Ok(input),
            (last, others) => {
                let found = others + usize::from(last.is_some());
                Err(SettingsProblem::Inputs {
                    name: self.name.to_owned(),
                    found,
                })
            }
        }
    }

    fn output(&mut self, mut section: Section, read: &mut FleetServerSettings) -> Result<(), SettingsProblem> {
        let output = &mut read.output;
        self.text(&mut section, "protocol", &mut output.protocol)?;
        self.text(&mut section, "path", &mut output.path)?;
        if let Some(hosts) = self.texts(&mut section, "hosts")? {
            output.hosts = hosts;
        }
        output.service_token = self.optional_text(&mut section, "service_token")?.map(Secret::from);
        output.service_token_path = self.optional_text(&mut section, "service_token_path")?.map(Into::into);
        output.username = self.optional_text(&mut section, "username")?;
        output.password = self.optional_text(&mut section, "password")?.map(Secret::from);
        self.duration(&mut section, "timeout", &mut output.timeout)?;
        self.number(&mut section, "max_retries", &mut output.max_retries)?;
        self.number(&mut section, "max_conn_per_host", &mut output.max_conn_per_host)?;
        output.headers = self.headers(&mut section, "headers")?;
        output.proxy_url = self.optional_text(&mut section, "proxy_url")?;
        self.flag(&mut section, "proxy_disable", &mut output.proxy_disable)?;
        output.proxy_headers = self.headers(&mut section, "proxy_headers")?;
        output.ssl = section.map.remove("ssl");
        self.without_effect(
            &mut section,
            "max_content_length",
            "bodies are bounded by the limits of each endpoint",
        );
        self.leave(section);
        Ok(())
    }

    fn input(&mut self, input: Value, read: &mut FleetServerSettings) -> Result<(), SettingsProblem> {
        let mut input = self.section("inputs.0", Some(input))?;
        input.map.remove("type");
        for known in [
            "id",
            "name",
            "revision",
            "data_stream",
            "use_output",
            "package_policy_id",
            "meta",
            "streams",
        ] {
            input.map.remove(known);
        }
        let mut policy = self.take_section(&mut input, "policy")?;
        self.text(&mut policy, "id", &mut read.policy_id)?;
        self.leave(policy);
        let server = self.take_section(&mut input, "server")?;
        self.server(server, read)?;
        let cache = self.take_section(&mut input, "cache")?;
        self.cache(cache, read)?;
        let monitor = self.take_section(&mut input, "monitor")?;
        for key in monitor.map.keys().cloned().collect::<Vec<_>>() {
            let message = "changes are followed as they are written; there is nothing to tune";
            self.warn(&monitor.path_of(&key), message);
        }
        self.leave(input);
        Ok(())
    }

    fn server(&mut self, mut server: Section, read: &mut FleetServerSettings) -> Result<(), SettingsProblem> {
        self.text(&mut server, "host", &mut read.listen.host)?;
        self.number(&mut server, "port", &mut read.listen.port)?;
        self.number(&mut server, "internal_port", &mut read.listen.internal_port)?;
        read.listen.ssl = server.map.remove("ssl");
        self.number(&mut server, "compression_level", &mut read.compression.level)?;
        self.number(&mut server, "compression_threshold", &mut read.compression.threshold)?;
        let timeouts = self.take_section(&mut server, "timeouts")?;
        self.timeouts(timeouts, read)?;
        let limits = self.take_section(&mut server, "limits")?;
        self.limits(limits, read)?;
        let mut gc = self.take_section(&mut server, "gc")?;
        self.duration(&mut gc, "schedule_interval", &mut read.gc.schedule_interval)?;
        if let Some(text) = self.optional_text(&mut gc, "cleanup_after_expired_interval")? {
            let expected = "a duration, such as `30d`";
            let parsed = settings::parse_duration(&text);
            read.gc.cleanup_after_expired =
                parsed.ok_or_else(|| self.wrong(&gc.path_of("cleanup_after_expired_interval"), expected))?;
        }
        self.leave(gc);
        let mut pbkdf2 = self.take_section(&mut server, "pdkdf2")?;
        self.number(&mut pbkdf2, "iterations", &mut read.pbkdf2.iterations)?;
        self.number(&mut pbkdf2, "key_length", &mut read.pbkdf2.key_length)?;
        self.number(&mut pbkdf2, "salt_length", &mut read.pbkdf2.salt_length)?;
        self.leave(pbkdf2);
        let mut pgp = self.take_section(&mut server, "pgp")?;
        self.text(&mut pgp, "upstream_url", &mut read.pgp.upstream_url)?;
        read.pgp.dir = self.optional_text(&mut pgp, "dir")?.map(Into::into);
        self.leave(pgp);
        let tokens = self.take_section(&mut server, "static_policy_tokens")?;
        self.static_tokens(tokens, read)?;
        let flags = self.take_section(&mut server, "feature_flags")?;
        self.feature_flags(flags, read)?;
        for (key, message) in [
            ("bulk", "writes are grouped by the store"),
            ("runtime", "there is no garbage collector to tune"),
            ("profiler", "there is no profiler"),
            ("instrumentation", "there is no APM agent"),
        ] {
            self.without_effect(&mut server, key, message);
        }
        self.leave(server);
        Ok(())
    }

    fn timeouts(&mut self, mut section: Section, read: &mut FleetServerSettings) -> Result<(), SettingsProblem> {
        let timeouts = &mut read.timeouts;
        for (key, target) in [
            ("read", &mut timeouts.read),
            ("read_header", &mut timeouts.read_header),
            ("idle", &mut timeouts.idle),
            ("write", &mut timeouts.write),
            ("drain", &mut timeouts.drain),
            ("checkin_long_poll", &mut timeouts.checkin_long_poll),
            ("checkin_timestamp", &mut timeouts.checkin_timestamp),
            ("checkin_jitter", &mut timeouts.checkin_jitter),
            ("checkin_max_poll", &mut timeouts.checkin_max_poll),
        ] {
            self.duration(&mut section, key, target)?;
        }
        self.leave(section);
        Ok(())
    }

    /// Explicit values win over the preset; 0 means "take the preset".
    fn limits(&mut self, mut section: Section, read: &mut FleetServerSettings) -> Result<(), SettingsProblem> {
        let mut agents = 0;
        self.number(&mut section, "max_agents", &mut agents)?;
        if agents > 0 {
            read.limits = Limits::for_agents(agents);
        }
        let limits = &mut read.limits;
        self.number_unless_zero(&mut section, "max_connections", &mut limits.max_connections)?;
        self.number_unless_zero(&mut section, "max_header_byte_size", &mut limits.max_header_bytes)?;
        for (key, limit) in [
            ("checkin_limit", &mut limits.checkin),
            ("enroll_limit", &mut limits.enroll),
            ("ack_limit", &mut limits.ack),
            ("audit_unenroll_limit", &mut limits.audit_unenroll),
            ("status_limit", &mut limits.status),
            ("artifact_limit", &mut limits.artifact),
            ("upload_start_limit", &mut limits.upload_start),
            ("upload_chunk_limit", &mut limits.upload_chunk),
            ("upload_end_limit", &mut limits.upload_end),
            ("file_delivery_limit", &mut limits.file_delivery),
            ("pgp_retrieval_limit", &mut limits.pgp_retrieval),
            ("policy_limit", &mut limits.policy),
            ("action_limit", &mut limits.action),
        ] {
            let one = self.take_section(&mut section, key)?;
            self.limit(one, limit)?;
        }
        self.without_effect(&mut section, "policy_throttle", "replaced by `policy_limit`");
        self.without_effect(&mut section, "opamp_limit", "OpAMP is not served");
        self.leave(section);
        Ok(())
    }

    fn limit(&mut self, mut section: Section, limit: &mut Limit) -> Result<(), SettingsProblem> {
        let mut interval = Duration::ZERO;
        self.duration(&mut section, "interval", &mut interval)?;
        if !interval.is_zero() {
            limit.interval = interval;
        }
        self.number_unless_zero(&mut section, "burst", &mut limit.burst)?;
        self.number_unless_zero(&mut section, "max", &mut limit.max)?;
        self.number_unless_zero(&mut section, "max_body_byte_size", &mut limit.max_body)?;
        self.leave(section);
        Ok(())
    }

    fn static_tokens(&mut self, mut section: Section, read: &mut FleetServerSettings) -> Result<(), SettingsProblem> {
        let mut enabled = false;
        self.flag(&mut section, "enabled", &mut enabled)?;
        let tokens = match section.map.remove("policy_tokens") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(tokens)) => tokens,
            Some(_) => return Err(self.wrong(&section.path_of("policy_tokens"), "a list of `{token_key, policy_id}`")),
        };
        self.leave(section);
        for token in tokens.into_iter().filter(|_| enabled) {
            let (Some(key), Some(policy_id)) = (token["token_key"].as_str(), token["policy_id"].as_str()) else {
                return Err(self.wrong(
                    "inputs.0.server.static_policy_tokens.policy_tokens",
                    "`token_key` and `policy_id`",
                ));
            };
            read.static_policy_tokens.push(StaticPolicyToken {
                token_key: key.into(),
                policy_id: policy_id.to_owned(),
            });
        }
        Ok(())
    }

    fn feature_flags(&mut self, mut section: Section, read: &mut FleetServerSettings) -> Result<(), SettingsProblem> {
        self.flag(
            &mut section,
            "ignore_checkin_policy_id",
            &mut read.ignore_checkin_policy_id,
        )?;
        let mut opamp = false;
        self.flag(&mut section, "enable_opamp", &mut opamp)?;
        if opamp {
            self.warn("inputs.0.server.feature_flags.enable_opamp", "OpAMP is not served");
        }
        self.without_effect(
            &mut section,
            "graceful_force_unenroll",
            "agents with a revoked key are refused at once",
        );
        self.leave(section);
        Ok(())
    }

    fn cache(&mut self, mut section: Section, read: &mut FleetServerSettings) -> Result<(), SettingsProblem> {
        self.duration(&mut section, "ttl_enroll_key", &mut read.cache.ttl_enroll_key)?;
        self.duration(&mut section, "ttl_artifact", &mut read.cache.ttl_artifact)?;
        self.duration(&mut section, "ttl_api_key", &mut read.cache.ttl_api_key)?;
        self.number_unless_zero(&mut section, "max_cost", &mut read.cache.max_cost)?;
        for key in ["num_counters", "ttl_action", "jitter_api_key"] {
            self.without_effect(&mut section, key, "there is no such cache");
        }
        self.leave(section);
        Ok(())
    }

    // What follows takes one key out of a section and checks its kind.

    fn section(&self, path: &str, value: Option<Value>) -> Result<Section, SettingsProblem> {
        match value {
            None | Some(Value::Null) => Ok(Section {
                path: path.to_owned(),
                map: Map::new(),
            }),
            Some(Value::Object(map)) => Ok(Section {
                path: path.to_owned(),
                map,
            }),
            Some(_) => Err(self.wrong(path, "a group of settings")),
        }
    }

    fn take_section(&self, section: &mut Section, key: &str) -> Result<Section, SettingsProblem> {
        let value = section.map.remove(key);
        self.section(&section.path_of(key), value)
    }

    fn optional_text(&self, section: &mut Section, key: &str) -> Result<Option<String>, SettingsProblem> {
        match section.map.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok((!text.is_empty()).then_some(text)),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(self.wrong(&section.path_of(key), "a text")),
        }
    }

    fn text(&self, section: &mut Section, key: &str, target: &mut String) -> Result<(), SettingsProblem> {
        if let Some(text) = self.optional_text(section, key)? {
            *target = text;
        }
        Ok(())
    }

    fn texts(&self, section: &mut Section, key: &str) -> Result<Option<Vec<String>>, SettingsProblem> {
        let items = match section.map.remove(key) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Array(items)) => items,
            Some(single) => vec![single],
        };
        let as_text = |item: Value| match item {
            Value::String(text) => Ok(text),
            _ => Err(self.wrong(&section.path_of(key), "a list of texts")),
        };
        items.into_iter().map(as_text).collect::<Result<_, _>>().map(Some)
    }

    fn headers(&self, section: &mut Section, key: &str) -> Result<Vec<(String, String)>, SettingsProblem> {
        let headers = self.take_section(section, key)?;
        let as_text = |(name, value): (String, Value)| match value {
            Value::String(text) => Ok((name, text)),
            Value::Number(number) => Ok((name, number.to_string())),
            _ => Err(self.wrong(&headers.path, "texts")),
        };
        headers.map.clone().into_iter().map(as_text).collect()
    }

    fn flag(&self, section: &mut Section, key: &str, target: &mut bool) -> Result<(), SettingsProblem> {
        match section.map.remove(key) {
            None | Some(Value::Null) => {}
            Some(Value::Bool(flag)) => *target = flag,
            Some(_) => return Err(self.wrong(&section.path_of(key), "`true` or `false`")),
        }
        Ok(())
    }

    fn number<T: FromStr>(&self, section: &mut Section, key: &str, target: &mut T) -> Result<(), SettingsProblem> {
        let text = match section.map.remove(key) {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::String(text)) => text,
            Some(_) => String::new(),
        };
        *target = text
            .trim()
            .parse()
            .map_err(|_| self.wrong(&section.path_of(key), "a whole number in range"))?;
        Ok(())
    }

    fn number_unless_zero<T>(&self, section: &mut Section, key: &str, target: &mut T) -> Result<(), SettingsProblem>
    where
        T: FromStr + Default + PartialEq,
    {
        let mut number = T::default();
        self.number(section, key, &mut number)?;
        if number != T::default() {
            *target = number;
        }
        Ok(())
    }

    fn duration(&self, section: &mut Section, key: &str, target: &mut Duration) -> Result<(), SettingsProblem> {
        if let Some(text) = self.optional_text(section, key)? {
            let expected = "a duration, such as `30s` or `5m`";
            *target = settings::parse_duration(&text).ok_or_else(|| self.wrong(&section.path_of(key), expected))?;
        }
        Ok(())
    }

    fn without_effect(&mut self, section: &mut Section, key: &str, message: &str) {
        if section.map.remove(key).is_some() {
            self.warn(&section.path_of(key), &format!("has no effect here: {message}"));
        }
    }

    /// What was not taken out is not known.
    fn leave(&mut self, section: Section) {
        for key in section.map.keys() {
            self.warn(&section.path_of(key), "is not a known setting and has no effect");
        }
    }

    fn warn(&mut self, key: &str, message: &str) {
        let warning = SettingsWarning {
            key: key.to_owned(),
            line: line_of(self.text, key),
            message: message.to_owned(),
        };
        self.warnings.push(warning);
    }

    fn wrong(&self, key: &str, expected: &'static str) -> SettingsProblem {
        SettingsProblem::Value {
            name: self.name.to_owned(),
            key: key.to_owned(),
            line: line_of(self.text, key),
            expected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOCK: &str = "\
output:
  elasticsearch:
    hosts: '${ELASTICSEARCH_HOSTS:https://es.example:9200}'
    service_token: '${ELASTICSEARCH_SERVICE_TOKEN}'
    ssl.verification_mode: full
fleet:
  agent:
    id: 1e4954ce-af37-4731-9f4a-407b08e69e42
inputs:
  - type: fleet-server
    policy.id: fleet-server-policy
    server:
      host: 0.0.0.0
      port: ${FLEET_SERVER_PORT:8220}
      timeouts:
        checkin_long_poll: 90s
      limits:
        max_agents: 1000
        checkin_limit:
          interval: 1ms
          max: 7
        surprise: 1
      ssl:
        enabled: true
        certificate: /etc/fleet.crt
logging:
  level: debug
";

    fn read(
        text: &str,
        variables: &[(&str, &str)],
    ) -> Result<(FleetServerSettings, Vec<SettingsWarning>), SettingsProblem> {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        FleetServerSettings::from_yaml("fleet-server.yml", text, &variables, 4096)
    }

    #[test]
    fn the_stock_file_is_read() {
        let (read, warnings) = read(STOCK, &[("ELASTICSEARCH_SERVICE_TOKEN", "AAEAA")]).unwrap();
        assert_eq!(read.output.hosts, ["https://es.example:9200"]);
        assert_eq!(read.output.service_token.unwrap().expose(), "AAEAA");
        assert_eq!(read.output.ssl.unwrap()["verification_mode"], "full");
        assert_eq!(
            (read.listen.port, read.policy_id.as_str()),
            (8220, "fleet-server-policy")
        );
        assert_eq!(read.listen.ssl.unwrap()["certificate"], "/etc/fleet.crt");
        assert_eq!(read.timeouts.checkin_long_poll, Duration::from_secs(90));
        assert_eq!(read.limits.checkin.interval, Duration::from_millis(1));
        assert_eq!((read.limits.checkin.burst, read.limits.checkin.max), (200, 7));
        assert_eq!(warnings.len(), 1);
        assert_eq!(
            warnings[0].to_string(),
            "`inputs.0.server.limits.surprise` (line 22): is not a known setting and has no effect"
        );
    }

    #[test]
    fn variables_win_over_their_defaults_and_keep_their_kind() {
        let variables = [("ELASTICSEARCH_SERVICE_TOKEN", "t"), ("FLEET_SERVER_PORT", "9443")];
        assert_eq!(read(STOCK, &variables).unwrap().0.listen.port, 9443);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |text: &str, expected: &str| {
            let error = read(text, &[]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(
            STOCK,
            "`output.elasticsearch.service_token` in `fleet-server.yml` needs the variable `ELASTICSEARCH_SERVICE_TOKEN`",
        );
        check("inputs: []", "exactly one input of type `fleet-server`; it has 0");
        check("inputs:\n - type: fleet-server\n - type: fleet-server\n", "it has 2");
        check(
            "inputs:\n  - type: fleet-server\n    server:\n      port: many\n",
            "`inputs.0.server.port` in `fleet-server.yml` (line 4): expected a whole number in range",
        );
        check(
            "inputs:\n  - type: fleet-server\n    server.timeouts.read: soon\n",
            "`inputs.0.server.timeouts.read` in `fleet-server.yml` (line 3): expected a duration",
        );
        check(
            "output: 3\ninputs:\n  - type: fleet-server\n",
            "`output` in `fleet-server.yml` (line 1): expected a group of settings",
        );
    }

    #[test]
    fn settings_of_other_machinery_are_warned_of() {
        let text = "inputs:\n  - type: fleet-server\n    server:\n      bulk.flush_interval: 1s\n      profiler.enabled: true\n    monitor.fetch_size: 3\n";
        let keys: Vec<_> = read(text, &[])
            .unwrap()
            .1
            .into_iter()
            .map(|warning| (warning.key, warning.line))
            .collect();
        let expected = [
            ("inputs.0.server.bulk", 4),
            ("inputs.0.server.profiler", 5),
            ("inputs.0.monitor.fetch_size", 6),
        ];
        for (key, line) in expected {
            assert!(keys.contains(&(key.to_owned(), Some(line))), "{keys:?}");
        }
    }
}
