//! The command line below `flotilla tls`.

use std::net::SocketAddr;
use std::time::Duration;

use camino::Utf8PathBuf;
use clap::{Args, Subcommand};

/// Tries out and explains TLS settings and certificate files.
#[derive(Debug, Args)]
pub(crate) struct TlsArguments {
    #[command(subcommand)]
    pub(super) command: TlsCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum TlsCommand {
    /// Connect as a client with these settings and tell what happens.
    Check(Box<CheckArguments>),
    /// Accept connections as a server with these settings, one at a time, and tell what happens.
    Serve(ServeArguments),
    /// Show certificates, keys and PKCS#12 bundles; never anything secret.
    Show(ShowArguments),
}

#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    /// Where to connect, such as https://fleet.example:8220/
    pub(super) url: String,
    /// A YAML file with one `ssl` block, nested or dotted. Flags win over it.
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<Utf8PathBuf>,
    /// CA certificates to trust, in place of the system's.
    #[arg(long, short = 'a', value_name = "FILE,..", value_delimiter = ',')]
    pub(super) certificate_authorities: Vec<String>,
    /// SHA-256 of a CA certificate that the server sends along.
    #[arg(long, value_name = "HEX")]
    pub(super) ca_trusted_fingerprint: Option<String>,
    /// Pins: base64 of the SHA-256 of a public key in the verified chain.
    #[arg(long, short = 'p', value_name = "PIN,..", value_delimiter = ',')]
    pub(super) ca_sha256: Vec<String>,
    /// Client certificate, with its chain.
    #[arg(long, value_name = "FILE")]
    pub(super) certificate: Option<String>,
    /// Key of the client certificate.
    #[arg(long, value_name = "FILE")]
    pub(super) key: Option<String>,
    /// File with the passphrase of the key. Without it the variable FLOTILLA_KEY_PASSPHRASE counts, then a question.
    #[arg(long, value_name = "FILE")]
    pub(super) key_passphrase_path: Option<String>,
    /// How the server is verified: full, strict, certificate or none.
    #[arg(long, value_name = "MODE")]
    pub(super) verification_mode: Option<String>,
    /// Dial this address; the URL's host stays the one that is verified.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(super) connect_to: Option<SocketAddr>,
    /// Go through this CONNECT proxy, http:// or https://. Without it HTTPS_PROXY and NO_PROXY count, unless
    /// `--connect-to` is given.
    #[arg(long, value_name = "URL")]
    pub(super) proxy_url: Option<String>,
    /// Go through no proxy, whatever the environment says.
    #[arg(long, conflicts_with = "proxy_url")]
    pub(super) proxy_disabled: bool,
    /// A header for the proxy.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(super) proxy_header: Vec<String>,
    /// How many connections to make; settings are loaded once and follow their files.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) repeat: u32,
    /// The pause between two connections.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    pub(super) interval: Duration,
    /// How long a connection may take.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(super) timeout: Duration,
    /// One line of JSON for each connection.
    #[arg(long)]
    pub(super) json: bool,
    /// With `--json`: also what was configured, presented and agreed on.
    #[arg(long, requires = "json")]
    pub(super) details: bool,
}

#[derive(Debug, Args)]
pub(super) struct ServeArguments {
    /// A YAML file with one `ssl` block, nested or dotted.
    #[arg(long, value_name = "FILE")]
    pub(super) config: Utf8PathBuf,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(super) listen: SocketAddr,
    /// One line of JSON for each connection; with port 0 a first line names the port.
    #[arg(long)]
    pub(super) json: bool,
    /// With `--json`: also what was configured, presented and agreed on.
    #[arg(long, requires = "json")]
    pub(super) details: bool,
}

#[derive(Debug, Args)]
pub(super) struct ShowArguments {
    /// Files in PEM, DER or PKCS#12.
    #[arg(required = true, value_name = "FILE")]
    pub(super) files: Vec<Utf8PathBuf>,
    /// File with the passphrase of keys and bundles. Without it the variable FLOTILLA_KEY_PASSPHRASE counts, then a question.
    #[arg(long, value_name = "FILE")]
    pub(super) passphrase_path: Option<Utf8PathBuf>,
    /// One line of JSON for each certificate and key.
    #[arg(long)]
    pub(super) json: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    settings::parse_duration(text).ok_or_else(|| "expected a duration such as 500ms, 2s or 1m".to_owned())
}
