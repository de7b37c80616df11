//! State, setup and permissions.

use std::sync::Arc;

use access::{FleetPrivilege, Privilege};
use serde_json::json;

use super::call::{Call, Reply};
use super::error::ApiError;
use super::routes::PublicCall;
use super::schema::{Field, flag};
use crate::Console;
use crate::domain::{agent_policies, fleet_state, setup as setup_domain};

pub(super) const PERMISSIONS_QUERY: &[Field] = &[flag("fleetServerSetup")];

pub(super) async fn status(console: Arc<Console>, call: PublicCall) -> Result<Reply, ApiError> {
    let overall = json!({"level": "available", "summary": "All services and plugins are available"});
    if call.principal.is_none() {
        return Ok(Reply::Json(json!({"status": {"overall": {"level": "available"}}})));
    }
    let service = json!({"level": "available", "summary": "available"});
    Ok(Reply::Json(json!({
        "name": console.settings.host_name,
        "uuid": console.settings.instance_id,
        "version": {"number": console.settings.version, "build_hash": "flotilla", "build_number": 1, "build_snapshot": false,
                    "build_flavor": "traditional", "build_date": "2026-01-01T00:00:00.000Z"},
        "status": {"overall": overall, "core": {"elasticsearch": service, "savedObjects": service}, "plugins": {"fleet": service}},
        "metrics": {"last_updated": clock::rfc3339_millis(console.clock.now())},
    })))
}

pub(super) async fn setup(console: Arc<Console>, _call: Call) -> Result<Reply, ApiError> {
    setup_domain::run(&console).await?;
    Ok(Reply::Json(json!({"isInitialized": true, "nonFatalErrors": []})))
}

pub(super) async fn agents_setup(console: Arc<Console>, _call: Call) -> Result<Reply, ApiError> {
    let mut missing = Vec::new();
    if !fleet_state::has_fleet_server(&console).await? {
        missing.push("fleet_server");
    }
    Ok(Reply::Json(json!({
        "isReady": missing.is_empty(), "missing_requirements": missing, "missing_optional_features": [],
        "is_secrets_storage_enabled": true, "is_ssl_secrets_storage_enabled": true,
        "is_action_secrets_storage_enabled": true, "is_space_awareness_enabled": true,
    })))
}

pub(super) async fn check_permissions(console: Arc<Console>, call: Call) -> Result<Reply, ApiError> {
    let has = |privilege| call.principal.may(Privilege::Fleet(privilege));
    if !has(FleetPrivilege::All) && !has(FleetPrivilege::Read) {
        return Ok(Reply::Json(json!({"success": false, "error": "MISSING_PRIVILEGES"})));
    }
    if call.flag("fleetServerSetup") && !has(FleetPrivilege::All) {
        return Ok(Reply::Json(
            json!({"success": false, "error": "MISSING_FLEET_SERVER_SETUP_PRIVILEGES"}),
        ));
    }
    // Proves that the store answers before the caller relies on it.
    agent_policies::list(&console).await?;
    Ok(Reply::Json(json!({"success": true})))
}
