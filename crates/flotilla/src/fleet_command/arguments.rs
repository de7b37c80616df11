//! `flotilla fleet`: its flags.

use camino::Utf8PathBuf;
use clap::{Args, Subcommand};
use http::Method;
use url::Url;

use super::body::BodyArguments;
use crate::connection::ConnectionArguments;

/// Flags and commands of `fleet`.
#[derive(Debug, Args)]
pub(crate) struct FleetArguments {
    #[command(flatten)]
    pub(super) console: ConsoleArguments,
    #[command(subcommand)]
    pub(super) command: FleetCommand,
}

/// Where the console is and who asks.
#[derive(Debug, Default, Args)]
pub(crate) struct ConsoleArguments {
    /// URL of the console [default: https://localhost:5601]
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "FLOTILLA_CONSOLE_URL",
        help_heading = "Connection"
    )]
    pub(super) url: Option<Url>,
    /// Print the API's answer
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) connection: ConnectionArguments,
}

#[derive(Debug, Subcommand)]
pub(super) enum FleetCommand {
    /// How many agents are how
    Status,
    /// Agents: list, show, reassign, upgrade, tags, unenroll, ..
    Agents {
        #[command(subcommand)]
        command: AgentsCommand,
    },
    /// Agent policies
    Policies {
        #[command(subcommand)]
        command: PoliciesCommand,
    },
    /// Outputs: where agents send data
    Outputs {
        #[command(subcommand)]
        command: ObjectCommand,
    },
    /// Fleet Server hosts: where agents check in
    Hosts {
        #[command(subcommand)]
        command: ObjectCommand,
    },
    /// Proxies between agents, Fleet Server and outputs
    Proxies {
        #[command(subcommand)]
        command: ObjectCommand,
    },
    /// Where agents get new versions from
    DownloadSources {
        #[command(subcommand)]
        command: ObjectCommand,
    },
    /// Integrations (package policies)
    Integrations {
        #[command(subcommand)]
        command: ObjectCommand,
    },
    /// Enrollment tokens
    Tokens {
        #[command(subcommand)]
        command: TokensCommand,
    },
    /// Uninstall tokens of protected agents
    UninstallTokens {
        #[command(subcommand)]
        command: UninstallTokensCommand,
    },
    /// Make a token for a Fleet Server
    ServiceToken,
    /// Integration packages
    Packages {
        #[command(subcommand)]
        command: PackagesCommand,
    },
    /// Data streams that agents write
    DataStreams,
    /// The newest changes, by whom
    Audit,
    /// Any request to the API
    Api(ApiArguments),
}

