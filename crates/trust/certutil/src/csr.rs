//! `csr`: keys and the requests that another CA can sign.

use jiff::Timestamp;
use pki::{Csr, CsrRequest, SigningKey, Usages};

use crate::archive::{Access, Archive};
use crate::arguments::Options;
use crate::failure::Failure;
use crate::instances::{Instance, collect};
use crate::issue::{PemKeys, key_type, on_all_cores};
use crate::output;
use crate::passwords::{Protects, for_output};
use crate::terminal::Terminal;

pub(crate) fn run(options: &Options, terminal: &mut dyn Terminal) -> Result<(), Failure> {
    let (kind, keys) = (key_type(options)?, PemKeys::from_options(options)?);
    let instances = collect(options, terminal)?;
    let path = output::path(options, "csr-bundle.zip", terminal)?;
    let mut work = Vec::with_capacity(instances.len());
    for instance in &instances {
        let name = format!("{0}/{0}.key", instance.file);
        work.push((instance, for_output(options, Protects::PemKey, &name, terminal)?));
    }
    let made = on_all_cores(&work, terminal, |(instance, password)| {
        let key = SigningKey::generate(kind)?;
        let request = Csr::build(&request(instance), &key)?;
        Ok((request.pem(), keys.write(&key.to_key(), password.as_ref())?))
    })?;
    let mut archive = Archive::new(Timestamp::now());
    for (instance, (request, key)) in instances.iter().zip(made) {
        let file = &instance.file;
        archive.folder(file)?;
        archive.file(&format!("{file}/{file}.csr"), request.as_bytes(), Access::Everyone)?;
        archive.file(&format!("{file}/{file}.key"), key.expose().as_bytes(), Access::Owner)?;
    }
    output::write(&path, &archive.finish()?)?;
    if !options.has("silent") {
        terminal.print(&format!(
            "The requests and their keys are in {path}. Send the .csr files to your CA and keep the keys."
        ));
    }
    Ok(())
}

fn request(instance: &Instance) -> CsrRequest {
    CsrRequest {
        dn: instance.dn.clone(),
        dns: instance.dns.clone(),
        ips: instance.ips.clone(),
        other_names: instance.common_names.clone(),
        key_usages: Vec::new(),
        usages: Usages::None,
    }
}
