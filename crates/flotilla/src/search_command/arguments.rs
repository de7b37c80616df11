//! `flotilla search`: its flags.

use camino::Utf8PathBuf;
use url::Url;

/// Flags of `search`.
#[derive(Debug, clap::Args)]
pub(crate) struct SearchArguments {
    /// What to find, in KQL: `log.level:error and host.name:web*`; nothing finds everything
    #[arg(value_name = "KQL", default_value = "")]
    pub(super) query: String,

    /// Data streams and indices, with `*`; repeatable or separated by commas
    #[arg(
        long,
        short = 'i',
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "logs-*"
    )]
    pub(super) index: Vec<String>,

    /// Not older than: `15m`, `1h`, `7d`, or a time such as 2026-11-25T08:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(super) since: Option<String>,

    /// Not newer than; as `--since`
    #[arg(long, value_name = "TIME", conflicts_with = "follow")]
    pub(super) until: Option<String>,

    /// The newest this many, printed oldest first
    #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub(super) limit: u32,

    /// Go on printing what arrives, until Ctrl-C
    #[arg(long, short = 'f')]
    pub(super) follow: bool,

    /// Print each document as one line of JSON
    #[arg(long)]
    pub(super) json: bool,

    /// Ask this Elasticsearch, OpenSearch or Flotilla in place of the one of the data folder
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<Url>,

    /// Log in there as this user; the password is asked for, or read from `--password-path`
    #[arg(long, value_name = "NAME", requires = "url", conflicts_with = "api_key_path")]
    pub(super) username: Option<String>,

    /// File with the password
    #[arg(long, value_name = "FILE", requires = "username")]
    pub(super) password_path: Option<Utf8PathBuf>,

    /// API key, as `id:key` or its base64 form. Other users of this host can see it: prefer `--api-key-path`
    #[arg(long, value_name = "KEY", requires = "url", conflicts_with = "username")]
    pub(super) api_key: Option<String>,

    /// File with the API key
    #[arg(long, value_name = "FILE", requires = "url", conflicts_with = "api_key")]
    pub(super) api_key_path: Option<Utf8PathBuf>,

    /// CA certificates that verify it, in place of the system's; repeatable or separated by commas
    #[arg(long, short = 'a', value_name = "FILES", value_delimiter = ',', requires = "url")]
    pub(super) certificate_authorities: Vec<String>,

    /// SHA-256 of the CA certificate that it sends along
    #[arg(long, value_name = "HEX", requires = "url")]
    pub(super) ca_trusted_fingerprint: Option<String>,

    /// Client certificate, with its chain
    #[arg(long, value_name = "FILE", requires_all = ["url", "key"])]
    pub(super) certificate: Option<String>,

    /// Key of the client certificate
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub(super) key: Option<String>,

    /// Folder of the installation [default: /var/lib/flotilla for root, else ~/.local/share/flotilla]
    #[arg(long, value_name = "FOLDER", env = "FLOTILLA_DATA_DIR")]
    pub(super) data_dir: Option<Utf8PathBuf>,
}
