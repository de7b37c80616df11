//! `elastic-agent container`: enrols and runs as environment variables say. Source of names and fallbacks: the stock
//! program's container entry point. Variables for the look-up of tokens through Kibana are refused, not ignored.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use camino::Utf8PathBuf;

use super::arguments::{CommonArguments, FleetServerArguments, JoinArguments};
use super::join::Join;
use super::{enroll, fleet_server, run};

const DEFAULT_ELASTICSEARCH: &str = "http://elasticsearch:9200";
const DEFAULT_STATE: &str = "/usr/share/elastic-agent/state";

pub(super) fn run(common: &CommonArguments) -> Result<i32> {
    let environment = Environment(std::env::vars().collect());
    let mut common = common.clone();
    environment.fill_paths(&mut common);
    if environment.flag("FLEET_ENROLL") || environment.flag("FLEET_SERVER_ENABLE") {
        enroll_if_needed(&environment, &common)?;
    }
    run::run(&common)
}

fn enroll_if_needed(environment: &Environment, common: &CommonArguments) -> Result<()> {
    let paths = common.paths();
    let join = Join::check(&environment.join_arguments()?)?;
    if join.has_fleet_server() {
        return enroll_fleet_server(environment, &join, paths);
    }
    let options = join.options(paths.clone())?;
    if agent::is_enrolled(&paths) && !environment.flag("FLEET_FORCE") {
        let store = agent::state::StateStore::open(&paths)?;
        let same = store.enrollment()?.is_some_and(|enrollment| {
            enrollment.enrollment_token_sha256 == agent::token_hash(&options.enrollment_token)
                && enrollment.connection.hosts == options.connection.hosts
        });
        if same {
            return Ok(());
        }
    }
    super::block_on(enroll::enroll(options)).map(drop)
}

/// A server that is set up once keeps what the first start of the container said, unless forced.
fn enroll_fleet_server(environment: &Environment, join: &Join, paths: agent::Paths) -> Result<()> {
    if agent::is_enrolled(&paths) && !environment.flag("FLEET_FORCE") {
        return Ok(());
    }
    super::block_on(fleet_server::enroll(join, paths)).map(drop)
}

struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The first variable of these that is set and not empty.
    fn text(&self, names: &[&str]) -> Option<String> {
        names
            .iter()
            .find_map(|name| self.0.get(*name))
            .filter(|value| !value.is_empty())
            .cloned()
    }

    fn flag(&self, name: &str) -> bool {
        self.0
            .get(name)
            .is_some_and(|value| matches!(value.to_lowercase().as_str(), "1" | "true" | "yes" | "y"))
    }

    fn fill_paths(&self, common: &mut CommonArguments) {
        let state = self.text(&["STATE_PATH"]).unwrap_or_else(|| DEFAULT_STATE.to_owned());
        let state = Utf8PathBuf::from(state);
        common.home.get_or_insert_with(|| state.join("data"));
        common
            .config_dir
            .get_or_insert_with(|| self.text(&["CONFIG_PATH"]).map_or(state, Utf8PathBuf::from));
        if let Some(logs) = self.text(&["LOGS_PATH"]) {
            common.logs.get_or_insert(logs.into());
        } else {
            // A container's log is what it prints.
            common.to_stderr = true;
        }
    }

    fn join_arguments(&self) -> Result<JoinArguments> {
        let has_server = self.flag("FLEET_SERVER_ENABLE");
        if self.text(&["FLEET_ENROLLMENT_TOKEN"]).is_none() && !has_server {
            bail!("FLEET_ENROLL needs FLEET_ENROLLMENT_TOKEN; tokens are not looked up by name");
        }
        let list = |names: &[&str]| -> Vec<String> {
            self.text(names)
                .map(|text| text.split(',').map(|part| part.trim().to_owned()).collect())
                .unwrap_or_default()
        };
        Ok(JoinArguments {
            url: self.text(&["FLEET_URL"]),
            enrollment_token: self.text(&["FLEET_ENROLLMENT_TOKEN"]),
            id: self.text(&["ELASTIC_AGENT_ID"]),
            replace_token: self.text(&["FLEET_REPLACE_TOKEN"]),
            certificate_authorities: self.text(&["FLEET_CA", "KIBANA_CA", "ELASTICSEARCH_CA"]),
            elastic_agent_cert: self.text(&["ELASTIC_AGENT_CERT"]),
            elastic_agent_cert_key: self.text(&["ELASTIC_AGENT_CERT_KEY"]),
            insecure: Some(self.flag("FLEET_INSECURE")),
            header: [list(&["FLEET_HEADER"]), list(&["FLEET_HEADERS"])].concat(),
            tag: list(&["ELASTIC_AGENT_TAGS"]),
            enroll_timeout: self.text(&["FLEET_ENROLL_TIMEOUT"]),
            daemon_timeout: self.text(&["FLEET_DAEMON_TIMEOUT"]),
            force: Some(true),
            fleet_server_timeout: self.text(&["FLEET_SERVER_TIMEOUT"]),
            fleet_server: if has_server {
                self.fleet_server_arguments()?
            } else {
                FleetServerArguments::default()
            },
            ..JoinArguments::default()
        })
    }

    fn fleet_server_arguments(&self) -> Result<FleetServerArguments> {
        let port = self.text(&["FLEET_SERVER_PORT"]);
        let port = port.map(|text| {
            text.parse()
                .with_context(|| format!("FLEET_SERVER_PORT: `{text}` is no port"))
        });
        let host = self.text(&["FLEET_SERVER_ELASTICSEARCH_HOST", "ELASTICSEARCH_HOST"]);
        Ok(FleetServerArguments {
            fleet_server_es: Some(host.unwrap_or_else(|| DEFAULT_ELASTICSEARCH.to_owned())),
            fleet_server_es_ca: self.text(&["FLEET_SERVER_ELASTICSEARCH_CA", "ELASTICSEARCH_CA"]),
            fleet_server_es_ca_trusted_fingerprint: self.text(&["FLEET_SERVER_ELASTICSEARCH_CA_TRUSTED_FINGERPRINT"]),
            fleet_server_es_insecure: Some(self.flag("FLEET_SERVER_ELASTICSEARCH_INSECURE")),
            fleet_server_es_cert: self.text(&["FLEET_SERVER_ES_CERT"]),
            fleet_server_es_cert_key: self.text(&["FLEET_SERVER_ES_CERT_KEY"]),
            fleet_server_es_cert_key_passphrase: self.text(&["FLEET_SERVER_ES_CERT_KEY_PASSPHRASE"]),
            fleet_server_service_token: self.text(&["FLEET_SERVER_SERVICE_TOKEN"]),
            fleet_server_service_token_path: self.text(&["FLEET_SERVER_SERVICE_TOKEN_PATH"]),
            fleet_server_policy: self.text(&["FLEET_SERVER_POLICY_ID", "FLEET_SERVER_POLICY"]),
            fleet_server_host: self.text(&["FLEET_SERVER_HOST"]),
            fleet_server_port: port.transpose()?,
            fleet_server_cert: self.text(&["FLEET_SERVER_CERT"]),
            fleet_server_cert_key: self.text(&["FLEET_SERVER_CERT_KEY"]),
            fleet_server_cert_key_passphrase: self.text(&["FLEET_SERVER_CERT_KEY_PASSPHRASE"]),
            fleet_server_client_auth: self.text(&["FLEET_SERVER_CLIENT_AUTH"]),
            fleet_server_insecure_http: Some(self.flag("FLEET_SERVER_INSECURE_HTTP")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment(
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn variables_become_flags_with_their_fallbacks() {
        let environment = environment(&[
            ("FLEET_URL", "https://fleet:8220"),
            ("FLEET_ENROLLMENT_TOKEN", "token"),
            ("ELASTICSEARCH_CA", "/es.crt"),
            ("FLEET_INSECURE", "Yes"),
            ("FLEET_HEADERS", "a=b,c=d"),
            ("ELASTIC_AGENT_TAGS", "x, y"),
        ]);
        let flags = environment.join_arguments().unwrap();
        assert_eq!(flags.certificate_authorities.as_deref(), Some("/es.crt"));
        assert_eq!(
            (flags.insecure, flags.header.len(), flags.tag.len()),
            (Some(true), 2, 2)
        );
        assert!(Join::check(&flags).is_ok());
    }

    #[test]
    fn a_fleet_server_needs_no_token_of_its_own() {
        let environment = environment(&[
            ("FLEET_SERVER_ENABLE", "1"),
            ("FLEET_SERVER_SERVICE_TOKEN", "t"),
            ("FLEET_SERVER_PORT", "8443"),
        ]);
        let flags = environment.join_arguments().unwrap();
        assert_eq!(flags.fleet_server.fleet_server_port, Some(8443));
        assert!(Join::check(&flags).unwrap().has_fleet_server());
    }

    #[test]
    fn a_container_keeps_its_state_in_one_place() {
        let mut common = CommonArguments::default();
        environment(&[("STATE_PATH", "/state")]).fill_paths(&mut common);
        assert_eq!(common.home.as_deref().unwrap(), "/state/data");
        assert_eq!(common.config_dir.as_deref().unwrap(), "/state");
        assert!(common.to_stderr);
    }
}
