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

    /// Print the one line with which a bare host joins through this URL; the line holds an enrollment token
    #[arg(long, value_name = "URL")]
    pub(crate) show_join: Option<url::Url>,

    /// Policy whose token is in that line [default: that of the oldest token of agents]
    #[arg(long, value_name = "POLICY", requires = "show_join")]
    pub(crate) join_policy: Option<String>,

    /// Folder with programs for hosts of other architectures, `flotilla-linux-<architecture>`, handed out at `/install`
    #[arg(long, value_name = "FOLDER")]
    pub(crate) programs: Option<Utf8PathBuf>,
}
