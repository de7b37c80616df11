//! Enrollment tokens, uninstall tokens, service tokens.

use anyhow::Result;
use http::Method;
use serde_json::{Map, Value, json};

use super::arguments::{TokensCommand, UninstallTokensCommand};
use super::kind::{TOKENS, UNINSTALL_TOKENS};
use super::objects::{self, put_text};
use super::session::Session;

pub(super) async fn run(session: &Session, command: TokensCommand) -> Result<()> {
    match command {
        TokensCommand::List => objects::list(session, &TOKENS).await,
        TokensCommand::Show { id } => objects::show(session, &TOKENS, &id).await,
        TokensCommand::Create {
            policy,
            name,
            expiration,
        } => {
            let mut fields = Map::from_iter([("policy_id".to_owned(), json!(policy))]);
            put_text(&mut fields, "name", name);
            put_text(&mut fields, "expiration", expiration);
            print_secret(session, TOKENS.path, Some(&fields.into()), "/item/api_key").await
        }
        TokensCommand::Delete { id } => objects::delete(session, &TOKENS, &id).await,
    }
}

pub(super) async fn uninstall(session: &Session, command: UninstallTokensCommand) -> Result<()> {
    match command {
        UninstallTokensCommand::List => objects::list(session, &UNINSTALL_TOKENS).await,
        UninstallTokensCommand::Show { id } => objects::show(session, &UNINSTALL_TOKENS, &id).await,
    }
}

pub(super) async fn service_token(session: &Session) -> Result<()> {
    print_secret(session, "/api/fleet/service_tokens", None, "/value").await
}

/// The bare value, so that a script can take it.
async fn print_secret(session: &Session, path: &str, body: Option<&Value>, at: &str) -> Result<()> {
    let answer = session.call(Method::POST, path, body).await?;
    let value = answer.pointer(at).and_then(Value::as_str).unwrap_or_default();
    session.printer().done(&answer, value);
    Ok(())
}
