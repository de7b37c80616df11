//! Checks of TLS material before it is saved: what would cut agents off is an error, what may surprise is a warning.
//!
//! Only PEM texts can be looked into; a path is on the agents' hosts.

use certs::{CertificateSummary, Fingerprint, IdentityNames, PemSource, SubjectAltName};
use jiff::{SignedDuration, Timestamp};
use query::Query;
use secret::Secret;
use serde::Serialize;
use serde_json::Value;

use crate::Console;
use crate::domain::documents::{Fields, text};
use crate::domain::error::FleetError;
use crate::domain::issuers::{self, Certificate};
use crate::domain::objects::is_pem;
use crate::domain::{agent_policies, agents, connection_tests};

/// A certificate that ends sooner than this gets a warning.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Whether it keeps the change from being saved.
    pub severity: Severity,
    /// The field of the request, such as `ssl.certificate`.
    pub field: String,
    /// A stable code, such as `key_mismatch`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Refused.
    Error,
    /// Saved.
    Warning,
}

/// What a change would meet: the answer to `dry_run`.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Refused with these.
    pub errors: Vec<Finding>,
    /// Saved in spite of these.
    pub warnings: Vec<Finding>,
    /// How many agent policies change.
    pub policies: usize,
    /// How many agents get a new policy.
    pub agents: u64,
}

/// Refuses a change with the first error.
///
/// # Errors
/// The error with its field and remedy.
pub fn refuse_errors(findings: &[Finding]) -> Result<(), FleetError> {
    let Some(finding) = findings.iter().find(|finding| finding.severity == Severity::Error) else {
        return Ok(());
    };
    let hint = finding
        .hint
        .as_ref()
        .map(|hint| format!("; {hint}"))
        .unwrap_or_default();
    Err(FleetError::invalid(format!(
        "[request body.{}]: {}{hint}",
        finding.field, finding.message
    )))
}

/// Counts what the change touches.
///
/// # Errors
/// The store cannot answer.
pub async fn report(console: &Console, findings: Vec<Finding>, policies: Vec<String>) -> Result<Report, FleetError> {
    let mut findings = findings;
    let is_of_defend = |finding: &Finding| finding.code == DEFEND_NEEDS_RSA;
    if findings.iter().any(is_of_defend) && !has_old_defend(console, &policies).await? {
        findings.retain(|finding| !is_of_defend(finding));
    }
    let (errors, warnings) = findings
        .into_iter()
        .partition(|finding| finding.severity == Severity::Error);
    let ids: Vec<Value> = policies.iter().map(|id| Value::from(id.as_str())).collect();
    let query = Query::all_of(vec![Query::term("active", true), Query::Terms("policy_id".into(), ids)]);
    let agents = match console
        .store
        .count(&[protocol::indices::AGENTS.to_owned()], &query)
        .await
    {
        Ok(count) => count,
        Err(store::StoreError::IndexNotFound(_)) => 0,
        Err(error) => return Err(error.into()),
    };
    Ok(Report {
        errors,
        warnings,
        policies: policies.len(),
        agents,
    })
}

/// The code of the note on keys that old versions of Elastic Defend do not take.
const DEFEND_NEEDS_RSA: &str = "defend_needs_rsa";
/// From this version on Elastic Defend takes elliptic curve keys.
const DEFEND_TAKES_EC: semver::Version = semver::Version::new(9, 1, 0);

/// Whether one of the policies has Elastic Defend and an agent whose Defend takes RSA keys only.
async fn has_old_defend(console: &Console, policies: &[String]) -> Result<bool, FleetError> {
    let with_defend = agent_policies::with_package(console, "endpoint").await?;
    let concerned = policies
        .iter()
        .filter(|id| with_defend.contains(*id))
        .cloned()
        .collect();
    let is_old = |version: &String| {
        semver::Version::parse(version)
            .is_ok_and(|version| (version.major, version.minor) < (DEFEND_TAKES_EC.major, DEFEND_TAKES_EC.minor))
    };
    Ok(agents::versions_of(console, concerned).await?.keys().any(is_old))
}

