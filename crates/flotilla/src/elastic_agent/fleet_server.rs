//! The first step of a Fleet Server under this agent: `enroll` and `install` with `--fleet-server-es`.
//!
//! The new server runs for a moment in this process, on the local listener only; this host enrols through it over the real
//! protocol, and what the agent needs to run the same server from then on is stored with the enrolment. Order and names of
//! the stored keys: the original's.

mod certificates;

use std::time::{Duration, Instant};

use agent::connection::ConnectionSettings;
use agent::control::{Client, Command};
use agent::{Enrolled, Paths};
use anyhow::{Context, Result, ensure};
use fleet_server::FleetServerSettings;
use protocol::ServerStatus;
use secret::Secret;
use serde_json::{Map, Value, json};
use tls::Reloader;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::join::Join;
use crate::fleet_server_component::{INTERNAL_HOST, internal_ssl, settings_from};
use crate::fleet_server_service::{Elasticsearch, Listening, Service, enrollment_token, written_host};
use crate::printer::{self, Hint};
use crate::version;
use certificates::Certificates;

const PORT: u16 = 8220;
const INTERNAL_PORT: u16 = 8221;
const LOOK: Duration = Duration::from_millis(20);

/// Starts the server, enrols through it, stops it. The agent runs it from then on.
pub(super) async fn enroll(join: &Join, paths: Paths) -> Result<Enrolled> {
    let certificates = Certificates::of(join)?;
    let mut server = server_block(join, &certificates)?;
    let settings = settings(&server)?;
    check_listener(&settings, &paths).await?;
    let internal = internal_listener(&settings).await?;
    server["internal_port"] = json!(internal.address().port());
    let connection = connection(join, &certificates, &internal);

    let patience = Patience::new(join.server_timeout);
    let reloader = Reloader::new();
    let elasticsearch = connect(&settings, &reloader).await?;
    let policy_id = settings.policy_id.clone();
    let service = Service::new(settings, &elasticsearch, vec![internal], reloader).await?;
    let fleet_server = service.server.clone();
    let stop = CancellationToken::new();
    let running = tokio::spawn(service.run(stop.clone()));
    let enrolled = async {
        patience
            .until("the Fleet Server did not become healthy", || {
                fleet_server.status() == ServerStatus::Healthy
            })
            .await?;
        let token = match &join.token {
            Some(token) => token.clone(),
            None => enrollment_token::of_policy(&*elasticsearch.store(), &policy_id).await?,
        };
        let options = join.options_at(paths, connection, token, Some(server));
        super::enroll::enroll(options).await
    }
    .await;
    stop.cancel();
    running.await.context("the Fleet Server of the enrolment ended badly")?;
    let enrolled = enrolled?;
    if certificates.are_made() {
        printer::warning(
            "no --fleet-server-cert: a self-signed certificate was made; other agents cannot verify it and need --insecure",
        );
    }
    Ok(enrolled)
}

/// `fleet.server`, as it is stored. Source: the original's keys.
fn server_block(join: &Join, certificates: &Certificates) -> Result<Value> {
    let flags = &join.flags.fleet_server;
    let host = flags.fleet_server_host.clone().unwrap_or_else(|| {
        let anywhere = if certificates.is_plain() {
            "localhost"
        } else {
            "0.0.0.0"
        };
        anywhere.to_owned()
    });
    let mut server = json!({
        "bootstrap": false,
        "host": host,
        "port": flags.fleet_server_port.unwrap_or(PORT),
        "internal_port": INTERNAL_PORT,
        "policy": {"id": flags.fleet_server_policy.clone().unwrap_or_default()},
        "output": {"elasticsearch": output_block(join)?},
    });
    if let Some(ssl) = certificates.server_ssl(join) {
        server["ssl"] = ssl;
    }
    Ok(server)
}

fn output_block(join: &Join) -> Result<Value> {
    let flags = &join.flags.fleet_server;
    let text = flags.fleet_server_es.as_deref().unwrap_or_default();
    let url = Url::parse(text).context("invalid connection string: --fleet-server-es")?;
    // A port that is written counts, the scheme's own as well; none at all is 9200.
    let mut output = json!({
        "protocol": url.scheme(),
        "hosts": [written_host(text)],
        "path": url.path().trim_end_matches('/'),
    });
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            output[key] = value;
        }
    };
    put(
        "service_token",
        flags.fleet_server_service_token.as_ref().map(|token| json!(token)),
    );
    put(
        "service_token_path",
        flags.fleet_server_service_token_path.as_ref().map(|path| json!(path)),
    );
    // Of `https://user:password@host`, for stores without service tokens.
    put("username", user_info(url.username()));
    put("password", url.password().and_then(user_info));
    put("headers", (!join.headers.is_empty()).then(|| json!(join.headers)));
    put("proxy_url", join.flags.proxy_url.as_ref().map(|url| json!(url)));
    put(
        "proxy_disable",
        (join.flags.proxy_disabled == Some(true)).then(|| json!(true)),
    );
    put(
        "proxy_headers",
        (!join.proxy_headers.is_empty()).then(|| json!(join.proxy_headers)),
    );
    let ssl = output_ssl(join);
    if !ssl.is_empty() {
        output["ssl"] = Value::Object(ssl);
    }
    Ok(output)
}

