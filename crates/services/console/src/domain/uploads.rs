//! Files that agents uploaded: diagnostics.

use protocol::indices;
use query::{Query, SearchRequest, SortOrder};
use serde_json::{Value, json};
use store::{Operation, StoreError};

use crate::Console;
use crate::domain::actor::Actor;
use crate::domain::changes::{self, Changes};
use crate::domain::error::FleetError;

/// A file of an agent.
#[derive(Clone, Debug)]
pub struct Upload {
    /// The file's id, `{action}.{agent}`; of one that is still awaited the action's.
    pub id: String,
    /// Name of the file.
    pub name: String,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// `READY`, `AWAITING_UPLOAD`, `DELETED`, `EXPIRED`, `IN_PROGRESS` or `FAILED`.
    pub status: &'static str,
    /// The action that asked for it.
    pub action_id: String,
    /// Why it failed.
    pub error: Option<String>,
}

/// The diagnostics of an agent, newest first: those that arrived, and those that are still awaited.
///
/// # Errors
/// The store cannot answer.
pub async fn list(console: &Console, agent_id: &str) -> Result<Vec<Upload>, FleetError> {
    let asked = Query::all_of(vec![
        Query::term("agents", agent_id),
        Query::term("type", "REQUEST_DIAGNOSTICS"),
    ]);
    let request = SearchRequest::new(indices::ACTIONS)
        .query(asked)
        .size(100)
        .sort_by("@timestamp", SortOrder::Descending);
    let mut uploads = Vec::new();
    for hit in console.store.search(request).await?.hits {
        let action = hit.document.source.to_value();
        let action_id = action["action_id"].as_str().unwrap_or_default();
        uploads.push(of_action(console, agent_id, action_id, &action).await?);
    }
    Ok(uploads)
}

async fn of_action(console: &Console, agent_id: &str, action_id: &str, action: &Value) -> Result<Upload, FleetError> {
    let created_at = action["@timestamp"].as_str().unwrap_or_default().to_owned();
    let result = console
        .store
        .get(indices::ACTION_RESULTS, &format!("{action_id}:{agent_id}"))
        .await
        .unwrap_or_default();
    let result = result.map(|document| document.source.to_value()).unwrap_or_default();
    let error = result["error"]
        .as_str()
        .filter(|error| !error.is_empty())
        .map(str::to_owned);
    let file_id = format!("{action_id}.{agent_id}");
    let file = meta(console, &file_id).await?;
    let has_file = file.is_some();
    let file = file.unwrap_or_default();
    let status = match file.pointer("/file/Status").and_then(Value::as_str) {
        Some("READY") => "READY",
        Some("DELETED") => "DELETED",
        status if status == Some("UPLOAD_ERROR") || error.is_some() => "FAILED",
        Some(_) => "IN_PROGRESS",
        None => awaited(console, action),
    };
    let stamp: String = created_at.chars().map(|c| if c == ':' { '-' } else { c }).collect();
    let fallback = format!(
        "elastic-agent-diagnostics-{}.zip",
        stamp.split('.').next().unwrap_or_default()
    );
    let name = file
        .pointer("/file/name")
        .and_then(Value::as_str)
        .map_or(fallback, str::to_owned);
    Ok(Upload {
        id: if has_file { file_id } else { action_id.to_owned() },
        name,
        created_at,
        status,
        action_id: action_id.to_owned(),
        error,
    })
}

/// The description of a file, which Fleet Server wrote.
async fn meta(console: &Console, file_id: &str) -> Result<Option<Value>, FleetError> {
    match console
        .store
        .get(&indices::files_from_host_meta("agent"), file_id)
        .await
    {
        Ok(found) => Ok(found.map(|document| document.source.to_value())),
        Err(StoreError::IndexNotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn awaited(console: &Console, action: &Value) -> &'static str {
    let expires = action["expiration"]
        .as_str()
        .and_then(|time| time.parse::<jiff::Timestamp>().ok());
    if expires.is_some_and(|time| time < console.clock.now()) {
        "EXPIRED"
    } else {
        "AWAITING_UPLOAD"
    }
}

impl Upload {
    pub(crate) fn to_json(&self) -> Value {
        let mut item = json!({
            "id": self.id, "name": self.name, "createTime": self.created_at, "status": self.status, "actionId": self.action_id,
            "filePath": format!("/api/fleet/agents/files/{}/{}", self.id, self.name),
        });
        if let Some(error) = &self.error {
            item["error"] = error.as_str().into();
        }
        item
    }
}

/// The largest file that is put together.
const LARGEST_FILE: usize = 512 << 20;

/// The content of an uploaded file.
///
/// # Errors
/// No such file, or it is not complete.
pub async fn content(console: &Console, file_id: &str) -> Result<Vec<u8>, FleetError> {
    let missing = || FleetError::NotFound(format!("File {file_id} not found"));
    let meta = meta(console, file_id).await?.ok_or_else(missing)?;
    if meta.pointer("/file/Status").and_then(Value::as_str) != Some("READY") {
        return Err(missing());
    }
    let mut content = Vec::new();
    for number in 0.. {
        let id = format!("{file_id}.{number}");
        let Some(chunk) = console.store.get(&indices::files_from_host_data("agent"), &id).await? else {
            break;
        };
        let chunk = chunk.source.to_value();
        content.extend(decoded(&chunk["data"]).ok_or_else(missing)?);
        if content.len() > LARGEST_FILE {
            return Err(FleetError::invalid(format!(
                "file {file_id} is larger than {LARGEST_FILE} bytes"
            )));
        }
        if chunk["last"] == true {
            return Ok(content);
        }
    }
    Err(missing())
}

fn decoded(data: &Value) -> Option<Vec<u8>> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(data.as_str()?).ok()
}

/// Removes an uploaded file: its chunks go, its description says so.
///
/// # Errors
/// No such file.
pub async fn delete(console: &Console, actor: &Actor, file_id: &str) -> Result<(), FleetError> {
    let meta_index = indices::files_from_host_meta("agent");
    let data_index = indices::files_from_host_data("agent");
    if meta(console, file_id).await?.is_none() {
        return Err(FleetError::NotFound(format!("File {file_id} not found")));
    }
    let mut changes = Changes::default();
    let partial = json!({"file": {"Status": "DELETED"}})
        .as_object()
        .cloned()
        .unwrap_or_default();
    changes.other(
        Operation::merge(&meta_index, file_id, partial),
        "file",
        file_id,
        (None, Some(json!({"deleted": true}))),
    );
    changes::apply(console, actor, changes).await?;
    for number in 0.. {
        let id = format!("{file_id}.{number}");
        if console.store.get(&data_index, &id).await?.is_none() {
            break;
        }
        console
            .store
            .bulk(vec![Operation::delete(&data_index, id)], store::Refresh::Soon)
            .await?;
    }
    Ok(())
}