/// Checks a Fleet Server host.
pub fn host(console: &Console, fields: &Fields) -> Vec<Finding> {
    let mut check = Check {
        now: console.clock.now(),
        findings: Vec::new(),
    };
    let urls: Vec<&str> = texts(fields.get("host_urls"));
    for (index, url) in urls.iter().enumerate().filter(|(_, url)| url.starts_with("http://")) {
        check.warn(
            &format!("host_urls.{index}"),
            "plain_http",
            format!("`{url}` is not encrypted"),
            "use https",
        );
    }
    let Some(tls) = fields.get("ssl") else {
        return check.findings;
    };
    let secrets = fields.get("secrets").and_then(|secrets| secrets.get("ssl"));
    for name in [
        "certificate_authorities",
        "es_certificate_authorities",
        "agent_certificate_authorities",
    ] {
        check.authorities(&format!("ssl.{name}"), tls.get(name));
    }
    let server = check.pair(tls, secrets, "certificate", "key", Usage::Server);
    if let Some(server) = &server {
        check.names("ssl.certificate", &certs::describe(&server[0]), &urls);
        check.chain_is_trusted(
            "ssl.certificate",
            server,
            "ssl.agent_certificate_authorities",
            tls.get("agent_certificate_authorities"),
        );
    }
    check.pair(tls, secrets, "es_certificate", "es_key", Usage::Client);
    let client = check.pair(tls, secrets, "agent_certificate", "agent_key", Usage::Client);
    if let Some(client) = &client {
        check.chain_is_trusted(
            "ssl.agent_certificate",
            client,
            "ssl.certificate_authorities",
            tls.get("certificate_authorities"),
        );
    }
    let asks = tls
        .get("client_auth")
        .and_then(Value::as_str)
        .is_some_and(|mode| mode != "none" && !mode.is_empty());
    if asks && texts(tls.get("certificate_authorities")).is_empty() {
        check.warn(
            "ssl.client_auth",
            "no_client_authorities",
            "agents' certificates are asked for, but no certificate authorities are given to check them with"
                .to_owned(),
            "add the CA that signed the agents' certificates to ssl.certificate_authorities",
        );
    }
    check.findings
}

/// Checks an output.
pub fn output(console: &Console, fields: &Fields) -> Vec<Finding> {
    let mut check = Check {
        now: console.clock.now(),
        findings: Vec::new(),
    };
    for (index, host) in texts(fields.get("hosts"))
        .iter()
        .enumerate()
        .filter(|(_, host)| host.starts_with("http://"))
    {
        check.warn(
            &format!("hosts.{index}"),
            "plain_http",
            format!("`{host}` is not encrypted"),
            "use https",
        );
    }
    let empty = Value::Null;
    let tls = fields.get("ssl").unwrap_or(&empty);
    if tls.get("verification_mode").is_some_and(|mode| mode == "none") {
        check.warn(
            "ssl.verification_mode",
            "not_verified",
            "agents will not verify the server".to_owned(),
            "give the CA in ssl.certificate_authorities or its fingerprint in ca_trusted_fingerprint instead",
        );
    }
    let authorities = check.authorities("ssl.certificate_authorities", tls.get("certificate_authorities"));
    let secrets = fields.get("secrets").and_then(|secrets| secrets.get("ssl"));
    let client = check.pair(tls, secrets, "certificate", "key", Usage::Client);
    if let Some(given) = text(fields, "ca_trusted_fingerprint") {
        let client = client.as_ref().map(|chain| certs::describe(&chain[0]));
        // What servers presented when their connections were last tested: mostly a leaf is taken for its CA from there.
        let presented = connection_tests::presented(console);
        let known: Vec<&CertificateSummary> = authorities.iter().chain(&client).chain(&presented).collect();
        check.trusted_fingerprint(given, &known);
    }
    check.findings
}

/// Checks an agent binary source.
pub fn download_source(console: &Console, fields: &Fields) -> Vec<Finding> {
    let mut check = Check {
        now: console.clock.now(),
        findings: Vec::new(),
    };
    let Some(tls) = fields.get("ssl") else {
        return check.findings;
    };
    let secrets = fields.get("secrets").and_then(|secrets| secrets.get("ssl"));
    check.authorities("ssl.certificate_authorities", tls.get("certificate_authorities"));
    check.pair(tls, secrets, "certificate", "key", Usage::Client);
    check.findings
}

/// Checks a proxy.
pub fn proxy(console: &Console, fields: &Fields) -> Vec<Finding> {
    let mut check = Check {
        now: console.clock.now(),
        findings: Vec::new(),
    };
    check.authorities("certificate_authorities", fields.get("certificate_authorities"));
    let names = Pair {
        certificate: "certificate".to_owned(),
        key: "certificate_key".to_owned(),
    };
    let (certificate, key) = (fields.get("certificate"), fields.get("certificate_key"));
    check.named_pair(&names, certificate, key, None, Usage::Client);
    check.findings
}

#[derive(Clone, Copy)]
enum Usage {
    Server,
    Client,
}

/// The names of a certificate's and its key's fields.
struct Pair {
    certificate: String,
    key: String,
}

struct Check {
    now: Timestamp,
    findings: Vec<Finding>,
}

impl Check {
    fn add(&mut self, severity: Severity, field: &str, code: &'static str, message: String, hint: Option<String>) {
        self.findings.push(Finding {
            severity,
            field: field.to_owned(),
            code,
            message,
            hint,
        });
    }