fn output_ssl(join: &Join) -> Map<String, Value> {
    let flags = &join.flags.fleet_server;
    let one = |text: &Option<String>| text.as_ref().map(|text| json!(text));
    let insecure = flags.fleet_server_es_insecure == Some(true);
    let entries = [
        (
            "certificate_authorities",
            flags.fleet_server_es_ca.as_ref().map(|path| json!([path])),
        ),
        (
            "ca_trusted_fingerprint",
            one(&flags.fleet_server_es_ca_trusted_fingerprint),
        ),
        ("certificate", one(&flags.fleet_server_es_cert)),
        ("key", one(&flags.fleet_server_es_cert_key)),
        ("key_passphrase_path", one(&flags.fleet_server_es_cert_key_passphrase)),
        ("verification_mode", insecure.then(|| json!("none"))),
    ];
    entries
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect()
}

/// A part before the `@`, without its percent signs.
fn user_info(text: &str) -> Option<Value> {
    let pair = format!("x={}", text.replace('+', "%2B"));
    let decoded = url::form_urlencoded::parse(pair.as_bytes()).next()?.1.into_owned();
    (!decoded.is_empty()).then(|| json!(decoded))
}

fn settings(server: &Value) -> Result<FleetServerSettings> {
    let input = json!({"server": server, "policy": server["policy"]});
    settings_from(&input, &server["output"]["elasticsearch"], version::STACK)
}

/// The certificates are loaded and the port is tried now: later, nobody would be looking. A port that the running agent
/// holds is its own.
async fn check_listener(settings: &FleetServerSettings, paths: &Paths) -> Result<()> {
    let listen = &settings.listen;
    match Listening::bind(settings, &listen.host, listen.port, listen.ssl.as_ref()).await {
        Ok(listening) => {
            listening.warnings().iter().for_each(printer::warning);
            Ok(())
        }
        Err(error) if error.downcast_ref::<transport::BindError>().is_some() && agent_runs(paths).await => Ok(()),
        Err(error) => Err(error),
    }
}

async fn agent_runs(paths: &Paths) -> bool {
    Client::new(paths.socket()).ask(&Command::Status).await.is_ok()
}

/// 8221, or any other port of this host when that one is taken.
async fn internal_listener(settings: &FleetServerSettings) -> Result<Listening> {
    let ssl = settings.listen.ssl.as_ref().map(internal_ssl);
    match Listening::bind(settings, INTERNAL_HOST, INTERNAL_PORT, ssl.as_ref()).await {
        Ok(listening) => Ok(listening),
        Err(_) => Listening::bind(settings, INTERNAL_HOST, 0, ssl.as_ref()).await,
    }
}

/// The agent talks to its own server: the chain is verified, the name is not, and no proxy is in between.
fn connection(join: &Join, certificates: &Certificates, internal: &Listening) -> ConnectionSettings {
    let scheme = if internal.is_encrypted() { "https" } else { "http" };
    let mut ssl = join.ssl();
    if !join.insecure() {
        ssl.insert("verification_mode".to_owned(), json!("certificate"));
    }
    certificates.trust(join, &mut ssl);
    ConnectionSettings {
        hosts: vec![format!("{scheme}://localhost:{}", internal.address().port())],
        ssl,
        proxy: None,
        proxy_disable: true,
        headers: join.headers.clone(),
    }
}

/// What is wrong is told at once.
async fn connect(settings: &FleetServerSettings, reloader: &Reloader) -> Result<Elasticsearch> {
    Elasticsearch::connect(&settings.output, reloader)
        .await
        .map_err(|error| {
            Hint::error(
                format!("cannot reach Elasticsearch for the Fleet Server: {error}"),
                "look at --fleet-server-es, --fleet-server-es-ca (or -ca-trusted-fingerprint) and the service token",
            )
        })
}

/// How long the server may take.
#[derive(Clone, Copy, Debug)]
struct Patience {
    until: Option<Instant>,
}

impl Patience {
    fn new(timeout: Option<Duration>) -> Self {
        Self {
            until: timeout.map(|timeout| Instant::now() + timeout),
        }
    }

    fn is_over(self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    async fn until(self, otherwise: &str, mut condition: impl FnMut() -> bool) -> Result<()> {
        while !condition() {
            ensure!(!self.is_over(), "{otherwise} in time (--fleet-server-timeout)");
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }
}

/// A secret that the made key is: it only leaves through the sealed enrolment.
fn exposed(secret: &Secret) -> Value {
    json!(secret.expose())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_of_the_url_is_read_as_written() {
        let check = |url: &str, expected: &str| {
            let url = Url::parse(url).unwrap();
            let pair = (user_info(url.username()), url.password().and_then(user_info));
            assert_eq!(json!(pair).to_string(), expected, "{url}");
        };
        check("https://es:9200", "[null,null]");
        check("https://admin:a%2Bb+c%40d@es:9200", r#"["admin","a+b+c@d"]"#);
    }
}
