//! Uninstall tokens.

use std::sync::Arc;

use serde_json::{Value, json};

use super::call::{Call, Reply, item, page_of};
use super::error::ApiError;
use super::schema::{Field, Kind, field, text};
use crate::Console;
use crate::domain::error::FleetError;
use crate::domain::page::Page;
use crate::domain::spaces::{self, Places};
use crate::domain::uninstall_tokens::{self as domain, UninstallToken};

pub(super) const QUERY: &[Field] = &[
    text("policyId"),
    text("search"),
    field("perPage", Kind::Integer { min: 5, max: 10_000 }).default("20"),
    field("page", Kind::Integer { min: 1, max: 10_000 }).default("1"),
];

pub(super) async fn list(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    for name in ["policyId", "search"] {
        if call.text(name).is_some_and(|text| text.chars().count() > 50) {
            return Err(ApiError::BadRequest(format!(
                "[request query.{name}]: value has a maximum length of [50]"
            )));
        }
    }
    let places = Places::now(&console).await?;
    let mut tokens = domain::list(&console).await?;
    tokens.retain(|token| spaces::is_in(&places_of(&places, token), &call.space));
    let contains = |token: &UninstallToken, text: &str| {
        token.policy_id.contains(text)
            || token
                .policy_name
                .as_ref()
                .is_some_and(|name| name.to_lowercase().contains(&text.to_lowercase()))
    };
    if let Some(policy) = call.text("policyId") {
        tokens.retain(|token| token.policy_id.contains(policy));
    }
    if let Some(search) = call.text("search") {
        tokens.retain(|token| contains(token, search));
    }
    let page = call.page().of(tokens);
    let items = page.items.iter().map(|token| described(token, &places)).collect();
    Ok(Reply::Json(page_of(Page {
        items,
        total: page.total,
        request: page.request,
    })))
}

pub(super) async fn read(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let (token, value) = domain::reveal(&console, call.id("uninstallTokenId")).await?;
    let places = Places::now(&console).await?;
    if !spaces::is_in(&places_of(&places, &token), &call.space) {
        return Err(FleetError::NotFound(format!("Uninstall Token not found with id {}", token.id)).into());
    }
    let mut answer = described(&token, &places);
    answer["token"] = value.expose().into();
    item(answer)
}

fn places_of<'a>(places: &'a Places, token: &UninstallToken) -> Vec<&'a str> {
    places.of(std::slice::from_ref(&token.policy_id))
}

fn described(token: &UninstallToken, places: &Places) -> Value {
    json!({
        "id": token.id, "policy_id": token.policy_id, "policy_name": token.policy_name, "created_at": token.created_at,
        "namespaces": places_of(places, token),
    })
}