    fn warn(&mut self, field: &str, code: &'static str, message: String, hint: &str) {
        self.add(Severity::Warning, field, code, message, Some(hint.to_owned()));
    }

    fn refuse(&mut self, field: &str, code: &'static str, message: String, hint: &str) {
        self.add(Severity::Error, field, code, message, Some(hint.to_owned()));
    }

    /// The certificates of a list of authorities that are given as PEM.
    fn authorities(&mut self, field: &str, list: Option<&Value>) -> Vec<CertificateSummary> {
        let mut found = Vec::new();
        for (index, pem) in texts(list).into_iter().enumerate().filter(|(_, text)| is_pem(text)) {
            let field = format!("{field}.{index}");
            match certs::load_certificates(&PemSource::Inline(Secret::from(pem)), &field) {
                Err(error) => self.add(Severity::Error, &field, error.class(), error.to_string(), error.hint()),
                Ok(certificates) => {
                    for certificate in &certificates {
                        if let Some(reason) = certs::not_an_authority(certificate) {
                            self.add(Severity::Warning, &field, "not_a_ca", reason, None);
                        }
                        let summary = certs::describe(certificate);
                        self.validity(&field, &summary);
                        found.push(summary);
                    }
                }
            }
        }
        found
    }

    /// The chain of a pair below `ssl`, leaf first, when it is given as PEM.
    fn pair(
        &mut self,
        tls: &Value,
        secrets: Option<&Value>,
        certificate: &str,
        key: &str,
        usage: Usage,
    ) -> Option<Vec<Certificate>> {
        let names = Pair {
            certificate: format!("ssl.{certificate}"),
            key: format!("ssl.{key}"),
        };
        let secret = secrets.and_then(|secrets| secrets.get(key));
        self.named_pair(&names, tls.get(certificate), tls.get(key), secret, usage)
    }

