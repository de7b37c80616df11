//! `fleet` of a policy: where the agent finds Fleet Server and what it trusts there.

use serde_json::{Map, Value, json};

use crate::compile::{CompileError, PolicyInputs, Secrets, is_set};
use crate::model::{FleetServerHost, Proxy};
use crate::outputs::{host_secret, set};

pub(crate) fn host_of<'a>(inputs: &PolicyInputs<'a>) -> Result<Option<&'a FleetServerHost>, CompileError> {
    match inputs.policy.fleet_server_host_id.as_ref().filter(|id| !id.is_empty()) {
        None => Ok(inputs.hosts.iter().find(|host| host.is_default)),
        Some(id) => {
            let found = inputs.hosts.iter().find(|host| host.id == *id);
            found.map(Some).ok_or_else(|| inputs.dangling("Fleet Server host", id))
        }
    }
}

pub(crate) fn section(
    inputs: &PolicyInputs<'_>,
    host: Option<&FleetServerHost>,
    secrets: &mut Secrets,
) -> Result<Map<String, Value>, CompileError> {
    let mut fleet = Map::new();
    let Some(host) = host else { return Ok(fleet) };
    fleet.insert("hosts".into(), json!(host.host_urls));
    let mut tls = Map::new();
    if let Some(settings) = &host.ssl {
        set(
            &mut tls,
            "certificate_authorities",
            json!(settings.agent_certificate_authorities),
        );
        set(&mut tls, "certificate", json!(settings.agent_certificate));
        set(&mut tls, "key", json!(settings.agent_key));
    }
    if let Some(key) = host_secret(host, "agent_key") {
        secrets.note(key);
        tls.remove("key");
        fleet.insert("secrets".into(), json!({"ssl": {"key": key}}));
    }
    if !tls.is_empty() {
        fleet.insert("ssl".into(), tls.into());
    }
    if let Some(proxy) = inputs.proxy(host.proxy_id.as_ref())? {
        put_proxy(&mut fleet, proxy);
    }
    Ok(fleet)
}

/// Certificates of a proxy replace those for Fleet Server: one TLS setup serves both hops.
pub(crate) fn put_proxy(section: &mut Map<String, Value>, proxy: &Proxy) {
    section.insert("proxy_url".into(), proxy.url.clone().into());
    if let Some(headers) = proxy.proxy_headers.as_ref().filter(|headers| !headers.is_empty()) {
        section.insert("proxy_headers".into(), headers.clone().into());
    }
    let authority = json!(proxy.certificate_authorities);
    let (certificate, key) = (json!(proxy.certificate), json!(proxy.certificate_key));
    if [&authority, &certificate, &key].into_iter().any(is_set) {
        let mut tls = Map::new();
        tls.insert("renegotiation".into(), "never".into());
        tls.insert("verification_mode".into(), "".into());
        if is_set(&authority) {
            tls.insert("certificate_authorities".into(), json!([authority]));
        }
        set(&mut tls, "certificate", certificate);
        set(&mut tls, "key", key);
        section.insert("ssl".into(), tls.into());
    }
}
