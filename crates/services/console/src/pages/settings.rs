//! Fleet settings: Fleet Server hosts and outputs.

use askama::Template;
use axum::response::Html;

use super::frame::Frame;
use super::problem::{Problem, show};
use super::session::SignedIn;
use crate::domain::{fleet_server_hosts, outputs};

#[derive(Template)]
#[template(path = "settings.html")]
struct Page {
    frame: Frame,
    hosts: Vec<Host>,
    outputs: Vec<Output>,
}

struct Host {
    name: String,
    urls: Vec<String>,
    is_default: bool,
    client_authentication: String,
}

struct Output {
    name: String,
    kind: String,
    hosts: Vec<String>,
    is_default: bool,
    is_default_monitoring: bool,
    trust: String,
}

pub(super) async fn page(reader: SignedIn) -> Result<Html<String>, Problem> {
    let hosts = fleet_server_hosts::list(&reader.console).await?;
    let outputs = outputs::list(&reader.console).await?;
    let page = Page {
        frame: Frame::new(&reader, "Settings", "Settings"),
        hosts: hosts.into_iter().map(Host::from).collect(),
        outputs: outputs.into_iter().map(Output::from).collect(),
    };
    show(&page)
}

impl From<policy::model::FleetServerHost> for Host {
    fn from(host: policy::model::FleetServerHost) -> Self {
        let ssl = serde_json::to_value(&host.ssl).unwrap_or_default();
        Self {
            name: host.name,
            urls: host.host_urls,
            is_default: host.is_default,
            client_authentication: ssl["client_auth"]
                .as_str()
                .unwrap_or("as the server is started")
                .to_owned(),
        }
    }
}

impl From<policy::model::Output> for Output {
    fn from(output: policy::model::Output) -> Self {
        let authorities = output.ssl.as_ref().and_then(|ssl| ssl.get("certificate_authorities"));
        let trust = match (&output.ca_trusted_fingerprint, authorities) {
            (Some(fingerprint), _) => format!("CA with SHA-256 {}…", fingerprint.chars().take(16).collect::<String>()),
            (None, Some(authorities)) => format!("{} CA file(s)", authorities.as_array().map_or(1, Vec::len)),
            (None, None) => "the system's CAs".to_owned(),
        };
        Self {
            name: output.name,
            kind: output.kind,
            hosts: output.hosts,
            is_default: output.is_default,
            is_default_monitoring: output.is_default_monitoring,
            trust,
        }
    }
}
