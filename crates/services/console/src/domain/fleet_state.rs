//! Whether the fleet as a whole is ready.

use protocol::indices;
use query::Query;
use serde_json::Value;
use store::StoreError;

use crate::Console;
use crate::domain::agent_policies;
use crate::domain::error::FleetError;
use crate::domain::fleet_server_hosts;

/// Whether there is a Fleet Server to enroll in: an agent that runs one is enrolled, or the default host answers that it is healthy.
///
/// # Errors
/// The store cannot answer.
pub async fn has_fleet_server(console: &Console) -> Result<bool, FleetError> {
    if is_run_by_an_agent(console).await? {
        return Ok(true);
    }
    let hosts = fleet_server_hosts::list(console).await?;
    let Some(host) = hosts.iter().find(|host| host.is_default && !host.host_urls.is_empty()) else {
        return Ok(false);
    };
    let health = health_of_host(console, &host.id).await?;
    Ok(health["status"] == "HEALTHY")
}

async fn is_run_by_an_agent(console: &Console) -> Result<bool, FleetError> {
    let policies = agent_policies::with_package(console, "fleet_server").await?;
    let ids: Vec<Value> = policies.into_iter().map(Value::from).collect();
    let query = Query::all_of(vec![Query::term("active", true), Query::Terms("policy_id".into(), ids)]);
    match console.store.count(&[indices::AGENTS.to_owned()], &query).await {
        Ok(count) => Ok(count > 0),
        Err(StoreError::IndexNotFound(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Asks a Fleet Server for its state: what its `/api/status` says, or that it did not answer within five seconds.
///
/// # Errors
/// No such host, or one without URLs.
pub async fn health_of_host(console: &Console, id: &str) -> Result<Value, FleetError> {
    use serde_json::json;
    let host = console.find(&crate::domain::documents::HOSTS, id).await?;
    let host = host.ok_or_else(|| FleetError::NotFound(format!("The requested host id {id} does not exist.")))?;
    let url = host
        .fields
        .get("host_urls")
        .and_then(|urls| urls.get(0))
        .and_then(Value::as_str);
    let url = url.ok_or_else(|| {
        FleetError::invalid(format!(
            "The requested host id {id} does not have associated host urls."
        ))
    })?;
    let mut answer = ask(console, url).await.unwrap_or_else(|| json!({"status": "OFFLINE"}));
    answer["host_id"] = id.into();
    Ok(answer)
}

const ANSWER_WITHIN: std::time::Duration = std::time::Duration::from_secs(5);
const LARGEST_ANSWER: usize = 64 << 10;

async fn ask(console: &Console, url: &str) -> Option<Value> {
    let request = http::Request::get(format!("{}/api/status", url.trim_end_matches('/')))
        .body(bytes::Bytes::new())
        .ok()?;
    let client = console.fleet_server_client.get()?;
    let exchange = async {
        let answer = client.send(request).await.ok()?;
        let body = transport::read_body(answer.into_body(), LARGEST_ANSWER).await.ok()?;
        // Whoever answers there may be no Fleet Server at all.
        serde_json::from_slice(&body).ok().filter(Value::is_object)
    };
    tokio::time::timeout(ANSWER_WITHIN, exchange).await.ok().flatten()
}