    /// The chain of a pair, leaf first, when it is given as PEM; a key that is stored already cannot be compared.
    fn named_pair(
        &mut self,
        names: &Pair,
        certificate: Option<&Value>,
        key: Option<&Value>,
        secret: Option<&Value>,
        usage: Usage,
    ) -> Option<Vec<Certificate>> {
        let (certificate_field, key_field) = (&names.certificate, &names.key);
        let given = |value: Option<&Value>| {
            value
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let certificate = given(certificate);
        let has_key = given(key).is_some() || secret.is_some_and(|secret| !secret.is_null() && secret != "");
        match (&certificate, has_key) {
            (Some(_), false) => self.warn(
                key_field,
                "no_key",
                format!("there is a certificate in {certificate_field}, but no key"),
                "give its key",
            ),
            (None, true) => self.warn(
                certificate_field,
                "no_certificate",
                format!("there is a key in {key_field}, but no certificate"),
                "give its certificate",
            ),
            _ => {}
        }
        let pem = certificate.filter(|text| is_pem(text))?;
        let source = PemSource::Inline(Secret::from(pem));
        let chain = match certs::load_certificates(&source, certificate_field) {
            Ok(chain) => chain,
            Err(error) => {
                self.add(
                    Severity::Error,
                    certificate_field,
                    error.class(),
                    error.to_string(),
                    error.hint(),
                );
                return None;
            }
        };
        let plain_key = given(key).or_else(|| given(secret)).filter(|text| is_pem(text));
        if let Some(key) = plain_key {
            let names = IdentityNames {
                certificate: certificate_field,
                key: key_field,
                passphrase: "none",
            };
            let key = PemSource::Inline(Secret::from(key));
            if let Err(error) = certs::load_identity(&source, Some(&key), None, names) {
                self.add(
                    Severity::Error,
                    key_field,
                    error.class(),
                    error.to_string(),
                    error.hint(),
                );
            }
        }
        let leaf = certs::describe(chain.first()?);
        self.validity(certificate_field, &leaf);
        self.usage(certificate_field, &leaf, usage);
        if matches!(usage, Usage::Client) && !leaf.key_type.starts_with("RSA") {
            let message = format!(
                "the key is {}; Elastic Defend on agents below {DEFEND_TAKES_EC} only takes RSA",
                leaf.key_type
            );
            self.warn(
                certificate_field,
                DEFEND_NEEDS_RSA,
                message,
                "issue it with an RSA key, or upgrade the agents first",
            );
        }
        Some(chain)
    }

    fn validity(&mut self, field: &str, certificate: &CertificateSummary) {
        let subject = &certificate.subject;
        if certificate.not_after <= self.now {
            let message = format!("the certificate of `{subject}` ended on {}", certificate.not_after);
            self.refuse(field, "expired", message, "renew it");
        } else if certificate.not_after.duration_since(self.now) < SOON {
            let message = format!("the certificate of `{subject}` ends on {}", certificate.not_after);
            self.warn(field, "expires_soon", message, "renew it");
        }
        if certificate.not_before > self.now {
            let message = format!(
                "the certificate of `{subject}` is not valid before {}",
                certificate.not_before
            );
            self.warn(field, "not_yet_valid", message, "check the clocks, or wait");
        }
    }

    fn usage(&mut self, field: &str, certificate: &CertificateSummary, usage: Usage) {
        let needed = match usage {
            Usage::Server => "serverAuth",
            Usage::Client => "clientAuth",
        };
        let has = |name: &String| name == needed || name == "anyExtendedKeyUsage" || name == "any";
        if !certificate.extended_key_usages.is_empty() && !certificate.extended_key_usages.iter().any(has) {
            let message = format!(
                "the certificate of `{}` may only be used for {}, and here it needs {needed}",
                certificate.subject,
                certificate.extended_key_usages.join(", ")
            );
            self.refuse(
                field,
                "key_usage",
                message,
                "issue one with that extended key usage, or without any",
            );
        }
        if certificate.is_ca {
            let message = format!("`{}` is a CA's own certificate", certificate.subject);
            self.warn(field, "ca_as_leaf", message, "issue a certificate for this use");
        }
    }

    fn names(&mut self, field: &str, certificate: &CertificateSummary, urls: &[&str]) {
        for url in urls {
            let Some(host) = url::Url::parse(url)
                .ok()
                .and_then(|url| url.host().map(|host| host.to_owned()))
            else {
                continue;
            };
            if !certificate.sans.iter().any(|name| covers(name, &host)) {
                let message = format!(
                    "the certificate does not cover `{host}` of `{url}`: agents that verify names will refuse it"
                );
                self.warn(
                    field,
                    "name_mismatch",
                    message,
                    "issue a certificate with that name, or use a URL with one of its names",
                );
            }
        }
    }

    /// When the other side's trust is given in full as PEM, the chain should lead to it: by signature, since two authorities
    /// may have the same name.
    fn chain_is_trusted(&mut self, field: &str, chain: &[Certificate], trust_field: &str, trust: Option<&Value>) {
        let list = texts(trust);
        if list.is_empty() || !list.iter().all(|text| is_pem(text)) {
            return;
        }
        let trusted: Vec<Certificate> = list
            .into_iter()
            .filter_map(|pem| certs::load_certificates(&PemSource::Inline(Secret::from(pem)), trust_field).ok())
            .flatten()
            .collect();
        if trusted.is_empty() {
            return;
        }
        let Some((code, message)) = issuers::broken(chain, &trusted, trust_field) else {
            return;
        };
        self.warn(
            field,
            code,
            message,
            "add the issuer to the list, or give the whole chain in the certificate field, leaf first",
        );
    }

    fn trusted_fingerprint(&mut self, given: &str, known: &[&CertificateSummary]) {
        let field = "ca_trusted_fingerprint";
        let fingerprint = match given.parse::<Fingerprint>() {
            Ok(fingerprint) => fingerprint,
            Err(error) => {
                return self.refuse(
                    field,
                    "fingerprint",
                    format!("not a SHA-256 fingerprint: {error}"),
                    "give 64 hexadecimal digits, the SHA-256 of the CA's certificate",
                );
            }
        };
        if let Some(leaf) = known
            .iter()
            .find(|certificate| certificate.fingerprint == fingerprint && !certificate.is_ca)
        {
            let message = format!("it is the fingerprint of `{}`, which is not a CA", leaf.subject);
            self.refuse(
                field,
                "fingerprint_of_leaf",
                message,
                &format!("give the fingerprint of its issuer `{}`", leaf.issuer),
            );
        }
    }
}

fn covers(name: &SubjectAltName, host: &url::Host) -> bool {
    match (name, host) {
        (SubjectAltName::Ip(address), url::Host::Ipv4(host)) => *address == std::net::IpAddr::from(*host),
        (SubjectAltName::Ip(address), url::Host::Ipv6(host)) => *address == std::net::IpAddr::from(*host),
        (SubjectAltName::Dns(pattern), url::Host::Domain(host)) => match pattern.strip_prefix("*.") {
            Some(parent) => host
                .split_once('.')
                .is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent)),
            None => pattern.eq_ignore_ascii_case(host),
        },
        _ => false,
    }
}

fn texts(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::String(text)) if !text.is_empty() => vec![text],
        Some(Value::Array(list)) => list
            .iter()
            .filter_map(Value::as_str)
            .filter(|text| !text.is_empty())
            .collect(),
        _ => Vec::new(),
    }
}
