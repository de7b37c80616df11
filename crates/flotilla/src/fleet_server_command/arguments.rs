//! `flotilla fleet-server`: its flags.

use camino::Utf8PathBuf;

/// Flags of `fleet-server`.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct FleetServerArguments {
    /// Configuration file [default: fleet-server.yml, which may be missing when the environment says enough]
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub(crate) config: Option<Utf8PathBuf>,

    /// Sets one key over the file, `output.elasticsearch.hosts=https://es:9200`; repeatable
    #[arg(short = 'E', value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}
