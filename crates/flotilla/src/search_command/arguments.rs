//! `flotilla search`: its flags.

use url::Url;

use crate::connection::ConnectionArguments;

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
    #[arg(
        long,
        value_name = "URL",
        env = "FLOTILLA_ELASTICSEARCH_URL",
        help_heading = "Connection"
    )]
    pub(super) url: Option<Url>,

    #[command(flatten)]
    pub(super) connection: ConnectionArguments,
}
