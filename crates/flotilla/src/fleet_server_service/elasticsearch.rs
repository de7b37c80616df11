//! `output.elasticsearch`: the settings of the stock file, as a connection.

use std::sync::Arc;

use access::ApiKeys;
use camino::Utf8Path;
use fleet_server::OutputSettings;
use fs_err as fs;
use remote::{ConnectError, RemoteCredential, RemoteSettings, RemoteStore};
use secret::Secret;
use serde_json::Value;
use store::Store;
use tls::{ClientTls, LoadOptions, Reloader, SslError, SslSettings};
use transport::{HeaderMap, HeaderName, HeaderValue, ProxySettings};
use url::Url;

/// Of hosts that name no port. Source: the stock program.
const DEFAULT_PORT: u16 = 9200;

/// A connection to the Elasticsearch that a Fleet Server stands on.
#[derive(Clone, Debug)]
pub(crate) struct Elasticsearch {
    store: Arc<dyn Store>,
    keys: Arc<dyn ApiKeys>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ElasticsearchError {
    /// A host that is no URL.
    #[error("`output.elasticsearch.hosts`: `{host}` is no host; write it as https://HOST:PORT")]
    Host {
        /// As written.
        host: String,
    },
    /// A header or proxy that cannot be sent or used.
    #[error("`output.elasticsearch.{key}` cannot be used")]
    Value {
        /// The key.
        key: &'static str,
    },
    /// Nothing that says who asks.
    #[error(
        "no credential for Elasticsearch: set `service_token` or `service_token_path`; `username` and `password` or a client certificate (`ssl.certificate`) where the store has no service tokens"
    )]
    NoCredential,
    /// The token's file.
    #[error("cannot read the service token: {0}")]
    TokenFile(#[source] std::io::Error),
    /// The `ssl` block.
    #[error("cannot use `output.elasticsearch.ssl`: {error}{}", hint(error))]
    Ssl {
        /// What is wrong.
        #[source]
        error: SslError,
    },
    /// It was not reached, or refused.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

fn hint(error: &SslError) -> String {
    error.hint().map(|hint| format!("; {hint}")).unwrap_or_default()
}

impl Elasticsearch {
    /// Connects once; certificate files are followed by `reloader` from then on.
    pub(crate) async fn connect(output: &OutputSettings, reloader: &Reloader) -> Result<Self, ElasticsearchError> {
        let remote = connect(output, reloader).await?;
        Ok(Self {
            keys: remote.api_keys(),
            store: remote as Arc<dyn Store>,
        })
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    pub(super) fn keys(&self) -> Arc<dyn ApiKeys> {
        Arc::clone(&self.keys)
    }
}

/// The store that an output names; certificate files are followed by `reloader` from then on.
pub(crate) async fn connect(
    output: &OutputSettings,
    reloader: &Reloader,
) -> Result<Arc<RemoteStore>, ElasticsearchError> {
    let tls = client_tls(output.ssl.as_ref())?;
    reloader.watch(&tls);
    let hosts = output
        .hosts
        .iter()
        .map(|host| host_url(&output.protocol, host))
        .collect::<Result<_, _>>()?;
    Ok(RemoteStore::connect(RemoteSettings {
        hosts,
        path: output.path.clone(),
        tls,
        credential: credential(output)?,
        proxy: proxy(output)?,
        headers: headers("headers", &output.headers)?,
        timeout: output.timeout,
        clock: clock::system(),
    })
    .await?)
}

fn client_tls(ssl: Option<&Value>) -> Result<Arc<ClientTls>, ElasticsearchError> {
    let Some(ssl) = ssl else {
        return Ok(ClientTls::system());
    };
    SslSettings::from_value(ssl)
        .and_then(|settings| ClientTls::load(&settings, LoadOptions::named("output.elasticsearch.ssl")))
        .map_err(|error| ElasticsearchError::Ssl { error })
}

/// A service token, from the settings before a file; else a user; else the client certificate says who asks.
fn credential(output: &OutputSettings) -> Result<RemoteCredential, ElasticsearchError> {
    if let Some(token) = output.service_token.as_ref().filter(|token| !token.expose().is_empty()) {
        return Ok(RemoteCredential::ServiceToken(token.clone()));
    }
    if let Some(path) = &output.service_token_path {
        return token_file(path).map(RemoteCredential::ServiceToken);
    }
    if let (Some(username), Some(password)) = (&output.username, &output.password) {
        return Ok(RemoteCredential::Basic {
            username: username.clone(),
            password: password.clone(),
        });
    }
    let has_certificate = output.ssl.as_ref().is_some_and(|ssl| ssl.get("certificate").is_some());
    has_certificate
        .then_some(RemoteCredential::ClientCertificate)
        .ok_or(ElasticsearchError::NoCredential)
}

/// A file may end in a line break.
fn token_file(path: &Utf8Path) -> Result<Secret, ElasticsearchError> {
    let text = fs::read_to_string(path).map_err(ElasticsearchError::TokenFile)?;
    match text.trim() {
        "" => Err(ElasticsearchError::NoCredential),
        token => Ok(Secret::from(token)),
    }
}

/// `None`: what the environment says.
fn proxy(output: &OutputSettings) -> Result<Option<ProxySettings>, ElasticsearchError> {
    if output.proxy_disable {
        return Ok(Some(ProxySettings::disabled()));
    }
    let Some(text) = output.proxy_url.as_deref().filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    Ok(Some(ProxySettings {
        headers: headers("proxy_headers", &output.proxy_headers)?,
        ..ProxySettings::from_url(text).map_err(|_| ElasticsearchError::Value { key: "proxy_url" })?
    }))
}

fn headers(key: &'static str, pairs: &[(String, String)]) -> Result<HeaderMap, ElasticsearchError> {
    let header = |(name, value): &(String, String)| {
        let name = HeaderName::try_from(name.as_str()).ok()?;
        Some((name, HeaderValue::try_from(value.as_str()).ok()?))
    };
    pairs
        .iter()
        .map(|pair| header(pair).ok_or(ElasticsearchError::Value { key }))
        .collect()
}

/// `host`, `host:port` or a URL. A port that is written counts even when it is the scheme's own.
pub(super) fn host_url(protocol: &str, host: &str) -> Result<Url, ElasticsearchError> {
    let wrong = || ElasticsearchError::Host { host: host.to_owned() };
    let text = if host.contains("://") {
        host.to_owned()
    } else {
        format!("{protocol}://{host}")
    };
    let mut url = Url::parse(&text).map_err(|_| wrong())?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(wrong());
    }
    if !names_port(&text) {
        url.set_port(Some(DEFAULT_PORT)).map_err(|()| wrong())?;
    }
    Ok(url)
}

fn names_port(url: &str) -> bool {
    let host = written_host(url);
    // The colons of an IPv6 address stand in brackets.
    host.rsplit_once(']').map_or(host, |(_, rest)| rest).contains(':')
}

/// Host and port of a URL as they are written: `Url` drops a port that is the scheme's own.
pub(crate) fn written_host(url: &str) -> &str {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_become_urls() {
        let check = |host: &str, expected: &str| {
            assert_eq!(host_url("https", host).unwrap().as_str(), expected, "{host}");
        };
        check("es", "https://es:9200/");
        check("es:9243", "https://es:9243/");
        check("es:443", "https://es/");
        check("https://es.example:443", "https://es.example/");
        check("http://es/path", "http://es:9200/path");
        check("[::1]", "https://[::1]:9200/");
        check("[::1]:443", "https://[::1]/");
        for wrong in ["", "ftp://es", "https://", "a b"] {
            assert!(host_url("https", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn who_asks_is_said_in_an_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = camino::Utf8PathBuf::try_from(folder.path().join("token")).unwrap();
        let mut output = OutputSettings::default();
        let token = |output: &OutputSettings| match credential(output) {
            Ok(RemoteCredential::ServiceToken(token)) => token.expose().to_owned(),
            other => panic!("no token: {other:?}"),
        };
        assert!(matches!(credential(&output), Err(ElasticsearchError::NoCredential)));
        output.ssl = Some(serde_json::json!({"certificate": "/c"}));
        assert!(matches!(credential(&output), Ok(RemoteCredential::ClientCertificate)));
        output.username = Some("admin".to_owned());
        output.password = Some(Secret::from("p"));
        assert!(matches!(credential(&output), Ok(RemoteCredential::Basic { .. })));
        output.service_token_path = Some(path.clone());
        assert!(matches!(credential(&output), Err(ElasticsearchError::TokenFile(_))));
        fs_err::write(&path, "from-file\n").unwrap();
        assert_eq!(token(&output), "from-file");
        output.service_token = Some(Secret::from("given"));
        assert_eq!(token(&output), "given");
    }
}
