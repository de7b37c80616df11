//! The flags. Names, short forms and defaults are the stock program's; texts are ours.

use camino::Utf8PathBuf;
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

/// Enrol this host into a fleet, run the agent, ask how it is.
#[derive(Debug, Parser)]
#[command(name = "elastic-agent", disable_version_flag = true, arg_required_else_help = false)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) common: CommonArguments,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Enrol this host into a fleet
    Enroll(Box<EnrollArguments>),
    /// Copy the agent to its place, register it as a service, start and enrol it
    Install(Box<InstallArguments>),
    /// Stop and remove an installed agent
    Uninstall(UninstallArguments),
    /// Let the installed agent run as root
    Privileged(SwitchArguments),
    /// Let the installed agent run as a user of its own
    Unprivileged(SwitchArguments),
    /// Watch over a new version, and take it back when it does not work
    #[command(hide = true)]
    Watch,
    /// Replace the installed agent by another version
    Upgrade(UpgradeArguments),
    /// Run the agent in the foreground
    Run(RunArguments),
    /// Show the health of the running agent; the exit status is 0 only when it is healthy
    Status(StatusArguments),
    /// Print the effective configuration, secrets masked
    Inspect(InspectArguments),
    /// Write an archive with configuration, health and logs, secrets masked
    Diagnostics(DiagnosticsArguments),
    /// Print the agent's own log
    Logs(LogsArguments),
    /// Make the running agent start over
    Restart,
    /// Print the version of this program and of the running agent
    Version(VersionArguments),
    /// Enrol and run as environment variables say
    #[command(hide = true)]
    Container,
}

/// Flags that every command takes.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct CommonArguments {
    /// Configuration file, relative to --path.config
    #[arg(
        short = 'c',
        long = "config",
        visible_alias = "c",
        global = true,
        default_value = "elastic-agent.yml",
        value_name = "FILE"
    )]
    pub(super) config: Utf8PathBuf,
    /// Top folder of the agent
    #[arg(long = "path.home", global = true, value_name = "DIR")]
    pub(super) home: Option<Utf8PathBuf>,
    /// Folder of configuration and enrolment [default: the top folder]
    #[arg(long = "path.config", global = true, value_name = "DIR")]
    pub(super) config_dir: Option<Utf8PathBuf>,
    /// Folder of the logs [default: the top folder]
    #[arg(long = "path.logs", global = true, value_name = "DIR")]
    pub(super) logs: Option<Utf8PathBuf>,
    /// Folder of downloads; kept for compatibility
    #[arg(long = "path.downloads", global = true, value_name = "DIR", hide = true)]
    pub(super) downloads: Option<Utf8PathBuf>,
    /// Control socket [default: elastic-agent.sock in the top folder]
    #[arg(long = "path.socket", global = true, value_name = "SOCKET")]
    pub(super) socket: Option<String>,
    /// Everything directly in the top folder; always so here
    #[arg(long = "path.home.unversioned", global = true, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(super) unversioned: Option<bool>,
    /// Log to standard error
    #[arg(short = 'e', long = "e", global = true)]
    pub(super) to_stderr: bool,
    /// Log at level info
    #[arg(short = 'v', long = "v", global = true)]
    pub(super) verbose: bool,
    /// Log at level debug for these parts (`*` for all)
    #[arg(short = 'd', long = "d", global = true, value_name = "PARTS")]
    pub(super) debug: Option<String>,
    /// Kind of environment; kept for compatibility
    #[arg(long, global = true, hide = true, value_name = "NAME")]
    pub(super) environment: Option<String>,
}

