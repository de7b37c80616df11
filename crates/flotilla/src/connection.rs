//! Whom a command asks over HTTPS, as whom, and verified by what: the same flags and variables for every such command.
//!
//! Without flags it is the `up` of this host: login and CA of its data folder. That login goes only to a server that shows
//! a certificate of the same folder's CA, unless another CA was named along with it.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use camino::{Utf8Path, Utf8PathBuf};
use secret::Secret;
use serde_json::{Map, json};
use tls::SslSettings;

use crate::data_dir::DataDir;
use crate::printer::{self, Hint};

const PASSWORD_FILE: &str = "secrets/elastic-password";
const AUTHORITY_FILE: &str = "certs/root-ca.crt";

/// Login and trust.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArguments {
    /// Data folder of the `up` on this host, from which login and CA are taken when no flag gives them [default: /var/lib/flotilla for root, else ~/.local/share/flotilla]
    #[arg(long, global = true, value_name = "FOLDER", env = "FLOTILLA_DATA_DIR")]
    pub(crate) data_dir: Option<Utf8PathBuf>,
    /// User; the password is asked for, or read from `--password-file` or FLOTILLA_PASSWORD
    #[arg(long, global = true, value_name = "NAME", env = "FLOTILLA_USERNAME")]
    pub(crate) username: Option<String>,
    /// File with the password
    #[arg(long, global = true, value_name = "FILE", alias = "password-path")]
    pub(crate) password_file: Option<Utf8PathBuf>,
    /// API key, `id:key` or encoded; the variable keeps it out of the process list
    #[arg(
        long,
        global = true,
        value_name = "KEY",
        env = "FLOTILLA_API_KEY",
        hide_env_values = true,
        conflicts_with = "username"
    )]
    pub(crate) api_key: Option<String>,
    /// File with the API key
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        alias = "api-key-path",
        conflicts_with_all = ["username", "api_key"]
    )]
    pub(crate) api_key_file: Option<Utf8PathBuf>,
    /// CA files that the server is verified with; repeatable or separated by commas
    #[arg(short = 'a', long, global = true, value_name = "FILES", value_delimiter = ',')]
    pub(crate) certificate_authorities: Vec<String>,
    /// Hex SHA-256 of the CA that the server is verified with
    #[arg(long, global = true, value_name = "SHA256")]
    pub(crate) ca_trusted_fingerprint: Option<String>,
    /// Client certificate, with its chain
    #[arg(long, global = true, value_name = "FILE", requires = "key")]
    pub(crate) certificate: Option<String>,
    /// Key of the client certificate
    #[arg(long, global = true, value_name = "FILE", requires = "certificate")]
    pub(crate) key: Option<String>,
    /// File with the passphrase of that key
    #[arg(long, global = true, value_name = "FILE", requires = "key")]
    pub(crate) key_passphrase_path: Option<Utf8PathBuf>,
}

/// As whom.
#[derive(Debug)]
pub(crate) enum Login {
    /// User and password.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: Secret,
    },
    /// `id:key`.
    ApiKey(Secret),
    /// Whoever the client certificate names.
    ClientCertificate,
}

impl Login {
    /// The `Authorization` header, if this login is one.
    pub(crate) fn authorization(&self) -> Option<Secret> {
        let (scheme, pair) = match self {
            Self::Basic { username, password } => ("Basic", format!("{username}:{}", password.expose())),
            Self::ApiKey(key) => ("ApiKey", key.expose().to_owned()),
            Self::ClientCertificate => return None,
        };
        Some(Secret::from(format!("{scheme} {}", STANDARD.encode(pair))))
    }
}

impl ConnectionArguments {
    /// The data folder that is meant.
    pub(crate) fn folder(&self) -> Result<Utf8PathBuf> {
        match &self.data_dir {
            Some(folder) => Ok(folder.clone()),
            None => DataDir::default_path(),
        }
    }

    /// The login of flags and variables; else that of the data folder.
    pub(crate) fn login(&self) -> Result<Login> {
        match self.given_login()? {
            Some(login) => Ok(login),
            None => kept_login(&self.folder()?),
        }
    }

    /// Whether flags or variables say who asks.
    pub(crate) fn names_login(&self) -> bool {
        self.username.is_some() || self.api_key.is_some() || self.api_key_file.is_some() || self.certificate.is_some()
    }

    fn given_login(&self) -> Result<Option<Login>> {
        if let Some(username) = &self.username {
            let password = self.password()?;
            let username = username.clone();
            return Ok(Some(Login::Basic { username, password }));
        }
        let key = match (&self.api_key, &self.api_key_file) {
            (Some(key), _) => Secret::from(key.as_str()),
            (None, Some(file)) => certs::read_passphrase_file(file, "--api-key-file")?,
            (None, None) => return Ok(self.certificate.is_some().then_some(Login::ClientCertificate)),
        };
        Ok(Some(Login::ApiKey(plain_key(&key)?)))
    }

