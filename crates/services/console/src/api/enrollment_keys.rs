//! Enrollment tokens.

use std::sync::Arc;

use jiff::SignedDuration;
use query::Query;
use serde_json::{Value, json};

use super::call::{Call, Reply, item};
use super::error::ApiError;
use super::schema::{Field, Kind, TEXTS, field, flag, text};
use crate::Console;
use crate::domain::enrollment_keys::{self as domain, EnrollmentKey, NewKey};
use crate::domain::error::FleetError;
use crate::domain::page::PageRequest;
use crate::domain::{kuery, spaces};

pub(super) const LIST_QUERY: &[Field] = &[
    field("page", Kind::Integer { min: 1, max: 10_000 }).default("1"),
    field("perPage", Kind::Integer { min: 0, max: 10_000 }).default("20"),
    text("kuery"),
];
pub(super) const CREATE: &[Field] = &[
    text("name"),
    text("policy_id").required(),
    field("expiration", Kind::Shaped("^[0-9]{1,4}(d|h|m|s)$")),
    // Ours: how often, and from where, a token may be used.
    field("use_limit", Kind::Integer { min: 1, max: 1_000_000 }),
    field("allowed_addresses", TEXTS),
];
pub(super) const DELETE_QUERY: &[Field] = &[flag("forceDelete").default("false")];
pub(super) const BULK_DELETE: &[Field] = &[
    field("tokenIds", TEXTS),
    text("kuery"),
    flag("forceDelete").default("false"),
    flag("includeHidden"),
];

pub(super) async fn list(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let query = in_space(&console, &call, kuery::parse(call.text("kuery"))?).await?;
    let page = domain::list(&console, query, call.page().checked()?).await?;
    let items: Vec<Value> = page.items.iter().map(answer_of).collect();
    Ok(Reply::Json(
        json!({"items": items, "list": items, "total": page.total, "page": page.request.page, "perPage": page.request.per_page}),
    ))
}

pub(super) async fn read(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    item(answer_of(&visible(&console, &call, call.id("keyId")).await?))
}

pub(super) async fn create(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let policy_id = call.body_text("policy_id").unwrap_or_default();
    if spaces::policies_outside(&console, &call.space)
        .await?
        .contains(policy_id)
    {
        return Err(domain::no_policy(policy_id).into());
    }
    let new = NewKey {
        policy_id: policy_id.to_owned(),
        name: call.body_text("name").map(str::to_owned),
        expiration: call.body_text("expiration").map(duration_of).transpose()?,
        use_limit: call.body_as("use_limit")?,
        allowed_addresses: call.body_texts("allowed_addresses"),
    };
    let key = domain::create(&console, &call.actor(), new).await?;
    Ok(Reply::Json(json!({"action": "created", "item": answer_of(&key)})))
}

/// Those of the policies that the space of the request has.
async fn in_space(console: &Console, call: &Call, query: Query) -> Result<Query, ApiError> {
    let elsewhere = spaces::policies_outside(console, &call.space).await?;
    if elsewhere.is_empty() {
        return Ok(query);
    }
    let outside = Query::terms("policy_id", elsewhere);
    Ok(Query::all_of(vec![query, Query::none_of(vec![outside])]))
}

/// The token, when its policy is in the space of the request.
async fn visible(console: &Console, call: &Call, id: &str) -> Result<EnrollmentKey, FleetError> {
    let key = domain::read(console, id).await?;
    let elsewhere = spaces::policies_outside(console, &call.space).await?;
    if elsewhere.contains(key.document.policy_id.as_str()) {
        return Err(FleetError::NotFound(format!("EnrollmentAPIKey {id} not found")));
    }
    Ok(key)
}

/// `30d`, `12h`, `5m` or `10s`.
fn duration_of(given: &str) -> Result<SignedDuration, ApiError> {
    let refuse =
        || ApiError::BadRequest("[request body.expiration]: must be a number followed by d, h, m or s".to_owned());
    let unit = given.chars().last().ok_or_else(refuse)?;
    let number: i64 = given[..given.len() - unit.len_utf8()].parse().map_err(|_| refuse())?;
    let seconds = match unit {
        'd' => 86_400,
        'h' => 3600,
        'm' => 60,
        's' => 1,
        _ => return Err(refuse()),
    };
    let total = number
        .checked_mul(seconds)
        .filter(|total| (0..=86_400 * 36_500).contains(total))
        .ok_or_else(refuse)?;
    Ok(SignedDuration::from_secs(total))
}

pub(super) async fn delete(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let key = visible(&console, &call, call.id("keyId")).await?;
    domain::revoke(&console, &call.actor(), &key.id, call.flag("forceDelete")).await?;
    Ok(Reply::Json(json!({"action": "deleted"})))
}

pub(super) async fn bulk_delete(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let mut ids = call.body_texts("tokenIds");
    if let Some(kuery) = call.body_text("kuery") {
        let query = in_space(&console, &call, kuery::parse(Some(kuery))?).await?;
        let found = domain::list(
            &console,
            query,
            PageRequest {
                page: 1,
                per_page: 10_000,
            },
        )
        .await?;
        ids.extend(found.items.into_iter().map(|key| key.id));
    }
    let mut failed = 0;
    for id in &ids {
        let revoked = match visible(&console, &call, id).await {
            Ok(key) => domain::revoke(&console, &call.actor(), &key.id, call.body_flag("forceDelete")).await,
            Err(error) => Err(error),
        };
        if let Err(error) = revoked {
            tracing::debug!(token = %id, error = %error, "enrollment token not revoked");
            failed += 1;
        }
    }
    Ok(Reply::Json(
        json!({"action": "deleted", "count": ids.len(), "successCount": ids.len() - failed, "errorCount": failed}),
    ))
}

fn answer_of(key: &EnrollmentKey) -> Value {
    let document = &key.document;
    let mut answer = json!({
        "id": key.id, "active": document.active, "api_key_id": document.api_key_id, "api_key": document.api_key,
        "policy_id": document.policy_id, "created_at": document.created_at,
    });
    if !document.name.is_empty() {
        answer["name"] = document.name.as_str().into();
    }
    for (name, bound) in [
        ("expire_at", json!(document.expire_at)),
        ("use_limit", json!(document.use_limit)),
        ("use_count", json!(document.use_count)),
    ] {
        if !bound.is_null() {
            answer[name] = bound;
        }
    }
    if !document.allowed_addresses.is_empty() {
        answer["allowed_addresses"] = json!(document.allowed_addresses);
    }
    if let Some(hidden) = document.other.get("hidden") {
        answer["hidden"] = hidden.clone();
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expirations_have_a_number_and_a_unit() {
        for (given, seconds) in [("30d", 2_592_000), ("12h", 43_200), ("5m", 300), ("10s", 10)] {
            assert_eq!(duration_of(given).unwrap().as_secs(), seconds);
        }
        for given in ["", "d", "1w", "-1d", "1.5h", "99999999999999d", "5µ"] {
            assert!(duration_of(given).is_err(), "{given}");
        }
    }
}
