//! Outputs, hosts, proxies, download sources, integrations: all have the same five verbs.

use anyhow::{Result, anyhow};
use http::Method;
use serde_json::{Map, Value, json};

use super::arguments::ObjectCommand;
use super::kind::Kind;
use super::session::{Session, encoded};

pub(super) async fn run(session: &Session, kind: &Kind, command: ObjectCommand) -> Result<()> {
    match command {
        ObjectCommand::List => list(session, kind).await,
        ObjectCommand::Show { id } => show(session, kind, &id).await,
        ObjectCommand::Create {
            name,
            object_type,
            hosts,
            default,
            dry_run,
            body,
        } => {
            let mut fields = body.object()?;
            put_text(&mut fields, "name", name);
            if object_type.is_some() && !kind.typed {
                return Err(anyhow!(
                    "`--type` means nothing here: there is one type of {}",
                    kind.name
                ));
            }
            put_text(&mut fields, "type", object_type);
            kind.host.put(&mut fields, &hosts).map_err(|error| anyhow!(error))?;
            if default {
                if !kind.default {
                    return Err(anyhow!("`--default` means nothing here"));
                }
                fields.insert("is_default".to_owned(), json!(true));
            }
            save(session, kind, Method::POST, kind.path.to_owned(), fields, dry_run).await
        }
        ObjectCommand::Update { id, dry_run, body } => {
            save(session, kind, Method::PUT, one(kind, &id), body.changes()?, dry_run).await
        }
        ObjectCommand::Delete { id } => delete(session, kind, &id).await,
    }
}

/// The whole list.
pub(super) async fn list(session: &Session, kind: &Kind) -> Result<()> {
    let path = match kind.query {
        "" => kind.path.to_owned(),
        query => format!("{}?{query}", kind.path),
    };
    let answer = session.call(Method::GET, &path, None).await?;
    session.printer().list(&answer, kind);
    Ok(())
}

/// One object.
pub(super) async fn show(session: &Session, kind: &Kind, id: &str) -> Result<()> {
    let answer = session.call(Method::GET, &one(kind, id), None).await?;
    session.printer().item(&answer);
    Ok(())
}

/// Removes one object.
pub(super) async fn delete(session: &Session, kind: &Kind, id: &str) -> Result<()> {
    let answer = session.call(Method::DELETE, &one(kind, id), None).await?;
    session
        .printer()
        .done(&answer, &format!("{} {id} is deleted", kind.name));
    Ok(())
}

async fn save(
    session: &Session,
    kind: &Kind,
    method: Method,
    path: String,
    fields: Map<String, Value>,
    dry_run: bool,
) -> Result<()> {
    if dry_run && !kind.dry_run {
        return Err(anyhow!("the API cannot check a {} without saving it", kind.name));
    }
    let path = if dry_run { format!("{path}?dry_run=true") } else { path };
    let answer = session.call(method, &path, Some(&Value::Object(fields))).await?;
    session.printer().item(&answer);
    Ok(())
}

/// The path of one object.
pub(super) fn one(kind: &Kind, id: &str) -> String {
    format!("{}/{}", kind.path, encoded(id))
}

/// Puts a text that was given.
pub(super) fn put_text(fields: &mut Map<String, Value>, field: &str, text: Option<String>) {
    if let Some(text) = text {
        fields.insert(field.to_owned(), Value::String(text));
    }
}