/// Flags that `enroll` and `install` share.
#[derive(Clone, Debug, Default, Args, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct JoinArguments {
    /// URL of a Fleet Server
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<String>,
    /// Enrollment token
    #[arg(short = 't', long, value_name = "TOKEN")]
    pub(super) enrollment_token: Option<String>,
    /// URLs, enrollment token and CA fingerprint in one string, as the console shows it
    #[arg(long, value_name = "STRING", conflicts_with_all = ["url", "enrollment_token"])]
    pub(super) join: Option<String>,
    /// Wanted agent id
    #[arg(long, value_name = "ID")]
    pub(super) id: Option<String>,
    /// Token with which a later agent may take over the id
    #[arg(long, value_name = "TOKEN")]
    pub(super) replace_token: Option<String>,
    /// Files of the CAs that Fleet Server's certificate is checked against, comma-separated
    #[arg(short = 'a', long, value_name = "FILES", allow_hyphen_values = true)]
    pub(super) certificate_authorities: Option<String>,
    /// Base64 SHA-256 of the public key of a CA that must be in Fleet Server's chain, comma-separated
    #[arg(short = 'p', long, value_name = "PINS")]
    pub(super) ca_sha256: Option<String>,
    /// Client certificate for Fleet Server
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub(super) elastic_agent_cert: Option<String>,
    /// Key of the client certificate
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub(super) elastic_agent_cert_key: Option<String>,
    /// File with the passphrase of that key
    #[arg(long, value_name = "FILE")]
    pub(super) elastic_agent_cert_key_passphrase: Option<String>,
    /// Do not verify Fleet Server and allow http: anyone in between can read and change everything
    #[arg(short = 'i', long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(super) insecure: Option<bool>,
    /// Proxy to Fleet Server
    #[arg(long, value_name = "URL")]
    pub(super) proxy_url: Option<String>,
    /// Ignore proxies, those of the environment included
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(super) proxy_disabled: Option<bool>,
    /// Header of the request to the proxy, `name=value`; repeatable
    #[arg(long, value_name = "HEADER", value_delimiter = ',')]
    pub(super) proxy_header: Vec<String>,
    /// Header of each request to Fleet Server, `name=value`; repeatable
    #[arg(long, value_name = "HEADER", value_delimiter = ',')]
    pub(super) header: Vec<String>,
    /// Tag of this agent; repeatable
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    pub(super) tag: Vec<String>,
    /// Build hash of a staging build
    #[arg(long, value_name = "HASH")]
    pub(super) staging: Option<String>,
    /// Store what is needed and enrol at the first start
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(super) delay_enroll: Option<bool>,
    /// How long to wait for a running agent
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub(super) daemon_timeout: Option<String>,
    /// How long a busy or starting Fleet Server is asked again; negative: without end [default: 10m]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub(super) enroll_timeout: Option<String>,
    /// How long to wait for a Fleet Server that is started here
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub(super) fleet_server_timeout: Option<String>,
    #[command(flatten)]
    pub(super) fleet_server: FleetServerArguments,
    /// Ask nothing, replace what is there
    #[arg(short = 'f', long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(super) force: Option<bool>,
    /// Do not tell a running agent
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(super) skip_daemon_reload: Option<bool>,
    /// Always so here: a change of health is told at once
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(super) checkin_on_state_change: Option<bool>,
}

/// Flags of a Fleet Server that runs under this agent.
#[derive(Clone, Debug, Default, Args, Deserialize, Serialize)]
#[command(next_help_heading = "Fleet Server on this host")]
#[expect(clippy::struct_field_names, reason = "the names are those of the flags")]
#[serde(default)]
pub(super) struct FleetServerArguments {
    /// Elasticsearch URL; its presence starts a Fleet Server here
    #[arg(long, value_name = "URL")]
    pub(super) fleet_server_es: Option<String>,
    /// File of the CA that Elasticsearch is checked against
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub(super) fleet_server_es_ca: Option<String>,
    /// Hex SHA-256 of that CA's certificate
    #[arg(long, value_name = "SHA256")]
    pub(super) fleet_server_es_ca_trusted_fingerprint: Option<String>,
    /// Do not verify Elasticsearch
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(super) fleet_server_es_insecure: Option<bool>,
    /// Client certificate for Elasticsearch
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub(super) fleet_server_es_cert: Option<String>,
    /// Key of that certificate
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub(super) fleet_server_es_cert_key: Option<String>,
    /// File with the passphrase of that key (the stock program has no such flag)
    #[arg(long, value_name = "FILE")]
    pub(super) fleet_server_es_cert_key_passphrase: Option<String>,
    /// Service token for Elasticsearch
    #[arg(long, value_name = "TOKEN")]
    pub(super) fleet_server_service_token: Option<String>,
    /// File with the service token
    #[arg(long, value_name = "FILE")]
    pub(super) fleet_server_service_token_path: Option<String>,
    /// Policy of the Fleet Server
    #[arg(long, value_name = "ID")]
    pub(super) fleet_server_policy: Option<String>,
    /// Address to listen on [default: 0.0.0.0]
    #[arg(long, value_name = "ADDRESS")]
    pub(super) fleet_server_host: Option<String>,
    /// Port to listen on [default: 8220]
    #[arg(long, value_name = "PORT")]
    pub(super) fleet_server_port: Option<u16>,
    /// Certificate of the Fleet Server
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub(super) fleet_server_cert: Option<String>,
    /// Key of that certificate
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub(super) fleet_server_cert_key: Option<String>,
    /// File with the passphrase of that key
    #[arg(long, value_name = "FILE")]
    pub(super) fleet_server_cert_key_passphrase: Option<String>,
    /// Whether agents must show a certificate: none, optional or required [default: none]
    #[arg(long, value_name = "MODE")]
    pub(super) fleet_server_client_auth: Option<String>,
    /// Listen without TLS
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(super) fleet_server_insecure_http: Option<bool>,
}

