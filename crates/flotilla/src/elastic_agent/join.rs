//! The joining flags: checked before anything is touched, then turned into the agent's options.
//!
//! Source of the rules: the stock program's validation.

use std::collections::BTreeMap;
use std::time::Duration;

use agent::connection::{ConnectionSettings, ProxySettings};
use agent::{EnrollOptions, Paths};
use anyhow::{Result, bail, ensure};
use protocol::JoinString;
use secret::Secret;
use serde_json::{Map, Value, json};
use url::Url;

use super::arguments::{FleetServerArguments, JoinArguments};
use crate::printer::Hint;

const DEFAULT_TIMEOUT: Duration = Duration::from_mins(10);
const DEFAULT_SERVER_TIMEOUT: Duration = Duration::from_mins(2);

/// Checked flags.
#[derive(Clone, Debug)]
pub(super) struct Join {
    /// Fleet Servers; empty when none was named.
    pub(super) urls: Vec<String>,
    /// The enrollment token, if there is one.
    pub(super) token: Option<Secret>,
    ca_fingerprint: Option<String>,
    timeout: Option<Duration>,
    /// How long a Fleet Server under this agent may take to start; `None`: without end.
    pub(super) server_timeout: Option<Duration>,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) proxy_headers: BTreeMap<String, String>,
    pub(super) flags: JoinArguments,
}

impl Join {
    /// Checks the flags against each other and the rules.
    pub(super) fn check(flags: &JoinArguments) -> Result<Self> {
        check_paths(flags)?;
        check_certificates(flags)?;
        check_fleet_server(flags)?;
        let mut join = Self {
            urls: flags.url.iter().cloned().collect(),
            token: flags.enrollment_token.as_deref().map(Secret::from),
            ca_fingerprint: None,
            timeout: timeout("--enroll-timeout", flags.enroll_timeout.as_deref(), DEFAULT_TIMEOUT)?,
            server_timeout: timeout(
                "--fleet-server-timeout",
                flags.fleet_server_timeout.as_deref(),
                DEFAULT_SERVER_TIMEOUT,
            )?,
            headers: headers("--header", &flags.header)?,
            proxy_headers: headers("--proxy-header", &flags.proxy_header)?,
            flags: flags.clone(),
        };
        if let Some(text) = &flags.join {
            let parsed = JoinString::parse(text)?;
            join.urls = parsed.urls;
            join.token = Some(parsed.enrollment_token);
            join.ca_fingerprint = parsed.ca_fingerprint;
        }
        for url in &join.urls {
            if url.starts_with("http://") && !join.insecure() {
                bail!("`{url}`: the connection is insecure, override with --insecure");
            }
        }
        ensure!(
            flags.staging.as_ref().is_none_or(|hash| hash.len() >= 8),
            "invalid staging build hash: it has at least 8 characters"
        );
        Ok(join)
    }

    pub(super) fn insecure(&self) -> bool {
        self.flags.insecure == Some(true) || self.flags.fleet_server.fleet_server_insecure_http == Some(true)
    }

    /// The agent's options.
    ///
    /// # Errors
    /// No URL or no token was given.
    pub(super) fn options(&self, paths: Paths) -> Result<EnrollOptions> {
        let Some(token) = self.token.clone() else {
            return Err(Hint::error(
                "no enrollment token",
                "pass --enrollment-token, or --join with the string that the console shows",
            ));
        };
        if self.urls.is_empty() {
            return Err(Hint::error(
                "no Fleet Server URL",
                "pass --url, or --join with the string that the console shows",
            ));
        }
        Ok(EnrollOptions {
            ca_fingerprint: self
                .ca_fingerprint
                .clone()
                .filter(|_| self.flags.certificate_authorities.is_none()),
            ..self.options_at(paths, self.connection(), token, None)
        })
    }

    /// The agent's options for a server that is already chosen: one of the fleet, or the one under this agent.
    pub(super) fn options_at(
        &self,
        paths: Paths,
        connection: ConnectionSettings,
        enrollment_token: Secret,
        server: Option<Value>,
    ) -> EnrollOptions {
        EnrollOptions {
            paths,
            connection,
            enrollment_token,
            ca_fingerprint: None,
            insecure: self.insecure(),
            id: self.flags.id.clone(),
            replace_token: self.flags.replace_token.as_deref().map(Secret::from),
            tags: self.flags.tag.clone(),
            timeout: self.timeout,
            server,
            build: super::build(),
            clock: clock::system(),
        }
    }

    /// Whether a Fleet Server is to run under this agent.
    pub(super) fn has_fleet_server(&self) -> bool {
        self.flags.fleet_server.fleet_server_es.is_some()
    }

