//! `--show-join`: the one line that joins a bare host through this server.

use anyhow::{Context, Result, bail};
use certs::PemSource;
use protocol::JoinString;
use rustls::pki_types::CertificateDer;
use serde_json::Value;
use store::Store;
use tls::SslSettings;

use crate::bare_host;
use crate::fleet_server_service::enrollment_token;
use crate::printer::Hint;

/// The line for `url`; it holds a token of `policy`, or of any policy that is not the Fleet Server's own.
pub(super) async fn of(url: &url::Url, policy: Option<&str>, ssl: Option<&Value>, store: &dyn Store) -> Result<String> {
    let chain = chain(ssl)?;
    let [leaf, .., authority] = chain.as_slice() else {
        return Err(Hint::error(
            "`--show-join`: `server.ssl.certificate` holds the server's certificate alone",
            "append its CA's certificate to the file: a bare host knows the CA by its fingerprint only, so the server must show it",
        ));
    };
    let token = match policy {
        Some(policy) => enrollment_token::of_policy(store, policy).await?,
        None => enrollment_token::of_agents(store).await?,
    };
    let join = JoinString {
        urls: vec![url.as_str().trim_end_matches('/').to_owned()],
        enrollment_token: token,
        ca_fingerprint: Some(certs::fingerprint(authority).to_string()),
    };
    Ok(bare_host::command(std::slice::from_ref(leaf), &join))
}

fn chain(ssl: Option<&Value>) -> Result<Vec<CertificateDer<'static>>> {
    let settings = ssl.map(SslSettings::from_value).transpose()?.unwrap_or_default();
    let Some(source) = settings.certificate.filter(|_| settings.enabled) else {
        bail!("`--show-join` needs a server with `server.ssl.certificate`: a bare host checks it by its key");
    };
    let setting = match &source {
        PemSource::Path(path) => format!("server.ssl.certificate ({path})"),
        PemSource::Inline(_) => "server.ssl.certificate".to_owned(),
    };
    certs::load_certificates(&source, &setting).context("cannot make the line of `--show-join`")
}