/// Which agents: by id, or all that a query matches.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Selection {
    /// Ids of agents
    #[arg(value_name = "AGENT")]
    pub(super) ids: Vec<String>,
    /// All agents that match, in Kibana's query language: `status:offline and tags:web`
    #[arg(short = 'k', long, value_name = "QUERY")]
    pub(super) kuery: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum AgentsCommand {
    /// List agents
    List {
        /// Only those that match, in Kibana's query language: `status:offline and tags:web`
        #[arg(short = 'k', long, value_name = "QUERY")]
        kuery: Option<String>,
        /// Inactive and unenrolled ones too
        #[arg(long)]
        all: bool,
        /// At most this many, 10,000 or less
        #[arg(long, value_name = "NUMBER", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Show one agent
    Show {
        /// Its id
        agent: String,
    },
    /// Give agents another policy
    Reassign {
        #[command(flatten)]
        agents: Selection,
        /// Id of the policy
        #[arg(long, value_name = "POLICY")]
        policy: String,
    },
    /// Upgrade agents
    Upgrade {
        #[command(flatten)]
        agents: Selection,
        /// The version to go to
        #[arg(long, value_name = "VERSION")]
        version: String,
        /// Download source to use in place of the policy's
        #[arg(long, value_name = "URL")]
        source_uri: Option<String>,
        /// Also when the version is not newer
        #[arg(long)]
        force: bool,
        /// Spread over this many seconds, 600 or more
        #[arg(long, value_name = "SECONDS")]
        rollout_duration: Option<u32>,
    },
    /// Add and remove tags of agents
    Tags {
        #[command(flatten)]
        agents: Selection,
        /// A tag to add; repeatable
        #[arg(long, value_name = "TAG")]
        add: Vec<String>,
        /// A tag to remove; repeatable
        #[arg(long, value_name = "TAG")]
        remove: Vec<String>,
    },
    /// Let agents go
    Unenroll {
        #[command(flatten)]
        agents: Selection,
        /// Take their keys away at once, without waiting for them
        #[arg(long)]
        revoke: bool,
        /// Also agents of hosted policies
        #[arg(long)]
        force: bool,
    },
    /// Ask agents for diagnostics
    Diagnostics {
        #[command(flatten)]
        agents: Selection,
    },
    /// Move agents to another fleet
    Migrate {
        #[command(flatten)]
        agents: Selection,
        /// Fleet Server of the other fleet
        #[arg(long, value_name = "URL")]
        target: String,
        /// File with an enrollment token of the other fleet
        #[arg(long, value_name = "FILE")]
        token_file: Utf8PathBuf,
    },
    /// Forget one agent that is gone
    Delete {
        /// Its id
        agent: String,
    },
    /// What was asked of agents, and how far it is
    Actions,
    /// Take an action back
    Cancel {
        /// Its id
        action: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum PoliciesCommand {
    /// List agent policies
    List,
    /// Show one policy
    Show {
        /// Its id
        policy: String,
        /// What its agents get, instead
        #[arg(long)]
        full: bool,
    },
    /// Make a policy
    Create {
        /// Its name
        #[arg(long)]
        name: Option<String>,
        /// Namespace of its data streams
        #[arg(long, default_value = "default")]
        namespace: String,
        /// With the System integration
        #[arg(long)]
        with_system: bool,
        #[command(flatten)]
        body: BodyArguments,
    },
    /// Change a policy; what is not named keeps its value
    Update {
        /// Its id
        policy: String,
        #[command(flatten)]
        body: BodyArguments,
    },
    /// Copy a policy with its integrations
    Copy {
        /// Id of the one to copy
        policy: String,
        /// Name of the copy
        #[arg(long)]
        name: String,
    },
    /// Delete a policy
    Delete {
        /// Its id
        policy: String,
        /// Also when it is hosted
        #[arg(long)]
        force: bool,
    },
}

/// What all kinds of objects share.
#[derive(Debug, Subcommand)]
pub(super) enum ObjectCommand {
    /// List all
    List,
    /// Show one
    Show {
        /// Its id
        id: String,
    },
    /// Make one
    Create {
        /// Its name
        #[arg(long)]
        name: Option<String>,
        /// Type; only for outputs: elasticsearch, remote_elasticsearch, logstash or kafka
        #[arg(long = "type", value_name = "TYPE")]
        object_type: Option<String>,
        /// URL or host; repeatable where there may be several
        #[arg(long = "host", value_name = "HOST")]
        hosts: Vec<String>,
        /// The one for all that name no other
        #[arg(long)]
        default: bool,
        /// Only check; nothing is saved
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        body: BodyArguments,
    },
    /// Change one
    Update {
        /// Its id
        id: String,
        /// Only check; nothing is saved
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        body: BodyArguments,
    },
    /// Delete one
    Delete {
        /// Its id
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum TokensCommand {
    /// List enrollment tokens
    List,
    /// Show one, with the token itself
    Show {
        /// Its id
        id: String,
    },
    /// Make one; prints the token
    Create {
        /// Id of the policy that its agents get
        #[arg(long, value_name = "POLICY")]
        policy: String,
        /// Its name
        #[arg(long)]
        name: Option<String>,
        /// How long it can be used: `24h`, `7d` [default: for ever]
        #[arg(long, value_name = "DURATION")]
        expiration: Option<String>,
    },
    /// Revoke one; agents that used it stay enrolled
    Delete {
        /// Its id
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum UninstallTokensCommand {
    /// List them, without their values
    List,
    /// Show one, with its value
    Show {
        /// Its id
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum PackagesCommand {
    /// List packages
    List,
    /// Show one
    Show {
        /// Its name, or `name/version`
        package: String,
    },
    /// Install one that the console has, or upload its zip file
    Install {
        /// `name`, `name/version`, or the path of a `.zip`
        package: String,
    },
    /// Remove one
    Delete {
        /// `name/version`
        package: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct ApiArguments {
    /// GET, POST, PUT or DELETE
    pub(super) method: Method,
    /// Path and query, `/api/fleet/..`
    #[arg(value_parser = api_path)]
    pub(super) path: String,
    #[command(flatten)]
    pub(super) body: BodyArguments,
}

fn api_path(text: &str) -> Result<String, String> {
    if text.starts_with('/') && !text.starts_with("//") {
        Ok(text.to_owned())
    } else {
        Err("a path starts with one `/`, as `/api/fleet/agents`".to_owned())
    }
}