    fn connection(&self) -> ConnectionSettings {
        let flags = &self.flags;
        let proxy = flags.proxy_url.as_deref().map(|url| ProxySettings {
            url: Secret::from(url),
            headers: self.proxy_headers.clone(),
        });
        ConnectionSettings {
            hosts: self.urls.clone(),
            ssl: self.ssl(),
            proxy_disable: flags.proxy_disabled == Some(true),
            proxy,
            headers: self.headers.clone(),
        }
    }

    pub(super) fn ssl(&self) -> Map<String, Value> {
        let flags = &self.flags;
        let mut ssl = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                ssl.insert(key.to_owned(), value);
            }
        };
        let list = |text: &String| {
            json!(
                text.split(',')
                    .map(str::trim)
                    .filter(|part| !part.is_empty())
                    .collect::<Vec<_>>()
            )
        };
        put(
            "certificate_authorities",
            flags.certificate_authorities.as_ref().map(list),
        );
        put("ca_sha256", flags.ca_sha256.as_ref().map(list));
        put("certificate", flags.elastic_agent_cert.as_ref().map(|path| json!(path)));
        put("key", flags.elastic_agent_cert_key.as_ref().map(|path| json!(path)));
        put(
            "key_passphrase_path",
            flags.elastic_agent_cert_key_passphrase.as_ref().map(|path| json!(path)),
        );
        put(
            "verification_mode",
            (flags.insecure == Some(true)).then(|| json!("none")),
        );
        ssl
    }
}

/// Every file must be named absolutely, each entry of a list; an inline PEM is no path and passes.
fn check_paths(flags: &JoinArguments) -> Result<()> {
    let server = &flags.fleet_server;
    let named = [
        ("--certificate-authorities", &flags.certificate_authorities),
        ("--elastic-agent-cert", &flags.elastic_agent_cert),
        ("--elastic-agent-cert-key", &flags.elastic_agent_cert_key),
        (
            "--elastic-agent-cert-key-passphrase",
            &flags.elastic_agent_cert_key_passphrase,
        ),
        ("--fleet-server-es-ca", &server.fleet_server_es_ca),
        ("--fleet-server-es-cert", &server.fleet_server_es_cert),
        ("--fleet-server-es-cert-key", &server.fleet_server_es_cert_key),
        (
            "--fleet-server-es-cert-key-passphrase",
            &server.fleet_server_es_cert_key_passphrase,
        ),
        (
            "--fleet-server-service-token-path",
            &server.fleet_server_service_token_path,
        ),
        ("--fleet-server-cert", &server.fleet_server_cert),
        ("--fleet-server-cert-key", &server.fleet_server_cert_key),
        (
            "--fleet-server-cert-key-passphrase",
            &server.fleet_server_cert_key_passphrase,
        ),
    ];
    for (flag, value) in named {
        let Some(value) = value else { continue };
        if value.contains("-----BEGIN ") {
            continue;
        }
        for path in value.split(',').map(str::trim) {
            ensure!(
                path.starts_with('/'),
                "{flag} must be provided as an absolute path, and `{path}` is not one"
            );
        }
    }
    Ok(())
}

fn check_certificates(flags: &JoinArguments) -> Result<()> {
    let pair = (&flags.elastic_agent_cert, &flags.elastic_agent_cert_key);
    ensure!(
        flags.elastic_agent_cert_key_passphrase.is_none() || matches!(pair, (Some(_), Some(_))),
        "--elastic-agent-cert and --elastic-agent-cert-key must both be provided when using --elastic-agent-cert-key-passphrase"
    );
    ensure!(
        pair.0.is_some() == pair.1.is_some(),
        "--elastic-agent-cert and --elastic-agent-cert-key must be provided together: certificate and key paths must be non-empty"
    );
    Ok(())
}

fn check_fleet_server(flags: &JoinArguments) -> Result<()> {
    let server = &flags.fleet_server;
    if let Some(mode) = &server.fleet_server_client_auth {
        ensure!(
            matches!(mode.as_str(), "none" | "optional" | "required"),
            "--fleet-server-client-auth must be one of [none, optional, required], not `{mode}`"
        );
    }
    ensure!(
        server.fleet_server_service_token.is_none() || server.fleet_server_service_token_path.is_none(),
        "--fleet-server-service-token and --fleet-server-service-token-path are mutually exclusive"
    );
    match (&server.fleet_server_cert, &server.fleet_server_cert_key) {
        (Some(_), None) => bail!("--fleet-server-cert-key is required when --fleet-server-cert is provided"),
        (None, Some(_)) => bail!("--fleet-server-cert is required when --fleet-server-cert-key is provided"),
        (Some(_), Some(_)) => {
            ensure!(
                flags.url.is_some() || flags.join.is_some(),
                "--url is required when a certificate is provided"
            );
        }
        (None, None) => {}
    }
    ensure!(
        server.fleet_server_es_cert.is_some() == server.fleet_server_es_cert_key.is_some(),
        "--fleet-server-es-cert and --fleet-server-es-cert-key must be provided together"
    );
    check_elasticsearch(server)?;
    ensure!(
        flags.delay_enroll != Some(true) || (server.fleet_server_es.is_none() && server.fleet_server_host.is_none()),
        "--delay-enroll cannot be used with --fleet-server-es or --fleet-server-host"
    );
    Ok(())
}

