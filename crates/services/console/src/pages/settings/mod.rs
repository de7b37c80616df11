//! Fleet settings: Fleet Server hosts, outputs, agent binary sources and proxies, with the flyouts that change them.
//!
//! A flyout is part of the page's URL (`?flyout=host-1`) and works without script. Saving has two steps when it reaches agents:
//! the first says who is affected and what the checks found, the second does it.

mod flyout;
mod host_form;
mod objects;
mod output_form;
mod proxy_form;
mod source_form;

use askama::Template;
use axum::extract::Query;
use axum::response::{Html, Redirect};
use policy::model::{DownloadSource, FleetServerHost, Output as OutputModel};
use serde::Deserialize;
use serde_json::{Value, json};

use flyout::{Flyout, Removal};
pub(super) use flyout::{create, delete, update};
use objects::Object;

use super::form::Submission;
use super::form::material::short;
use super::frame::Frame;
use super::look::Look;
use super::problem::{Problem, show};
use super::session::SignedIn;
use crate::domain::error::FleetError;
use crate::domain::settings as fleet_settings;
use crate::domain::{download_sources, fleet_server_hosts, output_health, outputs, proxies};

#[derive(Template)]
#[template(path = "settings.html")]
struct Page {
    frame: Frame,
    may_change: bool,
    hosts: Vec<Host>,
    outputs: Vec<Output>,
    sources: Vec<Source>,
    proxies: Vec<Proxy>,
    /// Whether the documents of unenrolled agents go after a day.
    delete_unenrolled: bool,
    flyout: Option<Flyout>,
    removal: Option<Removal>,
}

struct Host {
    id: String,
    name: String,
    url: String,
    more: usize,
    is_default: bool,
    look: Look,
    is_fixed: bool,
}

struct Output {
    id: String,
    name: String,
    kind: String,
    host: String,
    more: usize,
    is_default: bool,
    is_default_monitoring: bool,
    trust: String,
    /// What Fleet Server says about a remote one.
    health: Option<Look>,
    is_fixed: bool,
}

struct Source {
    id: String,
    name: String,
    host: String,
    is_default: bool,
}

struct Proxy {
    id: String,
    name: String,
    url: String,
    is_fixed: bool,
}

/// What stands in the URL.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    /// `host-new`, `output-fleet-default-output`.
    flyout: Option<String>,
    /// Of a new output, or to change one to.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// As `flyout`.
    delete: Option<String>,
    /// `host-saved`.
    done: Option<String>,
}

pub(super) async fn page(reader: SignedIn, Query(wanted): Query<Wanted>) -> Result<Html<String>, Problem> {
    let flyout = match wanted.flyout.as_deref().and_then(named) {
        Some((object, id)) => Some(flyout::opened(&reader, object, id, wanted.kind.as_deref()).await?),
        None => None,
    };
    let removal = match wanted.delete.as_deref().and_then(named) {
        Some((object, id)) => Some(flyout::removal(&reader, object, id).await?),
        None => None,
    };
    let toast = wanted.done.as_deref().and_then(|done| {
        if done == "advanced" {
            return Some("Advanced settings saved".to_owned());
        }
        let (part, what) = done.split_once('-')?;
        let object = Object::of(part)?;
        let (first, rest) = object.noun().split_at_checked(1)?;
        matches!(what, "saved" | "deleted").then(|| format!("{}{rest} {what}", first.to_uppercase()))
    });
    render(&reader, flyout, removal, toast.as_deref()).await
}

/// The URL of a form that was sent, opened again: the form is not there any more, the page is.
pub(super) async fn reload(_reader: SignedIn) -> Redirect {
    Redirect::to("/app/fleet/settings")
}

/// The settings that are no object of their own.
pub(super) async fn advanced(reader: SignedIn, submission: Submission) -> Result<Redirect, Problem> {
    let values = submission.values;
    let actor = reader.who_changes(values.one("csrf_token"))?;
    let setting = json!({"enabled": values.is_on("delete_unenrolled"), "is_preconfigured": false});
    let fields = std::iter::once(("delete_unenrolled_agents".to_owned(), setting)).collect();
    fleet_settings::update(&reader.console, &actor, fields).await?;
    Ok(Redirect::to("/app/fleet/settings?done=advanced"))
}

/// `host-1` as its kind and id.
fn named(text: &str) -> Option<(Object, &str)> {
    let (part, id) = text.split_once('-')?;
    Some((Object::of(part)?, id))
}

