//! `flotilla fleet`: the Fleet API of a console, for terminals and scripts.
//!
//! Each command is one or a few requests to the API on 5601; nothing here knows more than the API tells. On the host that
//! runs `up` the login is taken from the data folder; elsewhere flags or the environment give it. Tables are for people,
//! `--json` prints the API's answer as it came.

mod arguments;

mod connection;
mod session;

mod agents;
mod objects;
mod packages;
mod policies;
mod tokens;

mod body;
mod kind;
mod render;

pub(crate) use arguments::FleetArguments;

use anyhow::{Context, Result};
use http::Method;

use arguments::FleetCommand;
use session::Session;

/// Runs one command.
pub(crate) fn run(arguments: FleetArguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(dispatch(arguments));
    // Name look-ups in progress do not hold up the end.
    runtime.shutdown_background();
    result
}

async fn dispatch(arguments: FleetArguments) -> Result<()> {
    let session = Session::open(&arguments.console)?;
    match arguments.command {
        FleetCommand::Status => status(&session).await,
        FleetCommand::Agents { command } => agents::run(&session, command).await,
        FleetCommand::Policies { command } => policies::run(&session, command).await,
        FleetCommand::Outputs { command } => objects::run(&session, &kind::OUTPUTS, command).await,
        FleetCommand::Hosts { command } => objects::run(&session, &kind::HOSTS, command).await,
        FleetCommand::Proxies { command } => objects::run(&session, &kind::PROXIES, command).await,
        FleetCommand::DownloadSources { command } => objects::run(&session, &kind::DOWNLOAD_SOURCES, command).await,
        FleetCommand::Integrations { command } => objects::run(&session, &kind::INTEGRATIONS, command).await,
        FleetCommand::Tokens { command } => tokens::run(&session, command).await,
        FleetCommand::UninstallTokens { command } => tokens::uninstall(&session, command).await,
        FleetCommand::ServiceToken => tokens::service_token(&session).await,
        FleetCommand::Packages { command } => packages::run(&session, command).await,
        FleetCommand::DataStreams => objects::list(&session, &kind::DATA_STREAMS).await,
        FleetCommand::Audit => objects::list(&session, &kind::AUDIT).await,
        FleetCommand::Api(call) => {
            let body = call.body.read()?;
            let answer = session.call(call.method, &call.path, body.as_ref()).await?;
            render::Printer::json(&answer);
            Ok(())
        }
    }
}

async fn status(session: &Session) -> Result<()> {
    let answer = session.call(Method::GET, "/api/fleet/agent_status", None).await?;
    session.printer().counts(&answer, "/results");
    Ok(())
}
