//! Every certificate that the fleet uses, as far as it can be seen from here: presented by servers, or set in hosts, outputs,
//! proxies and download sources.

use certs::CertificateSummary;
use serde_json::Value;

use crate::Console;
use crate::domain::connection_tests;
use crate::domain::connections::{self, Connections, common_name};
use crate::domain::documents::{DOWNLOAD_SOURCES, Fields, HOSTS, OUTPUTS, PROXIES, text};
use crate::domain::error::FleetError;
use crate::domain::objects::is_pem;

/// A certificate and where it is used.
#[derive(Clone, Debug)]
pub struct CertificateInUse {
    /// What it says.
    pub summary: CertificateSummary,
    /// Who presents it, or whose setting names it.
    pub uses: Vec<Use>,
}

/// One use of a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Use {
    /// The name of the server or setting's owner.
    pub whose: String,
    /// `presented`, or the setting.
    pub how: String,
}

/// All of them, the next to expire first.
///
/// # Errors
/// The store cannot answer.
pub async fn all(console: &Console) -> Result<Vec<CertificateInUse>, FleetError> {
    of(console, &connections::all(console).await?).await
}

/// Those of connections that are known already.
///
/// # Errors
/// The store cannot answer.
pub async fn of(console: &Console, map: &Connections) -> Result<Vec<CertificateInUse>, FleetError> {
    let mut found = Found::default();
    presented(console, map, &mut found);
    for collection in [&HOSTS, &OUTPUTS, &PROXIES, &DOWNLOAD_SOURCES] {
        for stored in console.all(collection).await? {
            let name = text(&stored.fields, "name").unwrap_or(&stored.id).to_owned();
            configured(&format!("{} {name}", collection.noun), &stored.fields, &mut found);
        }
    }
    found.all.sort_by_key(|certificate| certificate.summary.not_after);
    Ok(found.all)
}

#[derive(Default)]
struct Found {
    all: Vec<CertificateInUse>,
}

impl Found {
    fn add(&mut self, summary: &CertificateSummary, whose: &str, how: &str) {
        let used = Use {
            whose: whose.to_owned(),
            how: how.to_owned(),
        };
        let known = self
            .all
            .iter_mut()
            .find(|one| one.summary.fingerprint == summary.fingerprint);
        match known {
            Some(known) if known.uses.contains(&used) => {}
            Some(known) => known.uses.push(used),
            None => self.all.push(CertificateInUse {
                summary: summary.clone(),
                uses: vec![used],
            }),
        }
    }
}

fn presented(console: &Console, map: &Connections, found: &mut Found) {
    for connection in &map.connections {
        let Some(tested) = connection_tests::outcome(console, connection) else {
            continue;
        };
        let server = map.parties.iter().find(|party| party.id == connection.to);
        let server = server.map_or(connection.to.as_str(), |party| party.name.as_str());
        for (place, summary) in tested.report.presented.iter().enumerate() {
            found.add(
                summary,
                server,
                if place == 0 { "presents it" } else { "sends it along" },
            );
        }
    }
}

fn configured(whose: &str, fields: &Fields, found: &mut Found) {
    fn walk(name: &str, value: &Value, whose: &str, found: &mut Found) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    let name = if name.is_empty() {
                        key.clone()
                    } else {
                        format!("{name}.{key}")
                    };
                    walk(&name, value, whose, found);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| walk(name, item, whose, found)),
            Value::String(text) if is_pem(text) => {
                for certificate in certs::parse_certificates(text.as_bytes(), name).unwrap_or_default() {
                    found.add(&certs::describe(&certificate), whose, name);
                }
            }
            _ => {}
        }
    }
    for (key, value) in fields.iter().filter(|(key, _)| *key != "secrets") {
        walk(key, value, whose, found);
    }
}

impl CertificateInUse {
    /// Its common name.
    pub fn name(&self) -> &str {
        common_name(&self.summary.subject)
    }

    /// What it is for, in words.
    pub fn kind(&self) -> &'static str {
        let has = |usage: &str| self.summary.extended_key_usages.iter().any(|one| one == usage);
        match (self.summary.is_ca, has("serverAuth"), has("clientAuth")) {
            (true, ..) if self.summary.is_self_issued() => "Root CA",
            (true, ..) => "Intermediate CA",
            (_, true, false) => "Server",
            (_, false, true) => "Client",
            _ => "Server and client",
        }
    }
}
