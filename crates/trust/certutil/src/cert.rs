//! `cert`: certificates with their keys.

use camino::Utf8Path;
use certs::{Identity, P12Identity, write_p12, write_pem_certificates};
use jiff::Timestamp;
use pki::{Authority, BeyondIssuer, KeyType, LeafRequest, self_signed};
use secret::Secret;

use crate::archive::{Access, Archive};
use crate::arguments::Options;
use crate::ca::days;
use crate::failure::Failure;
use crate::instances::{Instance, collect};
use crate::issue::{PemKeys, key_type, note_on_keys, on_all_cores};
use crate::passwords::{Protects, for_output};
use crate::terminal::Terminal;
use crate::{issuer, output};

/// How the certificates are made and written.
struct Plan {
    authority: Option<Authority>,
    key_type: KeyType,
    days: u32,
    beyond_issuer: BeyondIssuer,
    /// `None` writes PKCS#12.
    pem: Option<PemKeys>,
    with_chain: bool,
}

/// What is made of one instance, ready for the archive.
struct Made {
    certificate: Vec<u8>,
    /// Only in PEM a file of its own.
    key: Option<Secret>,
}

pub(crate) fn run(options: &Options, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let (key_type, days, keys) = (key_type(options)?, days(options)?, PemKeys::from_options(options)?);
    let plan = Plan {
        authority: issuer::load(options, terminal)?,
        key_type,
        days,
        // What was asked for must come true; what nobody asked for may be shorter.
        beyond_issuer: if options.has("days") {
            BeyondIssuer::Refuse
        } else {
            BeyondIssuer::Shorten
        },
        pem: options.has("pem").then_some(keys),
        with_chain: options.has("chain"),
    };
    let instances = collect(options, terminal)?;
    let single = !(options.has("pem") || options.has("multiple") || options.has("in"));
    let path = output::path(options, &default_name(options, single, &instances), terminal)?;
    let bytes = if single {
        let file = path.file_name().unwrap_or(path.as_str()).to_owned();
        let password = for_output(options, Protects::Pkcs12, &file, terminal)?;
        plan.make(&instances[0], password.as_ref())?.certificate
    } else {
        archive(&plan, &instances, options, terminal)?
    };
    output::write(&path, &bytes)?;
    if !options.has("silent") {
        report(&plan, &path, instances.len(), terminal);
    }
    Ok(())
}

fn default_name(options: &Options, single: bool, instances: &[Instance]) -> String {
    match (single, options.has("name")) {
        (false, _) => "certificate-bundle.zip".to_owned(),
        (true, true) => format!("{}.p12", instances[0].file),
        (true, false) => "elastic-certificates.p12".to_owned(),
    }
}

fn archive(
    plan: &Plan,
    instances: &[Instance],
    options: &Options,
    terminal: &mut dyn Terminal,
) -> Result<Vec<u8>, Failure> {
    let (protects, extension) = if plan.pem.is_some() {
        (Protects::PemKey, "key")
    } else {
        (Protects::Pkcs12, "p12")
    };
    let mut work = Vec::with_capacity(instances.len());
    for instance in instances {
        let name = format!("{0}/{0}.{extension}", instance.file);
        work.push((instance, for_output(options, protects, &name, terminal)?));
    }
    let made = on_all_cores(&work, terminal, |(instance, password)| {
        plan.make(instance, password.as_ref())
    })?;
    let mut archive = Archive::new(Timestamp::now());
    for (instance, made) in instances.iter().zip(made) {
        let file = &instance.file;
        archive.folder(file)?;
        match made.key {
            Some(key) => {
                archive.file(&format!("{file}/{file}.crt"), &made.certificate, Access::Everyone)?;
                archive.file(&format!("{file}/{file}.key"), key.expose().as_bytes(), Access::Owner)?;
            }
            None => archive.file(&format!("{file}/{file}.p12"), &made.certificate, Access::Owner)?,
        }
    }
    archive.finish()
}

impl Plan {
    fn make(&self, instance: &Instance, password: Option<&Secret>) -> Result<Made, Failure> {
        let identity = self.issue(instance)?;
        let shown = if self.with_chain { identity.chain.len() } else { 1 };
        let chain = &identity.chain[..shown];
        if let Some(keys) = self.pem {
            let certificate = write_pem_certificates(chain).into_bytes();
            return Ok(Made {
                certificate,
                key: Some(keys.write(&identity.key, password)?),
            });
        }
        let alias = instance.name.to_lowercase();
        let entry = P12Identity {
            alias: &alias,
            key: &identity.key,
            chain,
            created: Timestamp::now(),
        };
        let trusted: Vec<_> = self
            .authority
            .iter()
            .map(|authority| ("ca", authority.certificate()))
            .collect();
        let blank = Secret::from("");
        let certificate = write_p12(Some(&entry), &trusted, password.unwrap_or(&blank))?;
        Ok(Made { certificate, key: None })
    }

    fn issue(&self, instance: &Instance) -> Result<Identity, Failure> {
        let request = LeafRequest {
            dn: Some(instance.dn.clone()),
            dns: instance.dns.clone(),
            ips: instance.ips.clone(),
            other_names: instance.common_names.clone(),
            key_type: self.key_type,
            days: self.days,
            beyond_issuer: self.beyond_issuer,
            ..LeafRequest::default()
        };
        Ok(match &self.authority {
            Some(authority) => authority.issue(request)?,
            None => self_signed(request)?,
        })
    }
}

fn report(plan: &Plan, path: &Utf8Path, count: usize, terminal: &mut dyn Terminal) {
    let what = if count == 1 {
        "The certificate and its key are".to_owned()
    } else {
        format!("{count} certificates and their keys are")
    };
    terminal.print(&format!("{what} in {path}. Keep the keys secret."));
    if plan.pem.is_some() && plan.authority.is_some() {
        terminal.print("Whoever connects also needs the certificate of the CA, which is not in the archive.");
    }
    if let Some(authority) = &plan.authority {
        let asked = Timestamp::now().checked_add(jiff::SignedDuration::from_hours(i64::from(plan.days) * 24));
        if asked.is_ok_and(|asked| asked.duration_since(authority.not_after()).as_hours() >= 24) {
            terminal.print(&format!(
                "note: the CA ends on {}, so the certificates end then as well",
                authority.not_after()
            ));
        }
    }
    note_on_keys(plan.key_type, terminal);
}
