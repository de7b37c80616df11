//! `http`: a dialogue that makes all that HTTPS of Elasticsearch needs.
//!
//! The questions come in the order of the original, so that answers prepared for it fit: request or certificate, the
//! CA (existing or new), validity, one certificate or one per node, then names, addresses and options of each,
//! the password, the output. [`questions`] asks, [`files`] writes the archive and the texts that explain it.

mod files;
mod questions;

use jiff::Timestamp;
use pki::{Authority, AuthorityRequest, DistinguishedName, KeyType, KeyUsage};
use secret::Secret;

use crate::arguments::Options;
use crate::failure::{Failure, usage};
use crate::output;
use crate::passwords::Protects;
use crate::terminal::Terminal;
use questions::{Period, ask_or, heading};

/// All answers.
struct Plan {
    source: Source,
    nodes: Vec<Node>,
    per_node: bool,
    /// Of the PKCS#12 files, or of the keys beside requests; blank is none.
    password: Secret,
}

/// Who signs.
enum Source {
    /// Somebody else: requests are made.
    Request,
    /// This CA.
    Authority {
        authority: Box<Authority>,
        /// The password of a CA that was made here and must be handed over.
        generated: Option<Secret>,
        period: Period,
    },
}

/// One certificate.
struct Node {
    dns: Vec<String>,
    ips: Vec<std::net::IpAddr>,
    options: NodeOptions,
}

/// What can be changed about a certificate.
#[derive(Clone)]
struct NodeOptions {
    /// The name of its files, and with one certificate per node of its folder.
    name: String,
    dn: DistinguishedName,
    bits: u32,
    key_usages: Vec<KeyUsage>,
}

const DEFAULT_OUTPUT: &str = "elasticsearch-ssl-http.zip";

pub(crate) fn run(_: &Options, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let plan = ask_plan(terminal)?;
    heading(terminal, "Where should the result go?");
    let path = output::ask(DEFAULT_OUTPUT, terminal);
    output::check_absent(&path)?;
    output::prepare_folder(&path, terminal)?;
    let archive = files::archive(&plan, Timestamp::now(), terminal)?;
    output::write(&path, &archive)?;
    terminal.print(&format!(
        "The archive {path} has a README.txt in each folder that says what to do with the files."
    ));
    Ok(())
}

fn ask_plan(terminal: &mut dyn Terminal) -> Result<Plan, Failure> {
    heading(
        terminal,
        "Shall another CA sign? Then a certificate signing request (CSR) is made.",
    );
    let Some(answer) = terminal.ask("Make a CSR? [y/N] ") else {
        return Err(
            usage("`http` is a dialogue, and there is no terminal to answer it").with_hint("use `cert` in scripts")
        );
    };
    let source = if questions::is_yes(&answer) {
        Source::Request
    } else {
        ask_source(terminal)?
    };
    heading(terminal, "One certificate for all nodes, or one for each?");
    let per_node = questions::confirm(terminal, "A certificate for each node?", false);
    let nodes = ask_nodes(per_node, terminal)?;
    heading(terminal, "Which password shall protect the keys?");
    let (what, protects) = match source {
        Source::Request => ("private key", Protects::PemKey),
        Source::Authority { .. } => ("http.p12", Protects::Pkcs12),
    };
    let password = questions::new_password(terminal, what, protects)?;
    Ok(Plan {
        source,
        nodes,
        per_node,
        password,
    })
}

fn ask_source(terminal: &mut dyn Terminal) -> Result<Source, Failure> {
    heading(terminal, "Is there a CA, certificate and key, that shall sign?");
    let (authority, generated) = if questions::confirm(terminal, "Use an existing CA?", false) {
        (questions::existing_authority(terminal)?, None)
    } else {
        let (request, password) = ask_new_authority(terminal)?;
        (Authority::generate(request)?, Some(password))
    };
    heading(
        terminal,
        "How long shall the certificates be valid? Such as 3Y, 18M or 90D.",
    );
    let period = Period::ask(terminal, "Validity", Period::FIVE_YEARS, 60);
    Ok(Source::Authority {
        authority: Box::new(authority),
        generated,
        period,
    })
}

