//! `elastic-agent container`: enrols and runs as environment variables say. Source of names and fallbacks: the stock
//! program's container entry point. Variables for the look-up of tokens through Kibana are refused, not ignored.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use camino::Utf8PathBuf;

use super::arguments::{CommonArguments, FleetServerArguments, JoinArguments};
use super::join::Join;
use super::{enroll, run};

const DEFAULT_STATE: &str = "/usr/share/elastic-agent/state";

pub(super) fn run(common: &CommonArguments) -> Result<i32> {
    let environment = Environment(std::env::vars().collect());
    let mut common = common.clone();
    environment.fill_paths(&mut common);
    if environment.flag("FLEET_SERVER_ENABLE") {
        bail!(
            "FLEET_SERVER_ENABLE: a Fleet Server under an agent cannot be started yet; run `flotilla fleet-server` in a container of its own"
        );
    }
    if environment.flag("FLEET_ENROLL") {
        enroll_if_needed(&environment, &common)?;
    }
    run::run(&common)
}

fn enroll_if_needed(environment: &Environment, common: &CommonArguments) -> Result<()> {
    let paths = common.paths();
    let join = Join::check(&environment.join_arguments()?)?;
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
        if self.text(&["FLEET_ENROLLMENT_TOKEN"]).is_none() {
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
            fleet_server: FleetServerArguments::default(),
            ..JoinArguments::default()
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
    fn a_container_keeps_its_state_in_one_place() {
        let mut common = CommonArguments::default();
        environment(&[("STATE_PATH", "/state")]).fill_paths(&mut common);
        assert_eq!(common.home.as_deref().unwrap(), "/state/data");
        assert_eq!(common.config_dir.as_deref().unwrap(), "/state");
        assert!(common.to_stderr);
    }
}