#[derive(Clone, Debug, Default, Args)]
pub(super) struct EnrollArguments {
    #[command(flatten)]
    pub(super) join: JoinArguments,
    /// Set by `install`
    #[arg(long, hide = true)]
    pub(super) from_install: bool,
    /// Set by `install`
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub(super) from_install_user: Option<i32>,
    /// Set by `install`
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub(super) from_install_group: Option<i32>,
}

#[derive(Clone, Debug, Default, Args)]
pub(super) struct InstallArguments {
    #[command(flatten)]
    pub(super) join: JoinArguments,
    /// Never ask; what is missing is an error
    #[arg(short = 'n', long)]
    pub(super) non_interactive: bool,
    /// Folder to install below, absolute; the agent goes to `<base>/Elastic/Agent`
    #[arg(long, default_value = "/opt", value_name = "DIR")]
    pub(super) base_path: Utf8PathBuf,
    /// Run as the user elastic-agent-user, who is made when missing
    #[arg(long)]
    pub(super) unprivileged: bool,
    /// The bigger flavour with servers; this program is always complete
    #[arg(long)]
    pub(super) install_servers: bool,
    /// Run as this user
    #[arg(long, value_name = "USER")]
    pub(super) user: Option<String>,
    /// Run with this group
    #[arg(long, value_name = "GROUP")]
    pub(super) group: Option<String>,
    /// An installation of its own name beside others
    #[arg(long, hide = true, value_name = "NAME")]
    pub(super) namespace: Option<String>,
    /// The namespace `Development`
    #[arg(long, hide = true)]
    pub(super) develop: bool,
    /// Kept for compatibility
    #[arg(long, hide = true)]
    pub(super) run_uninstall_from_binary: bool,
}

#[derive(Clone, Debug, Default, Args)]
pub(super) struct UninstallArguments {
    /// Ask nothing
    #[arg(short = 'f', long)]
    pub(super) force: bool,
    /// Token of a protected agent
    #[arg(long, value_name = "TOKEN")]
    pub(super) uninstall_token: Option<String>,
    /// Do not tell Fleet
    #[arg(long)]
    pub(super) skip_fleet_audit: bool,
}

#[derive(Clone, Debug, Default, Args)]
pub(super) struct SwitchArguments {
    /// Ask nothing
    #[arg(short = 'f', long)]
    pub(super) force: bool,
    /// Kept for compatibility: the service manager waits for the agent
    #[arg(long, hide = true, value_name = "DURATION", allow_hyphen_values = true)]
    pub(super) daemon_timeout: Option<String>,
    /// The user; only for `unprivileged`
    #[arg(long, value_name = "USER")]
    pub(super) user: Option<String>,
    /// The group; only for `unprivileged`
    #[arg(long, value_name = "GROUP")]
    pub(super) group: Option<String>,
}

#[derive(Clone, Debug, Default, Args)]
pub(super) struct UpgradeArguments {
    /// The version to go to
    #[arg(value_name = "VERSION")]
    pub(super) version: Option<String>,
    /// A folder, a package, or a download site
    #[arg(short = 's', long, value_name = "URI")]
    pub(super) source_uri: Option<String>,
    /// Do not check the package's signature; its SHA-512 is checked in any case
    #[arg(long)]
    pub(super) skip_verify: bool,
    /// Kept for compatibility: this program has no key built in
    #[arg(long, hide = true)]
    pub(super) skip_default_pgp: bool,
    /// A key that may sign, armoured; repeatable
    #[arg(long, value_name = "KEY")]
    pub(super) pgp: Vec<String>,
    /// URL of a key that may sign; repeatable
    #[arg(long, value_name = "URL")]
    pub(super) pgp_uri: Vec<String>,
    /// File of a key that may sign; repeatable
    #[arg(long, value_name = "FILE")]
    pub(super) pgp_path: Vec<Utf8PathBuf>,
    /// Go back to the version before, while the new one is on probation
    #[arg(long)]
    pub(super) rollback: bool,
    /// Also when Fleet manages this agent
    #[arg(short = 'f', long, hide = true)]
    pub(super) force: bool,
}

