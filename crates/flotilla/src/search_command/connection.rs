//! Whom to ask, and as whom.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use remote::{RemoteCredential, RemoteSettings, RemoteStore};
use tls::{ClientTls, LoadOptions};
use transport::HeaderMap;
use url::Url;

use super::arguments::SearchArguments;
use crate::connection::Login;
use crate::printer::Hint;
use crate::store_command::socket::{self, Reply, Request};

const TIMEOUT: Duration = Duration::from_mins(1);

/// Connects to what the flags name, else to the flotilla of the data folder. Nothing is made there.
pub(super) async fn open(arguments: &SearchArguments) -> Result<Arc<RemoteStore>> {
    let connection = &arguments.connection;
    let (url, kept) = match &arguments.url {
        // The login of the data folder goes to a server of its CA only; whoever logs in by flags may mean any server.
        Some(url) => (
            url.clone(),
            connection.kept_authority().filter(|_| !connection.names_login()),
        ),
        None => own(arguments)?,
    };
    let credential = match connection.login()? {
        Login::Basic { username, password } => RemoteCredential::Basic { username, password },
        Login::ApiKey(key) => RemoteCredential::ApiKey(key),
        Login::ClientCertificate => RemoteCredential::ClientCertificate,
    };
    let ssl = connection.ssl(kept.as_deref())?;
    let settings = RemoteSettings {
        hosts: vec![url],
        path: String::new(),
        tls: ClientTls::load(&ssl, LoadOptions::named("search"))?,
        credential,
        proxy: None,
        headers: HeaderMap::new(),
        timeout: TIMEOUT,
        clock: clock::system(),
    };
    Ok(RemoteStore::connect_to_read(settings).await?)
}

/// The API of the flotilla that runs on the data folder, and the CA that it shows.
fn own(arguments: &SearchArguments) -> Result<(Url, Option<camino::Utf8PathBuf>)> {
    let root = arguments.connection.folder()?;
    let Some(Reply::Elasticsearch(endpoint)) = socket::ask(&root, &Request::Where)? else {
        return Err(Hint::error(
            format!("no flotilla runs on `{root}`"),
            "start one with `flotilla up`, name its folder with `--data-dir`, or ask another with `--url`",
        ));
    };
    Ok((endpoint.url, Some(endpoint.certificate_authority)))
}
