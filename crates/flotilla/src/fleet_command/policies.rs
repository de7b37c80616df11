//! Agent policies.

use anyhow::Result;
use http::Method;
use serde_json::{Value, json};

use super::arguments::PoliciesCommand;
use super::kind::POLICIES;
use super::objects::{self, one, put_text};
use super::session::Session;

pub(super) async fn run(session: &Session, command: PoliciesCommand) -> Result<()> {
    match command {
        PoliciesCommand::List => objects::list(session, &POLICIES).await,
        PoliciesCommand::Show { policy, full: false } => objects::show(session, &POLICIES, &policy).await,
        PoliciesCommand::Show { policy, full: true } => {
            let path = format!("{}/full", one(&POLICIES, &policy));
            show(session, Method::GET, &path, None).await
        }
        PoliciesCommand::Create {
            name,
            namespace,
            with_system,
            body,
        } => {
            let mut fields = body.object()?;
            put_text(&mut fields, "name", name);
            fields.entry("namespace").or_insert(Value::String(namespace));
            let path = format!("{}?sys_monitoring={with_system}", POLICIES.path);
            show(session, Method::POST, &path, Some(&fields.into())).await
        }
        PoliciesCommand::Update { policy, body } => {
            let mut fields = body.changes()?;
            add_what_must_be_sent(session, &policy, &mut fields).await?;
            show(session, Method::PUT, &one(&POLICIES, &policy), Some(&fields.into())).await
        }
        PoliciesCommand::Copy { policy, name } => {
            let path = format!("{}/copy", one(&POLICIES, &policy));
            show(session, Method::POST, &path, Some(&json!({"name": name}))).await
        }
        PoliciesCommand::Delete { policy, force } => {
            let mut body = json!({"agentPolicyId": policy});
            if force {
                body["force"] = json!(true);
            }
            let path = format!("{}/delete", POLICIES.path);
            let answer = session.call(Method::POST, &path, Some(&body)).await?;
            session.printer().done(&answer, &format!("policy {policy} is deleted"));
            Ok(())
        }
    }
}

/// The API wants name and namespace with every change.
async fn add_what_must_be_sent(
    session: &Session,
    policy: &str,
    fields: &mut serde_json::Map<String, Value>,
) -> Result<()> {
    let present = session.call(Method::GET, &one(&POLICIES, policy), None).await?;
    for field in ["name", "namespace"] {
        if let (false, Some(value)) = (fields.contains_key(field), present["item"].get(field)) {
            fields.insert(field.to_owned(), value.clone());
        }
    }
    Ok(())
}

async fn show(session: &Session, method: Method, path: &str, body: Option<&Value>) -> Result<()> {
    let answer = session.call(method, path, body).await?;
    session.printer().item(&answer);
    Ok(())
}