/// The page with what floats over it.
async fn render(
    reader: &SignedIn,
    flyout: Option<Flyout>,
    removal: Option<Removal>,
    toast: Option<&str>,
) -> Result<Html<String>, Problem> {
    let console = &reader.console;
    let title = match (&flyout, &removal) {
        (Some(flyout), _) => flyout.heading(),
        (_, Some(removal)) => format!("Delete {}", removal.name),
        _ => "Settings".to_owned(),
    };
    let page = Page {
        frame: Frame::new(reader, "Settings", title).toast(toast),
        may_change: reader.may_change(),
        hosts: fleet_server_hosts::list(console)
            .await?
            .into_iter()
            .map(Host::from)
            .collect(),
        outputs: output_rows(console).await?,
        sources: download_sources::list(console)
            .await?
            .into_iter()
            .map(Source::from)
            .collect(),
        proxies: proxies::list(console).await?.into_iter().map(Proxy::from).collect(),
        delete_unenrolled: fleet_settings::read(console)
            .await?
            .get("delete_unenrolled_agents")
            .is_some_and(|setting| setting["enabled"] == true),
        flyout,
        removal,
    };
    show(&page)
}

async fn output_rows(console: &crate::Console) -> Result<Vec<Output>, FleetError> {
    let mut rows = Vec::new();
    for output in outputs::list(console).await? {
        let is_remote = output.kind == "remote_elasticsearch";
        let health = if is_remote {
            Some(output_health::newest(console, &output.id).await?)
        } else {
            None
        };
        let look = |health: &Value| match health["state"].as_str().unwrap_or_default() {
            "HEALTHY" => Look::new("ok", "Healthy"),
            "DEGRADED" => Look::new("bad", "Unhealthy"),
            _ => Look::new("off", "Unknown"),
        };
        rows.push(Output {
            health: health.as_ref().map(look),
            ..Output::from(output)
        });
    }
    Ok(rows)
}

fn is_preconfigured(other: &serde_json::Map<String, Value>) -> bool {
    other.get("is_preconfigured").and_then(Value::as_bool).unwrap_or(false)
}

impl From<FleetServerHost> for Host {
    fn from(host: FleetServerHost) -> Self {
        let client_auth = host
            .ssl
            .as_ref()
            .and_then(|ssl| ssl.client_auth.clone())
            .unwrap_or_default();
        let is_plain = host.host_urls.iter().any(|url| url.starts_with("http://"));
        let look = match client_auth.as_str() {
            _ if is_plain => Look::new("warn", "Not encrypted"),
            "required" => Look::new("ok", "Mutual TLS"),
            "optional" => Look::new("ok", "Mutual TLS, optional"),
            _ => Look::new("ok", "One-way TLS"),
        };
        Self {
            is_fixed: host.is_default || is_preconfigured(&host.other),
            id: host.id,
            name: host.name,
            more: host.host_urls.len().saturating_sub(1),
            url: host.host_urls.into_iter().next().unwrap_or_default(),
            is_default: host.is_default,
            look,
        }
    }
}

impl From<OutputModel> for Output {
    fn from(output: OutputModel) -> Self {
        let ssl = |key: &str| output.ssl.as_ref().and_then(|ssl| ssl.get(key));
        let authorities = ssl("certificate_authorities")
            .and_then(Value::as_array)
            .map_or(0, Vec::len);
        let trust = match &output.ca_trusted_fingerprint {
            _ if ssl("verification_mode").is_some_and(|mode| mode == "none") => "nothing: not verified".to_owned(),
            Some(fingerprint) => format!("CA {}", short(&with_colons(fingerprint))),
            None if authorities == 1 => "1 certificate authority".to_owned(),
            None if authorities > 1 => format!("{authorities} certificate authorities"),
            None => "the system's CAs".to_owned(),
        };
        Self {
            trust,
            health: None,
            is_fixed: output.is_default || output.is_default_monitoring || is_preconfigured(&output.other),
            id: output.id,
            name: output.name,
            kind: output_form::type_name(&output.kind).to_owned(),
            more: output.hosts.len().saturating_sub(1),
            host: output.hosts.into_iter().next().unwrap_or_default(),
            is_default: output.is_default,
            is_default_monitoring: output.is_default_monitoring,
        }
    }
}

/// A fingerprint as it is shown, however it was typed.
fn with_colons(fingerprint: &str) -> String {
    fingerprint
        .parse::<certs::Fingerprint>()
        .map_or_else(|_| fingerprint.to_owned(), |fingerprint| fingerprint.with_colons())
}

impl From<DownloadSource> for Source {
    fn from(source: DownloadSource) -> Self {
        Self {
            id: source.id,
            name: source.name,
            host: source.host,
            is_default: source.is_default,
        }
    }
}

impl From<policy::model::Proxy> for Proxy {
    fn from(proxy: policy::model::Proxy) -> Self {
        Self {
            is_fixed: is_preconfigured(&proxy.other),
            id: proxy.id,
            name: proxy.name,
            url: proxy.url,
        }
    }
}
