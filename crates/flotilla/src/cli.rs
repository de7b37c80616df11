//! The command line of `flotilla` itself.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::cluster_command::{self, ClusterArguments, Part};
use crate::fleet_command::FleetArguments;
use crate::fleet_server_command::FleetServerArguments;
use crate::search_command::{self, SearchArguments};
use crate::store_command::{self, StoreArguments};
use crate::tls_command::TlsArguments;
use crate::up::UpArguments;
use crate::{certutil_command, elastic_agent, fleet_command, fleet_server_command, printer, tls_command, up};

#[derive(Parser)]
#[command(
    name = "flotilla",
    version,
    about = "A TLS-secured fleet of agents on your own machines, in one program"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything on this host: store, Elasticsearch API, Fleet Server, console and an agent
    Up(Box<UpArguments>),
    /// A Fleet Server alone, on an Elasticsearch, by the stock configuration file and the container image's variables
    FleetServer(FleetServerArguments),
    /// The Elasticsearch API alone, on an OpenSearch cluster
    ElasticsearchApi(ClusterArguments),
    /// The console alone, on an OpenSearch cluster
    Console(ClusterArguments),
    /// Find documents and print them, once or as they arrive
    Search(Box<SearchArguments>),
    /// Check, compact, back up and restore what `flotilla up` keeps
    Store(StoreArguments),
    /// The agent: enroll, install, run, status, .. (the command line of elastic-agent)
    #[command(disable_help_flag = true)]
    Agent(Forwarded),
    /// Look at a fleet and change it: agents, policies, outputs, hosts, tokens, .. (the Fleet API of a console)
    Fleet(Box<FleetArguments>),
    /// Certificate authorities, certificates and requests (the command line of elasticsearch-certutil)
    #[command(disable_help_flag = true)]
    Certutil(Forwarded),
    /// Connect, serve or read files with any `ssl` settings, and learn what is wrong
    Tls(TlsArguments),
}

/// Words for another command line.
#[derive(clap::Args)]
struct Forwarded {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    words: Vec<OsString>,
}

/// Exit status 0 done, 1 failed, 2 wrong command line.
pub(crate) fn run(arguments: Vec<OsString>) -> ExitCode {
    let parsed = match Arguments::try_parse_from(arguments) {
        Ok(parsed) => parsed,
        Err(error) => {
            let _broken_pipe = error.print();
            return exit_code(error.exit_code());
        }
    };
    match parsed.command {
        Command::Up(arguments) => finish(up::run(*arguments)),
        Command::FleetServer(arguments) => finish(fleet_server_command::run(&arguments)),
        Command::ElasticsearchApi(arguments) => finish(cluster_command::run(Part::ElasticsearchApi, &arguments)),
        Command::Console(arguments) => finish(cluster_command::run(Part::Console, &arguments)),
        Command::Search(arguments) => finish(search_command::run(&arguments)),
        Command::Store(arguments) => finish(store_command::run(arguments)),
        Command::Agent(forwarded) => {
            let name = OsString::from("elastic-agent");
            exit_code(elastic_agent::main(
                std::iter::once(name).chain(forwarded.words).collect(),
            ))
        }
        Command::Fleet(arguments) => finish(fleet_command::run(*arguments)),
        Command::Certutil(forwarded) => certutil_command::run(forwarded.words),
        Command::Tls(arguments) => exit_code(tls_command::run(arguments)),
    }
}

/// A status as the operating system takes it.
pub(crate) fn exit_code(status: i32) -> ExitCode {
    ExitCode::from(u8::try_from(status).unwrap_or(1))
}

fn finish(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            printer::error(&error);
            ExitCode::FAILURE
        }
    }
}
