//! Which console, with whose login, verified by what.
//!
//! The login of a data folder goes only to a console that shows a certificate of the same folder's CA, unless another CA
//! was named along with it.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use camino::{Utf8Path, Utf8PathBuf};
use secret::Secret;
use serde_json::{Map, json};
use tls::SslSettings;
use url::Url;

use super::arguments::ConnectionArguments;
use crate::data_dir::DataDir;
use crate::printer::{self, Hint};

const DEFAULT_URL: &str = "https://localhost:5601";
const PASSWORD_FILE: &str = "secrets/elastic-password";
const AUTHORITY_FILE: &str = "certs/root-ca.crt";

/// A console to talk to.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) url: Url,
    pub(super) ssl: SslSettings,
    /// The `Authorization` header.
    pub(super) authorization: Secret,
}

impl Target {
    /// From flags, environment and data folder, in this order.
    pub(super) fn resolve(arguments: &ConnectionArguments) -> Result<Self> {
        let url = match &arguments.url {
            Some(url) => url.clone(),
            None => Url::parse(DEFAULT_URL).context("the default URL is not one")?,
        };
        if url.scheme() != "https" {
            return Err(Hint::error(
                format!("`{url}` is not encrypted: the login would be readable on the way"),
                "use https",
            ));
        }
        let given = given_login(arguments)?;
        let folder = match &arguments.data_dir {
            Some(folder) => folder.clone(),
            None => DataDir::default_path().unwrap_or_default(),
        };
        let authorization = match given {
            Some(login) => login,
            None => kept_login(&folder)?,
        };
        Ok(Self {
            url,
            ssl: trust(arguments, &folder)?,
            authorization,
        })
    }
}

fn given_login(arguments: &ConnectionArguments) -> Result<Option<Secret>> {
    if let Some(key) = &arguments.api_key {
        // An encoded key has no colon: it is not of that alphabet.
        let encoded = if key.contains(':') {
            STANDARD.encode(key)
        } else {
            key.clone()
        };
        return Ok(Some(Secret::from(format!("ApiKey {encoded}"))));
    }
    let Some(username) = &arguments.username else {
        return Ok(None);
    };
    let password = password(arguments.password_file.as_deref())?;
    Ok(Some(basic(username, &password)))
}

fn password(file: Option<&Utf8Path>) -> Result<Secret> {
    if let Some(file) = file {
        let text = fs_err::read_to_string(file).context("cannot read what `--password-file` names")?;
        return Ok(Secret::from(text.trim_end_matches(['\r', '\n'])));
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the binary, and the variable is documented at --username"
    )]
    if let Ok(password) = std::env::var("FLOTILLA_PASSWORD") {
        return Ok(Secret::from(password));
    }
    printer::question("Password: ");
    let typed = rpassword::read_password().map_err(|error| {
        Hint::error(
            format!("no password was given, and it cannot be asked for: {error}"),
            "use `--password-file` or the variable FLOTILLA_PASSWORD",
        )
    })?;
    Ok(Secret::from(typed))
}

fn basic(username: &str, password: &Secret) -> Secret {
    let encoded = STANDARD.encode(format!("{username}:{}", password.expose()));
    Secret::from(format!("Basic {encoded}"))
}

fn kept_login(folder: &Utf8Path) -> Result<Secret> {
    let path = folder.join(PASSWORD_FILE);
    let text = fs_err::read_to_string(&path).map_err(|error| {
        Hint::error(
            format!("no login was given, and the one of this host cannot be read: {error}"),
            "use `--username` or `--api-key`; on the host that runs `flotilla up`, run this as the same user, or name its folder with `--data-dir`",
        )
    })?;
    Ok(basic("elastic", &Secret::from(text.trim_end_matches(['\r', '\n']))))
}

/// The CA of flags; else that of the data folder; else those of the system.
fn trust(arguments: &ConnectionArguments, folder: &Utf8Path) -> Result<SslSettings> {
    let mut block = Map::new();
    if !arguments.certificate_authorities.is_empty() {
        block.insert(
            "certificate_authorities".to_owned(),
            json!(arguments.certificate_authorities),
        );
    }
    if let Some(fingerprint) = &arguments.ca_trusted_fingerprint {
        block.insert("ca_trusted_fingerprint".to_owned(), json!(fingerprint));
    }
    let kept: Utf8PathBuf = folder.join(AUTHORITY_FILE);
    if block.is_empty() && kept.exists() {
        block.insert("certificate_authorities".to_owned(), json!([kept]));
    }
    SslSettings::from_value(&block.into()).map_err(|error| anyhow::anyhow!("{error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Utf8PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
        fs_err::create_dir_all(path.join("secrets")).unwrap();
        fs_err::write(path.join(PASSWORD_FILE), "kept\n").unwrap();
        (folder, path)
    }

    #[test]
    fn the_login_is_that_of_the_flags_or_of_the_folder() {
        let (_guard, folder) = folder();
        let check = |arguments: ConnectionArguments, expected: &str| {
            let arguments = ConnectionArguments {
                data_dir: Some(folder.clone()),
                ..arguments
            };
            assert_eq!(Target::resolve(&arguments).unwrap().authorization.expose(), expected);
        };
        let key = |key: &str| ConnectionArguments {
            api_key: Some(key.to_owned()),
            ..ConnectionArguments::default()
        };
        check(ConnectionArguments::default(), "Basic ZWxhc3RpYzprZXB0");
        check(key("id:key"), "ApiKey aWQ6a2V5");
        check(key("aWQ6a2V5"), "ApiKey aWQ6a2V5");
        let password_file = Some(folder.join(PASSWORD_FILE));
        let named = ConnectionArguments {
            username: Some("jo".to_owned()),
            password_file,
            ..ConnectionArguments::default()
        };
        check(named, "Basic am86a2VwdA==");
    }

    #[test]
    fn no_login_and_no_encryption_are_errors() {
        let refused = |arguments: ConnectionArguments| Target::resolve(&arguments).unwrap_err().to_string();
        let nowhere = ConnectionArguments {
            data_dir: Some("/nonexistent".into()),
            ..ConnectionArguments::default()
        };
        assert!(refused(nowhere).contains("no login"));
        let plain = ConnectionArguments {
            url: Url::parse("http://console:5601").ok(),
            ..ConnectionArguments::default()
        };
        assert!(refused(plain).contains("not encrypted"));
    }
}