fn ask_new_authority(terminal: &mut dyn Terminal) -> Result<(AuthorityRequest, Secret), Failure> {
    let mut dn = DistinguishedName::common_name("Elasticsearch HTTP CA");
    let mut period = Period::FIVE_YEARS;
    let mut bits = 2048;
    let mut key_usages = vec![KeyUsage::KeyCertSign, KeyUsage::CrlSign];
    loop {
        heading(terminal, "The new CA");
        terminal.error(&format!("Subject:   {dn}\nValidity:  {period}\nKey size:  {bits}"));
        terminal.error(&format!("Key usage: {}", questions::names(&key_usages)));
        if !questions::confirm(terminal, "Change something?", false) {
            break;
        }
        dn = questions::distinguished_name(terminal, "Subject", &dn);
        period = Period::ask(terminal, "Validity", period, 90);
        bits = questions::key_size(terminal, bits);
        key_usages = questions::key_usages(terminal, &key_usages);
    }
    heading(terminal, "The password of the CA");
    let password = questions::new_password(terminal, "the CA", Protects::Pkcs12)?;
    let request = AuthorityRequest {
        dn: Some(dn),
        key_type: KeyType::Rsa(bits),
        days: period.days_from(Timestamp::now()),
        key_usages,
        ..AuthorityRequest::default()
    };
    Ok((request, password))
}

fn ask_nodes(per_node: bool, terminal: &mut dyn Terminal) -> Result<Vec<Node>, Failure> {
    let mut nodes: Vec<Node> = Vec::new();
    loop {
        let name = per_node
            .then(|| questions::node_name(terminal, nodes.len() + 1))
            .transpose()?;
        nodes.push(ask_node(name, terminal));
        if !per_node || !questions::confirm(terminal, "Another certificate?", true) {
            return Ok(nodes);
        }
    }
}

fn ask_node(name: Option<String>, terminal: &mut dyn Terminal) -> Node {
    let whose = name.as_deref().unwrap_or("the nodes").to_owned();
    heading(
        terminal,
        &format!("Under which host names do clients reach {whose}? One a line; an empty line ends."),
    );
    let dns = questions::host_names(terminal);
    heading(
        terminal,
        &format!("Under which IP addresses do clients reach {whose}? One a line; an empty line ends."),
    );
    let ips = questions::addresses(terminal);
    let name = name.unwrap_or_else(|| default_name(&dns));
    let dn = DistinguishedName::from_host(&name);
    let key_usages = vec![KeyUsage::DigitalSignature, KeyUsage::KeyEncipherment];
    let options = ask_options(
        NodeOptions {
            name,
            dn,
            bits: 2048,
            key_usages,
        },
        terminal,
    );
    Node { dns, ips, options }
}

/// The first host name without a star, else the first without its `*.`.
fn default_name(dns: &[String]) -> String {
    let plain = dns.iter().find(|name| !name.contains('*')).cloned();
    let starred = || dns.first().map(|name| name.trim_start_matches("*.").to_owned());
    plain
        .or_else(starred)
        .filter(|name| !name.contains('*'))
        .unwrap_or_else(|| "elasticsearch".to_owned())
}

fn ask_options(mut options: NodeOptions, terminal: &mut dyn Terminal) -> NodeOptions {
    loop {
        heading(terminal, "The certificate");
        terminal.error(&format!(
            "Key name:  {}\nSubject:   {}\nKey size:  {}",
            options.name, options.dn, options.bits
        ));
        terminal.error(&format!("Key usage: {}", questions::names(&options.key_usages)));
        if !questions::confirm(terminal, "Change something?", false) {
            return options;
        }
        options.name = ask_or(terminal, "Key name", &options.name, questions::file_name);
        options.dn = questions::distinguished_name(terminal, "Subject", &options.dn);
        options.bits = questions::key_size(terminal, options.bits);
        options.key_usages = questions::key_usages(terminal, &options.key_usages);
    }
}

#[cfg(test)]
mod tests {
    use super::default_name;

    #[test]
    fn names_come_from_the_host_names() {
        let check = |dns: &[&str], expected: &str| {
            let dns: Vec<String> = dns.iter().map(ToString::to_string).collect();
            assert_eq!(default_name(&dns), expected);
        };
        check(&[], "elasticsearch");
        check(&["a.test", "b.test"], "a.test");
        check(&["*.a.test", "b.test"], "b.test");
        check(&["*.a.test", "*.b.test"], "a.test");
    }
}
