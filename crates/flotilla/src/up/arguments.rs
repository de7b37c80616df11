//! `flotilla up`: its flags.

use std::net::IpAddr;

use camino::Utf8PathBuf;

use crate::host_names::HostName;

/// Flags of `up`.
#[derive(Debug, clap::Args)]
pub(crate) struct UpArguments {
    /// Folder that holds everything [default: /var/lib/flotilla for root, else ~/.local/share/flotilla]
    #[arg(long, value_name = "FOLDER", env = "FLOTILLA_DATA_DIR")]
    pub(crate) data_dir: Option<Utf8PathBuf>,

    /// A name or address under which other hosts reach this one; repeatable
    #[arg(long = "host", value_name = "NAME", value_parser = HostName::parse)]
    pub(crate) hosts: Vec<HostName>,

    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0")]
    pub(crate) bind: IpAddr,

    /// Port of the Fleet Server
    #[arg(long, value_name = "PORT", default_value_t = 8220)]
    pub(crate) fleet_server_port: u16,

    /// Port of the Elasticsearch API
    #[arg(long, value_name = "PORT", default_value_t = 9200)]
    pub(crate) elasticsearch_port: u16,

    /// Port of the console
    #[arg(long, value_name = "PORT", default_value_t = 5601)]
    pub(crate) console_port: u16,

    /// Port for Prometheus metrics, plain HTTP on loopback only [default: none]
    #[arg(long, value_name = "PORT")]
    pub(crate) metrics_port: Option<u16>,

    /// Certificate (or chain) that the Fleet Server presents in place of its own
    #[arg(long, value_name = "FILE", requires = "fleet_server_cert_key")]
    pub(crate) fleet_server_cert: Option<Utf8PathBuf>,

    /// Private key of that certificate
    #[arg(long, value_name = "FILE", requires = "fleet_server_cert")]
    pub(crate) fleet_server_cert_key: Option<Utf8PathBuf>,

    /// File with the passphrase of that key
    #[arg(long, value_name = "FILE", requires = "fleet_server_cert_key")]
    pub(crate) fleet_server_cert_key_passphrase: Option<Utf8PathBuf>,

    /// CA file with which agents verify that certificate; repeatable or separated by commas
    #[arg(long, value_name = "FILES", value_delimiter = ',', requires = "fleet_server_cert")]
    pub(crate) certificate_authorities: Vec<Utf8PathBuf>,

    /// CA file whose client certificates log people in to the console: the common name is the user's name, and it must be a
    /// CA for people alone; repeatable or separated by commas [default: none, browsers are not asked for certificates]
    #[arg(long, value_name = "FILES", value_delimiter = ',')]
    pub(crate) console_client_ca: Vec<Utf8PathBuf>,

    /// Do not run an agent on this host
    #[arg(long)]
    pub(crate) no_agent: bool,

    /// Print one line of JSON when ready
    #[arg(long)]
    pub(crate) json: bool,
}