#[derive(Clone, Debug, Default, Args)]
pub(super) struct RunArguments {
    /// How long to wait for a Fleet Server under this agent
    #[arg(long, value_name = "DURATION")]
    pub(super) fleet_init_timeout: Option<String>,
    /// Kept for compatibility
    #[arg(long, hide = true)]
    pub(super) testing_mode: bool,
    /// Kept for compatibility
    #[arg(long, hide = true)]
    pub(super) develop: bool,
    /// Kept for compatibility
    #[arg(long, hide = true)]
    pub(super) disable_encrypted_store: bool,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(super) enum StatusOutput {
    /// What is not well, as a tree
    #[default]
    Human,
    /// Everything, as a tree
    Full,
    /// For scripts
    Json,
    /// For scripts
    Yaml,
}

#[derive(Clone, Debug, Default, Args)]
pub(super) struct StatusArguments {
    /// What to print
    #[arg(long, value_enum, default_value_t)]
    pub(super) output: StatusOutput,
}

#[derive(Clone, Debug, Default, Args)]
pub(super) struct InspectArguments {
    /// Replace variables; always so for the running agent
    #[arg(long)]
    pub(super) variables: bool,
    /// With the inputs of self-monitoring
    #[arg(long)]
    pub(super) monitoring: bool,
    /// How long to wait for variables
    #[arg(long, value_name = "DURATION")]
    pub(super) variables_wait: Option<String>,
    /// `components` prints what runs instead
    #[arg(value_name = "WHAT")]
    pub(super) what: Option<String>,
}

#[derive(Clone, Debug, Default, Args)]
pub(super) struct DiagnosticsArguments {
    /// Archive to write [default: elastic-agent-diagnostics-<time>.zip]
    #[arg(short = 'f', long, value_name = "FILE")]
    pub(super) file: Option<Utf8PathBuf>,
    /// Kept for compatibility
    #[arg(short = 'p', long, hide = true)]
    pub(super) cpu_profile: bool,
    /// Kept for compatibility
    #[arg(long, hide = true)]
    pub(super) skip_conn: bool,
    /// Kept for compatibility
    #[arg(long, hide = true)]
    pub(super) exclude_events: bool,
}

#[derive(Clone, Debug, Default, Args)]
pub(super) struct LogsArguments {
    /// Go on printing new lines
    #[arg(short = 'f', long)]
    pub(super) follow: bool,
    /// Lines to start with
    #[arg(short = 'n', long, default_value_t = 10, value_name = "LINES")]
    pub(super) number: usize,
    /// Only lines of this component
    #[arg(short = 'C', long, value_name = "COMPONENT")]
    pub(super) component: Option<String>,
    /// Kept for compatibility: lines have no colours
    #[arg(long, hide = true)]
    pub(super) no_color: bool,
    /// Kept for compatibility
    #[arg(long, hide = true)]
    pub(super) exclude_events: bool,
}

#[derive(Clone, Debug, Default, Args)]
pub(super) struct VersionArguments {
    /// Only this program's version
    #[arg(long)]
    pub(super) binary_only: bool,
    /// As YAML
    #[arg(long)]
    pub(super) yaml: bool,
}

impl CommonArguments {
    /// The agent's folders. `environment` is not read: the flags and the place of the program decide.
    pub(super) fn paths(&self) -> agent::Paths {
        let home = self.home.clone().unwrap_or_else(super::install::default_home);
        let absolute = |path: &Utf8PathBuf| camino::absolute_utf8(path).unwrap_or_else(|_| path.clone());
        agent::Paths::new(
            absolute(&home),
            self.config_dir.as_ref().map(absolute),
            self.logs.as_ref().map(absolute),
            self.socket.as_deref(),
        )
    }
}
