//! What became of each event of a bulk request.

use serde::Deserialize;
use serde_json::value::RawValue;

/// What one item's status means.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// Stored.
    Delivered,
    /// It was there before (409 on `create` with an id): as good as stored.
    Duplicate,
    /// Try again (429, 5xx).
    Again { status: u16, reason: String },
    /// Refused for good.
    Refused { status: u16, reason: String },
}

/// Why an answer cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    #[error("the answer is not a bulk answer")]
    NotBulk(#[source] serde_json::Error),
    #[error("the answer has {items} items for {events} events")]
    Count { items: usize, events: usize },
}

#[derive(Deserialize)]
struct BulkAnswer<'a> {
    #[serde(default)]
    errors: Option<bool>,
    #[serde(borrow, default)]
    items: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(alias = "index", alias = "update", alias = "delete")]
    create: ItemResult,
}

#[derive(Deserialize)]
struct ItemResult {
    #[serde(default)]
    status: u16,
    #[serde(default)]
    error: Option<serde_json::Value>,
}

/// Reads the answer to a request of `events` events. `None`: all of them were stored, without a look at the items.
pub(crate) fn read(body: &[u8], events: usize) -> Result<Option<Vec<Outcome>>, AnswerError> {
    let answer: BulkAnswer<'_> = serde_json::from_slice(body).map_err(AnswerError::NotBulk)?;
    match (answer.errors, answer.items) {
        (Some(false), _) => Ok(None),
        (_, None) => Err(AnswerError::Count { items: 0, events }),
        (_, Some(items)) => read_items(items, events).map(Some),
    }
}

fn read_items(items: &RawValue, events: usize) -> Result<Vec<Outcome>, AnswerError> {
    let items: Vec<Item> = serde_json::from_str(items.get()).map_err(AnswerError::NotBulk)?;
    if items.len() != events {
        return Err(AnswerError::Count {
            items: items.len(),
            events,
        });
    }
    Ok(items.into_iter().map(|item| outcome(item.create)).collect())
}

fn outcome(item: ItemResult) -> Outcome {
    let status = item.status;
    let reason = || reason(item.error.as_ref());
    match status {
        200..=299 => Outcome::Delivered,
        409 => Outcome::Duplicate,
        429 | 500..=599 => Outcome::Again {
            status,
            reason: reason(),
        },
        _ => Outcome::Refused {
            status,
            reason: reason(),
        },
    }
}

/// `type: reason` of an item's error; long texts are cut, since they may quote the document.
fn reason(error: Option<&serde_json::Value>) -> String {
    const LONGEST: usize = 500;
    let text = match error {
        None => return "no reason given".to_owned(),
        Some(serde_json::Value::Object(error)) => {
            let part = |key| error.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
            format!("{}: {}", part("type"), part("reason"))
        }
        Some(other) => other.to_string(),
    };
    text.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_read_only_when_there_were_errors() {
        assert!(
            read(br#"{"took":1,"errors":false,"items":[{"create":{"status":400}}]}"#, 1)
                .unwrap()
                .is_none()
        );
        let outcomes = read(
            br#"{"took":1,"errors":true,"items":[{"create":{"status":201}},{"create":{"status":409}},
                {"create":{"status":429,"error":{"type":"es_rejected_execution_exception","reason":"full"}}},
                {"create":{"status":503}},{"index":{"status":400,"error":{"type":"t","reason":"r"}}}]}"#,
            5,
        );
        let expected = [
            Outcome::Delivered,
            Outcome::Duplicate,
            Outcome::Again {
                status: 429,
                reason: "es_rejected_execution_exception: full".to_owned(),
            },
            Outcome::Again {
                status: 503,
                reason: "no reason given".to_owned(),
            },
            Outcome::Refused {
                status: 400,
                reason: "t: r".to_owned(),
            },
        ];
        assert_eq!(outcomes.unwrap().unwrap(), expected);
    }

    #[test]
    fn an_answer_that_is_none_is_an_error() {
        let check = |body: &str| assert!(read(body.as_bytes(), 2).is_err(), "{body}");
        check("");
        check("<html>");
        check("{}");
        check(r#"{"errors":true,"items":[{"create":{"status":201}}]}"#);
    }
}