fn check_elasticsearch(server: &FleetServerArguments) -> Result<()> {
    let Some(text) = &server.fleet_server_es else {
        return Ok(());
    };
    let url = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some());
    ensure!(
        url.is_some(),
        "invalid connection string: --fleet-server-es must be an http or https URL with a host"
    );
    let has_token = server.fleet_server_service_token.is_some() || server.fleet_server_service_token_path.is_some();
    let has_user = url.is_some_and(|url| url.password().is_some());
    ensure!(
        has_token || has_user || server.fleet_server_es_cert.is_some(),
        "invalid connection string: --fleet-server-es needs --fleet-server-service-token or --fleet-server-service-token-path (OpenSearch, which has none: https://USER:PASSWORD@HOST, or --fleet-server-es-cert)"
    );
    Ok(())
}

fn headers(flag: &str, pairs: &[String]) -> Result<BTreeMap<String, String>> {
    pairs
        .iter()
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.trim().to_owned())),
            _ => bail!("{flag} must be `name=value`, and `{pair}` is not"),
        })
        .collect()
}

/// A Go duration; negative means without end, zero the default.
fn timeout(flag: &str, text: Option<&str>, default: Duration) -> Result<Option<Duration>> {
    let Some(text) = text else {
        return Ok(Some(default));
    };
    if text.starts_with('-') {
        return Ok(None);
    }
    match settings::parse_duration(text) {
        Some(duration) if duration.is_zero() => Ok(Some(default)),
        Some(duration) => Ok(Some(duration)),
        None => bail!("{flag} must be a duration such as `30s` or `10m`, not `{text}`"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::arguments::{Arguments, Command};
    use super::*;

    fn check(flags: &[&str]) -> Result<Join, String> {
        let arguments = ["elastic-agent", "enroll"].iter().chain(flags);
        let parsed = Arguments::try_parse_from(arguments).map_err(|error| error.to_string())?;
        let Some(Command::Enroll(enroll)) = parsed.command else {
            return Err("not enroll".to_owned());
        };
        Join::check(&enroll.join).map_err(|error| error.to_string())
    }

    fn error(flags: &[&str], expected: &str) {
        let error = check(flags).expect_err("these flags must be refused");
        assert!(error.contains(expected), "{flags:?}: {error}");
    }

    /// The commands of the documentation, as they stand there.
    #[test]
    fn documented_commands_work_unchanged() {
        let documented = [
            "elastic-agent install --url=https://192.0.2.1:8220 --fleet-server-es=https://192.0.2.0:9200 \
             --fleet-server-service-token=AAEBAWVsYXm0aWMvZmxlZXQtc2XydmVyL3Rva2VuLTE2MjM4OTAztDU1OTQ6dllfVW1mYnFTVjJwTC2ZQ0EtVnVZQQ \
             --fleet-server-policy=fleet-server-policy --fleet-server-es-ca=/path/to/elasticsearch-ca.crt \
             --certificate-authorities=/path/to/ca.crt --fleet-server-cert=/path/to/fleet-server.crt \
             --fleet-server-cert-key=/path/to/fleet-server.key --fleet-server-port=8220 \
             --elastic-agent-cert=/tmp/fleet-server.crt --elastic-agent-cert-key=/tmp/fleet-server.key \
             --elastic-agent-cert-key-passphrase=/tmp/fleet-server/passphrase-file \
             --fleet-server-es-cert=/tmp/fleet-server.crt --fleet-server-es-cert-key=/tmp/fleet-server.key \
             --fleet-server-client-auth=required",
            "elastic-agent install --url=https://192.0.2.1:8220 --enrollment-token=token --certificate-authorities=/path/to/ca.crt",
            "elastic-agent install --url=https://your-fleet-server.elastic.co:443 --certificate-authorities=/path/to/fleet-ca \
             --fleet-server-es=https://es.elastic.com:443 --fleet-server-es-ca=/path/to/es-ca \
             --fleet-server-cert=/path/to/fleet-cert --fleet-server-cert-key=/path/to/fleet-cert-key \
             --fleet-server-service-token=FLEET-SERVER-SERVICE-TOKEN --fleet-server-policy=FLEET-SERVER-POLICY-ID \
             --fleet-server-port=8220",
            "elastic-agent install --url=https://your-fleet-server.elastic.co:443 \
             --certificate-authorities=/path/to/fleet-ca,/path/to/agent-ca --elastic-agent-cert=/path/to/agent-cert \
             --elastic-agent-cert-key=/path/to/agent-cert-key \
             --elastic-agent-cert-key-passphrase=/path/to/agent-cert-key-passphrase \
             --fleet-server-es=https://es.elastic.com:443 --fleet-server-es-ca=/path/to/es-ca \
             --fleet-server-es-cert=/path/to/fleet-es-cert --fleet-server-es-cert-key=/path/to/fleet-es-cert-key \
             --fleet-server-cert=/path/to/fleet-cert --fleet-server-cert-key=/path/to/fleet-cert-key \
             --fleet-server-client-auth=required --fleet-server-service-token=FLEET-SERVER-SERVICE-TOKEN \
             --fleet-server-policy=FLEET-SERVER-POLICY-ID --fleet-server-port=8220",
        ];
        for line in documented {
            let parsed =
                Arguments::try_parse_from(line.split_whitespace()).unwrap_or_else(|error| panic!("{line}: {error}"));
            let Some(Command::Install(install)) = parsed.command else {
                panic!("not install: {line}");
            };
            let join = Join::check(&install.join).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(join.has_fleet_server(), line.contains("--fleet-server-es="), "{line}");
            assert_eq!(join.urls.len(), 1, "{line}");
        }
    }

    #[test]
    fn each_rule_has_its_error() {
        for flag in [
            "--certificate-authorities",
            "--elastic-agent-cert",
            "--fleet-server-es-ca",
            "--fleet-server-cert",
            "--fleet-server-service-token-path",
        ] {
            error(&[flag, "relative.pem"], "must be provided as an absolute path");
        }
        error(&["-a", "/one.crt,two.crt"], "`two.crt`");
        error(
            &["--elastic-agent-cert-key-passphrase", "/p"],
            "must both be provided when using",
        );
        error(
            &["--elastic-agent-cert", "/c"],
            "certificate and key paths must be non-empty",
        );
        error(
            &["--fleet-server-client-auth", "maybe"],
            "must be one of [none, optional, required]",
        );
        error(
            &[
                "--fleet-server-service-token",
                "t",
                "--fleet-server-service-token-path",
                "/t",
            ],
            "mutually exclusive",
        );
        error(&["--url", "http://fleet:8220"], "override with --insecure");
        error(&["--fleet-server-cert", "/c"], "--fleet-server-cert-key is required");
        error(&["--fleet-server-cert-key", "/k"], "--fleet-server-cert is required");
        error(
            &["--fleet-server-cert", "/c", "--fleet-server-cert-key", "/k"],
            "--url is required",
        );
        error(&["--fleet-server-es-cert", "/c"], "must be provided together");
        error(&["--fleet-server-es", "es:9200"], "invalid connection string");
        error(&["--fleet-server-es", "https://es:9200"], "service-token");
        error(
            &["--delay-enroll", "--fleet-server-host", "0.0.0.0"],
            "cannot be used with",
        );
        error(&["--staging", "abc"], "staging build hash");
        error(&["--header", "novalue"], "--header must be `name=value`");
        error(&["--enroll-timeout", "soon"], "--enroll-timeout must be a duration");
        error(&["--join", "nonsense"], "flotilla1.");
        error(&["--join", "x", "--url", "https://y"], "cannot be used with");
        error(&["--no-such-flag"], "unexpected argument");
    }

    #[test]
    fn flags_become_the_connection() {
        let join = check(&[
            "--url=https://fleet:8220",
            "-t",
            "token",
            "-a",
            "/a.crt,/b.crt",
            "--ca-sha256",
            "pin",
            "--insecure",
            "--proxy-url",
            "http://proxy:3128",
            "--proxy-header",
            "p=q",
            "--header",
            "a=b,c=d",
            "--tag",
            "x,y",
            "--enroll-timeout=-1s",
        ])
        .unwrap();
        let options = join.options(Paths::new("/h", None, None, None)).unwrap();
        assert_eq!(
            options.connection.ssl["certificate_authorities"],
            json!(["/a.crt", "/b.crt"])
        );
        assert_eq!(options.connection.ssl["verification_mode"], "none");
        assert_eq!(options.connection.headers.len(), 2);
        assert_eq!(options.connection.proxy.unwrap().headers["p"], "q");
        assert_eq!((options.tags.len(), options.timeout), (2, None));
    }

    #[test]
    fn inline_pem_is_no_path_and_http_needs_consent() {
        assert!(check(&["-a", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----"]).is_ok());
        assert!(check(&["--url", "http://fleet:8220", "--insecure"]).is_ok());
        assert!(check(&["--url", "http://fleet:8220", "--insecure=false"]).is_err());
    }
}
