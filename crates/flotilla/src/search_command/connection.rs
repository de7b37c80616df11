//! Whom to ask, and as whom.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use camino::Utf8Path;
use remote::{RemoteCredential, RemoteSettings, RemoteStore};
use secret::Secret;
use serde_json::{Map, Value, json};
use tls::{ClientTls, LoadOptions, SslSettings};
use transport::HeaderMap;
use url::Url;

use super::arguments::SearchArguments;
use crate::data_dir::DataDir;
use crate::printer::Hint;
use crate::store_command::socket::{self, Reply, Request};

const TIMEOUT: Duration = Duration::from_mins(1);

/// Connects to what the flags name, else to the flotilla of the data folder. Nothing is made there.
pub(super) async fn open(arguments: &SearchArguments) -> Result<Arc<RemoteStore>> {
    let settings = match &arguments.url {
        Some(url) => named(arguments, url)?,
        None => own(arguments)?,
    };
    Ok(RemoteStore::connect_to_read(settings).await?)
}

fn own(arguments: &SearchArguments) -> Result<RemoteSettings> {
    let root = match &arguments.data_dir {
        Some(root) => root.clone(),
        None => DataDir::default_path()?,
    };
    let Some(Reply::Elasticsearch(endpoint)) = socket::ask(&root, &Request::Where)? else {
        return Err(Hint::error(
            format!("no flotilla runs on `{root}`"),
            "start one with `flotilla up`, name its folder with `--data-dir`, or ask another with `--url`",
        ));
    };
    let block = json!({ "certificate_authorities": [endpoint.certificate_authority] });
    let password = read_secret(&root.join("secrets").join("elastic-password"), "the data folder")?;
    let credential = RemoteCredential::Basic {
        username: "elastic".to_owned(),
        password,
    };
    settings(endpoint.url, &block, credential)
}

fn named(arguments: &SearchArguments, url: &Url) -> Result<RemoteSettings> {
    let mut block = Map::new();
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            block.insert(key.to_owned(), value);
        }
    };
    let authorities = &arguments.certificate_authorities;
    set(
        "certificate_authorities",
        (!authorities.is_empty()).then(|| json!(authorities)),
    );
    set(
        "ca_trusted_fingerprint",
        arguments.ca_trusted_fingerprint.as_ref().map(|text| json!(text)),
    );
    set("certificate", arguments.certificate.as_ref().map(|text| json!(text)));
    set("key", arguments.key.as_ref().map(|text| json!(text)));
    settings(url.clone(), &Value::Object(block), credential(arguments)?)
}

fn credential(arguments: &SearchArguments) -> Result<RemoteCredential> {
    if let Some(username) = &arguments.username {
        let password = match &arguments.password_path {
            Some(path) => read_secret(path, "--password-path")?,
            None => Secret::from(rpassword::prompt_password(format!("Password of {username}: "))?),
        };
        let username = username.clone();
        return Ok(RemoteCredential::Basic { username, password });
    }
    let key = match (&arguments.api_key, &arguments.api_key_path) {
        (Some(key), _) => Secret::from(key.as_str()),
        (None, Some(path)) => read_secret(path, "--api-key-path")?,
        (None, None) if arguments.certificate.is_some() => return Ok(RemoteCredential::ClientCertificate),
        (None, None) => bail!(
            "no credential for `--url`: give `--username`, `--api-key`, `--api-key-path`, or `--certificate` and `--key`"
        ),
    };
    Ok(RemoteCredential::ApiKey(plain_key(&key)?))
}

/// `id:key`, also when it was given in its base64 form.
fn plain_key(key: &Secret) -> Result<Secret> {
    use base64::Engine;
    let text = key.expose().trim();
    if text.contains(':') {
        return Ok(Secret::from(text));
    }
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(text)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .filter(|pair| pair.contains(':'));
    decoded
        .map(Secret::from)
        .context("the API key is neither `id:key` nor the base64 of that")
}

fn settings(url: Url, block: &Value, credential: RemoteCredential) -> Result<RemoteSettings> {
    let ssl = SslSettings::from_value(block)?;
    Ok(RemoteSettings {
        hosts: vec![url],
        path: String::new(),
        tls: ClientTls::load(&ssl, LoadOptions::named("search"))?,
        credential,
        proxy: None,
        headers: HeaderMap::new(),
        timeout: TIMEOUT,
        clock: clock::system(),
    })
}

fn read_secret(path: &Utf8Path, setting: &str) -> Result<Secret> {
    Ok(certs::read_passphrase_file(path, setting)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_in_two_forms() {
        let check = |given: &str, expected: Option<&str>| {
            let key = plain_key(&Secret::from(given)).ok();
            assert_eq!(key.as_ref().map(Secret::expose), expected);
        };
        check("id:key", Some("id:key"));
        check("aWQ6a2V5", Some("id:key"));
        check("nonsense!", None);
    }
}
