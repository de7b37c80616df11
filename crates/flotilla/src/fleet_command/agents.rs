//! Agents: what they are, and what is asked of them.

use anyhow::{Result, ensure};
use http::Method;
use serde_json::{Map, Value, json};

use super::arguments::{AgentsCommand, Selection};
use super::kind::{ACTIONS, AGENTS};
use super::objects;
use super::session::{Session, encoded};

pub(super) async fn run(session: &Session, command: AgentsCommand) -> Result<()> {
    let (action, agents, body) = match command {
        AgentsCommand::List { kuery, all, limit } => return list(session, kuery.as_deref(), all, limit).await,
        AgentsCommand::Show { agent } => return objects::show(session, &AGENTS, &agent).await,
        AgentsCommand::Delete { agent } => return objects::delete(session, &AGENTS, &agent).await,
        AgentsCommand::Actions => return objects::list(session, &ACTIONS).await,
        AgentsCommand::Cancel { action } => return cancel(session, &action).await,
        AgentsCommand::Reassign { agents, policy } => ("bulk_reassign", agents, json!({"policy_id": policy})),
        AgentsCommand::Upgrade {
            agents,
            version,
            source_uri,
            force,
            rollout_duration,
        } => {
            let mut body = json!({"version": version});
            put(&mut body, "source_uri", source_uri.map(Value::String));
            put(&mut body, "force", force.then_some(true.into()));
            put(&mut body, "rollout_duration_seconds", rollout_duration.map(Value::from));
            ("bulk_upgrade", agents, body)
        }
        AgentsCommand::Tags { agents, add, remove } => ("bulk_update_agent_tags", agents, tags(&add, &remove)?),
        AgentsCommand::Unenroll { agents, revoke, force } => {
            let mut body = json!({});
            put(&mut body, "revoke", revoke.then_some(true.into()));
            put(&mut body, "force", force.then_some(true.into()));
            ("bulk_unenroll", agents, body)
        }
        AgentsCommand::Diagnostics { agents } => ("bulk_request_diagnostics", agents, json!({})),
        AgentsCommand::Migrate {
            agents,
            target,
            token_file,
        } => {
            let token = certs::read_passphrase_file(&token_file, "--token-file")?;
            let body = json!({"uri": target, "enrollment_token": token.expose()});
            ("bulk_migrate", agents, body)
        }
    };
    ask(session, action, &agents, body).await
}

fn tags(add: &[String], remove: &[String]) -> Result<Value> {
    ensure!(
        !(add.is_empty() && remove.is_empty()),
        "no tag was given: use `--add TAG` or `--remove TAG`"
    );
    Ok(json!({"tagsToAdd": add, "tagsToRemove": remove}))
}

async fn cancel(session: &Session, action: &str) -> Result<()> {
    let path = format!("/api/fleet/agents/actions/{}/cancel", encoded(action));
    let answer = session.call(Method::POST, &path, None).await?;
    session
        .printer()
        .done(&answer, &format!("action {action} is cancelled"));
    Ok(())
}

async fn list(session: &Session, kuery: Option<&str>, all: bool, limit: u32) -> Result<()> {
    let mut path = format!(
        "{}?perPage={limit}&showInactive={all}&sortField=enrolled_at&sortOrder=asc",
        AGENTS.path
    );
    if let Some(kuery) = kuery {
        path.push_str("&kuery=");
        path.push_str(&encoded(kuery));
    }
    let answer = session.call(Method::GET, &path, None).await?;
    session.printer().list(&answer, &AGENTS);
    Ok(())
}

/// A bulk action; the API answers with its id before agents have heard of it.
async fn ask(session: &Session, action: &str, agents: &Selection, body: Value) -> Result<()> {
    let mut fields = match body {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    fields.insert("agents".to_owned(), agents.to_value());
    let path = format!("{}/{action}", AGENTS.path);
    let answer = session.call(Method::POST, &path, Some(&fields.into())).await?;
    let id = answer.get("actionId").and_then(Value::as_str).unwrap_or_default();
    session.printer().done(
        &answer,
        &format!("asked; action {id}, see `flotilla fleet agents actions`"),
    );
    Ok(())
}

fn put(body: &mut Value, field: &str, value: Option<Value>) {
    if let Some(value) = value {
        body[field] = value;
    }
}

impl Selection {
    fn to_value(&self) -> Value {
        match &self.kuery {
            Some(kuery) => json!(kuery),
            None => json!(self.ids),
        }
    }
}