    fn password(&self) -> Result<Secret> {
        if let Some(file) = &self.password_file {
            return Ok(certs::read_passphrase_file(file, "--password-file")?);
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

    /// What the server is verified with: flags; else `kept`, the CA of the data folder; else the system's roots.
    pub(crate) fn ssl(&self, kept: Option<&Utf8Path>) -> Result<SslSettings> {
        let mut block = Map::new();
        let mut put = |key: &str, value: Option<serde_json::Value>| {
            if let Some(value) = value {
                block.insert(key.to_owned(), value);
            }
        };
        let authorities = &self.certificate_authorities;
        let named = !authorities.is_empty() || self.ca_trusted_fingerprint.is_some();
        put(
            "certificate_authorities",
            match kept.filter(|_| !named) {
                Some(kept) => Some(json!([kept])),
                None => (!authorities.is_empty()).then(|| json!(authorities)),
            },
        );
        let text = |text: &Option<String>| text.as_ref().map(|text| json!(text));
        put("ca_trusted_fingerprint", text(&self.ca_trusted_fingerprint));
        put("certificate", text(&self.certificate));
        put("key", text(&self.key));
        put(
            "key_passphrase_path",
            self.key_passphrase_path.as_ref().map(|path| json!(path)),
        );
        SslSettings::from_value(&block.into()).map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// The CA of the data folder, where there is one.
    pub(crate) fn kept_authority(&self) -> Option<Utf8PathBuf> {
        let path = self.folder().ok()?.join(AUTHORITY_FILE);
        path.exists().then_some(path)
    }
}

fn kept_login(folder: &Utf8Path) -> Result<Login> {
    let path = folder.join(PASSWORD_FILE);
    let password = certs::read_passphrase_file(&path, "--data-dir").map_err(|error| {
        Hint::error(
            format!("no login was given, and the one of this host cannot be read: {error}"),
            "use `--username` or `--api-key`; on the host that runs `flotilla up`, run this as the same user, or name its folder with `--data-dir`",
        )
    })?;
    let username = "elastic".to_owned();
    Ok(Login::Basic { username, password })
}

/// `id:key`, also when it was given in its base64 form. An encoded key has no colon: it is not of that alphabet.
fn plain_key(key: &Secret) -> Result<Secret> {
    let text = key.expose().trim();
    if text.contains(':') {
        return Ok(Secret::from(text));
    }
    let decoded = STANDARD
        .decode(text)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .filter(|pair| pair.contains(':'));
    decoded
        .map(Secret::from)
        .context("the API key is neither `id:key` nor the base64 of that")
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
        let login = |arguments: ConnectionArguments| {
            let arguments = ConnectionArguments {
                data_dir: Some(folder.clone()),
                ..arguments
            };
            arguments.login()
        };
        let check = |arguments: ConnectionArguments, expected: &str| {
            let authorization = login(arguments).unwrap().authorization().unwrap();
            assert_eq!(authorization.expose(), expected);
        };
        let key = |key: &str| ConnectionArguments {
            api_key: Some(key.to_owned()),
            ..ConnectionArguments::default()
        };
        check(ConnectionArguments::default(), "Basic ZWxhc3RpYzprZXB0");
        check(key("id:key"), "ApiKey aWQ6a2V5");
        check(key("aWQ6a2V5"), "ApiKey aWQ6a2V5");
        assert!(login(key("nonsense!")).unwrap_err().to_string().contains("neither"));
        fs_err::write(folder.join("key"), "id:key\n").unwrap();
        let file = ConnectionArguments {
            api_key_file: Some(folder.join("key")),
            ..ConnectionArguments::default()
        };
        check(file, "ApiKey aWQ6a2V5");
        let named = ConnectionArguments {
            username: Some("jo".to_owned()),
            password_file: Some(folder.join(PASSWORD_FILE)),
            ..ConnectionArguments::default()
        };
        check(named, "Basic am86a2VwdA==");
        let certificate = ConnectionArguments {
            certificate: Some("c".to_owned()),
            key: Some("k".to_owned()),
            ..ConnectionArguments::default()
        };
        assert!(login(certificate).unwrap().authorization().is_none());
    }

    #[test]
    fn no_login_is_an_error() {
        let nowhere = ConnectionArguments {
            data_dir: Some("/nonexistent".into()),
            ..ConnectionArguments::default()
        };
        assert!(nowhere.login().unwrap_err().to_string().contains("no login"));
        assert!(nowhere.kept_authority().is_none());
    }

    #[test]
    fn a_named_ca_stands_in_place_of_the_kept_one() {
        let kept = Utf8Path::new("/kept.crt");
        let authorities = |arguments: &ConnectionArguments| {
            let ssl = arguments.ssl(Some(kept)).unwrap();
            format!("{:?}", ssl.certificate_authorities)
        };
        assert!(authorities(&ConnectionArguments::default()).contains("/kept.crt"));
        let named = ConnectionArguments {
            certificate_authorities: vec!["/other.crt".to_owned()],
            ..ConnectionArguments::default()
        };
        let shown = authorities(&named);
        assert!(shown.contains("/other.crt") && !shown.contains("kept"), "{shown}");
        let pinned = ConnectionArguments {
            ca_trusted_fingerprint: Some("00".repeat(32)),
            ..ConnectionArguments::default()
        };
        assert_eq!(authorities(&pinned), "None");
    }
}
