//! The certificate authorities and certificates of an installation, made once and kept in `certs/`.
//!
//! A root (RSA 2048; its fingerprint travels in join strings, its key is encrypted and not needed in daily work) and one
//! issuing CA each for Fleet Server, Elasticsearch API, console and agents, so that each can be replaced alone. Every
//! listener has an RSA and a P-256 leaf and sends its chain up to and including the root. A leaf is renewed, with its key, when
//! two thirds of its time are over; listeners follow their files.

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use certs::{CertificateSummary, Identity, IdentityNames, KeyFormat, PemSource, SubjectAltName};
use jiff::{SignedDuration, Timestamp};
use pki::{Authority, AuthorityRequest, Csr, CsrRequest, DistinguishedName, KeyType, LeafRequest, SigningKey, Usages};
use secret::Secret;

use super::random_secret;
use crate::data_dir::{DataDir, create_private};
use crate::host_names::{HostName, HostNames};
use crate::printer;

/// Ten years: a root that fleets are pinned to outlives the machines.
const ROOT_DAYS: u32 = 3650;
/// Five years.
const ISSUING_DAYS: u32 = 1825;
/// A little over two years, the longest that browsers have ever accepted.
const LEAF_DAYS: u32 = 820;

const ROOT: &str = "root-ca";
const FOLDER: &str = "certs";
/// The secret that opens the root's key.
const ROOT_PASSPHRASE: &str = "root-ca-passphrase";

/// What presents a certificate, or is presented to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Role {
    /// The listener on 8220.
    FleetServer,
    /// The listener on 9200.
    Elasticsearch,
    /// The listener on 5601.
    Console,
    /// Agents' client certificates.
    Agents,
}

impl Role {
    const ALL: [Self; 4] = [Self::FleetServer, Self::Elasticsearch, Self::Console, Self::Agents];

    /// The stem of its files.
    pub(super) fn stem(self) -> &'static str {
        match self {
            Self::FleetServer => "fleet-server",
            Self::Elasticsearch => "elasticsearch",
            Self::Console => "console",
            Self::Agents => "agent",
        }
    }

    fn authority_name(self) -> &'static str {
        match self {
            Self::FleetServer => "Flotilla Fleet Server CA",
            Self::Elasticsearch => "Flotilla Elasticsearch CA",
            Self::Console => "Flotilla Console CA",
            Self::Agents => "Flotilla Agent CA",
        }
    }

    fn is_listener(self) -> bool {
        self != Self::Agents
    }
}

/// The files of an installation's certificates.
#[derive(Clone, Debug)]
pub(super) struct Authorities {
    folder: Utf8PathBuf,
}

impl Authorities {
    /// Opens what an earlier start made, or makes everything. A leaf that does not cover `names` is issued anew by the
    /// same CA; nothing else changes.
    pub(super) fn open_or_make(data_dir: &DataDir, names: &HostNames) -> Result<Self> {
        let authorities = Self {
            folder: data_dir.join(FOLDER),
        };
        if authorities.root_certificate().exists() {
            authorities.check()?;
            authorities.cover(names)?;
            authorities.renew(names, clock::system().now())?;
        } else {
            authorities
                .make(data_dir, names)
                .context("cannot make the certificate authorities")?;
        }
        Ok(authorities)
    }

    /// The root's certificate, which others need to trust this installation.
    pub(super) fn root_certificate(&self) -> Utf8PathBuf {
        self.folder.join(format!("{ROOT}.crt"))
    }

    /// The CA that client certificates of agents are checked against.
    pub(super) fn agent_authority(&self) -> Utf8PathBuf {
        self.authority_certificate(Role::Agents)
    }

    /// Certificate and key files of the CA that signs for a role.
    pub(super) fn signing_pair(&self, role: Role) -> (Utf8PathBuf, Utf8PathBuf) {
        (self.authority_certificate(role), self.authority_key(role))
    }

    /// Certificate and key files of a listener: RSA first, then P-256.
    pub(super) fn listener_pairs(&self, role: Role) -> [(Utf8PathBuf, Utf8PathBuf); 2] {
        [KeyType::Rsa(2048), KeyType::EcdsaP256].map(|key_type| self.leaf_files(role, key_type))
    }

    /// The root's SHA-256 fingerprint, lower-case hex.
    pub(super) fn root_fingerprint(&self) -> Result<String> {
        let root = certs::load_certificates(&PemSource::Path(self.root_certificate()), "the root CA")?;
        let first = root.first().context("the root CA's file is empty")?;
        Ok(certs::fingerprint(first).to_string())
    }

    fn make(&self, data_dir: &DataDir, names: &HostNames) -> Result<()> {
        printer::note(format!(
            "making certificate authorities and certificates in {}",
            self.folder
        ));
        create_private(&self.folder)?;
        let root = Authority::generate(authority_request("Flotilla Root CA", ROOT_DAYS))?;
        for role in Role::ALL {
            let authority = root.issue_authority(authority_request(role.authority_name(), ISSUING_DAYS))?;
            self.write_authority(role, &authority)?;
            if role.is_listener() {
                self.issue_leaves(role, &authority, names)?;
            }
        }
        let passphrase = data_dir.secret(ROOT_PASSPHRASE, random_secret)?;
        let key = root.key_pem(KeyFormat::Pkcs8Encrypted(&passphrase));
        certs::write_file_atomically(&self.folder.join(format!("{ROOT}.key")), key.expose().as_bytes(), 0o600)?;
        // Last: its presence says that everything else is there, too.
        certs::write_file_atomically(&self.root_certificate(), root.certificate_pem().as_bytes(), 0o644)?;
        Ok(())
    }

    fn write_authority(&self, role: Role, authority: &Authority) -> Result<()> {
        let chain = certs::write_pem_certificates(authority.chain());
        certs::write_file_atomically(&self.authority_certificate(role), chain.as_bytes(), 0o644)?;
        let key = authority.key_pem(KeyFormat::Pkcs8);
        certs::write_file_atomically(&self.authority_key(role), key.expose().as_bytes(), 0o600)?;
        Ok(())
    }

    fn issue_leaves(&self, role: Role, authority: &Authority, names: &HostNames) -> Result<()> {
        for key_type in [KeyType::Rsa(2048), KeyType::EcdsaP256] {
            let identity = authority.issue(leaf_request(key_type, names))?;
            let (certificate, key) = self.leaf_files(role, key_type);
            certs::write_file_atomically(&key, pem_key(&identity)?.expose().as_bytes(), 0o600)?;
            let chain = certs::write_pem_certificates(&identity.chain);
            certs::write_file_atomically(&certificate, chain.as_bytes(), 0o644)?;
        }
        Ok(())
    }

    /// Every file is there and readable, each key belongs to its certificate.
    fn check(&self) -> Result<()> {
        for role in Role::ALL {
            self.authority(role).with_context(|| self.damaged())?;
            if role.is_listener() {
                for (certificate, key) in self.listener_pairs(role) {
                    load_pair(&certificate, &key).with_context(|| self.damaged())?;
                }
            }
        }
        Ok(())
    }

    fn damaged(&self) -> String {
        format!(
            "the certificates in `{}` are damaged; restore the folder from a backup",
            self.folder
        )
    }

    fn cover(&self, names: &HostNames) -> Result<()> {
        for role in Role::ALL.into_iter().filter(|role| role.is_listener()) {
            let (certificate, key) = &self.listener_pairs(role)[0];
            let present = load_pair(certificate, key)?;
            let summary = certs::describe(present.leaf());
            if !names.advertised.iter().all(|host| covers(&summary, host)) {
                printer::note(format!(
                    "issuing a certificate for {} that covers its new names",
                    role.stem()
                ));
                self.issue_leaves(role, &self.authority(role)?, names)?;
            }
        }
        Ok(())
    }

    /// Issues leaves anew that have less than a third of their time left. The keys stay, so that whoever knows a listener by
    /// its key still does.
    pub(super) fn renew(&self, names: &HostNames, now: Timestamp) -> Result<()> {
        for role in Role::ALL.into_iter().filter(|role| role.is_listener()) {
            let authority = self.authority(role)?;
            for key_type in [KeyType::Rsa(2048), KeyType::EcdsaP256] {
                let (certificate, key) = self.leaf_files(role, key_type);
                let present = load_pair(&certificate, &key)?;
                if !is_due(&certs::describe(present.leaf()), &authority, now) {
                    continue;
                }
                let request = LeafRequest {
                    valid_from: Some(now),
                    ..leaf_request(key_type, names)
                };
                let chain = certify_again(&authority, &present, &request)?;
                certs::write_file_atomically(&certificate, chain.as_bytes(), 0o644)?;
                tracing::info!(file = %certificate, "the certificate of a listener was renewed");
            }
        }
        Ok(())
    }

    fn authority(&self, role: Role) -> Result<Authority> {
        Ok(Authority::from_identity(load_pair(
            &self.authority_certificate(role),
            &self.authority_key(role),
        )?)?)
    }

    fn authority_certificate(&self, role: Role) -> Utf8PathBuf {
        self.folder.join(format!("{}-ca.crt", role.stem()))
    }

    fn authority_key(&self, role: Role) -> Utf8PathBuf {
        self.folder.join(format!("{}-ca.key", role.stem()))
    }

    fn leaf_files(&self, role: Role, key_type: KeyType) -> (Utf8PathBuf, Utf8PathBuf) {
        let kind = if matches!(key_type, KeyType::Rsa(_)) {
            "rsa"
        } else {
            "ecdsa"
        };
        let file = |ending: &str| self.folder.join(format!("{}.{kind}.{ending}", role.stem()));
        (file("crt"), file("key"))
    }
}

/// Whether two thirds of a leaf's time are over, and its authority can give it at least another day.
fn is_due(leaf: &CertificateSummary, authority: &Authority, now: Timestamp) -> bool {
    let (from, until) = (leaf.not_before.as_second(), leaf.not_after.as_second());
    let gain = authority.not_after().duration_since(leaf.not_after);
    now.as_second() >= from + (until - from) / 3 * 2 && gain >= SignedDuration::from_hours(24)
}

/// The chain of a new certificate for the key of `present`.
fn certify_again(authority: &Authority, present: &Identity, request: &LeafRequest) -> Result<String> {
    let key = SigningKey::from_key(&present.key)?;
    let asked = CsrRequest {
        dn: DistinguishedName::common_name(&request.common_name),
        dns: Vec::new(),
        ips: Vec::new(),
        other_names: Vec::new(),
        key_usages: Vec::new(),
        usages: Usages::Server,
    };
    let csr = Csr::build(&asked, &key)?;
    Ok(certs::write_pem_certificates(&authority.issue_for(&csr, request)?))
}

/// Only the names that other hosts are told count: a changed local address is no reason for a new certificate.
fn covers(summary: &CertificateSummary, host: &HostName) -> bool {
    summary.sans.iter().any(|name| match (name, host) {
        (SubjectAltName::Dns(name), HostName::Dns(wanted)) => name.eq_ignore_ascii_case(wanted),
        (SubjectAltName::Ip(address), HostName::Ip(wanted)) => address == wanted,
        _ => false,
    })
}

fn authority_request(common_name: &str, days: u32) -> AuthorityRequest {
    AuthorityRequest {
        subject_cn: common_name.to_owned(),
        key_type: KeyType::Rsa(2048),
        days,
        ..AuthorityRequest::default()
    }
}

fn leaf_request(key_type: KeyType, names: &HostNames) -> LeafRequest {
    LeafRequest {
        common_name: names.dns.last().cloned().unwrap_or_else(|| "localhost".to_owned()),
        dns: names.dns.clone(),
        ips: names.ips.clone(),
        key_type,
        days: LEAF_DAYS,
        usages: Usages::Server,
        ..LeafRequest::default()
    }
}

fn pem_key(identity: &Identity) -> Result<Secret> {
    Ok(certs::write_pem_key(&identity.key, KeyFormat::Pkcs8)?)
}

fn load_pair(certificate: &Utf8Path, key: &Utf8Path) -> Result<Identity> {
    let certificate = PemSource::Path(certificate.to_owned());
    let key = PemSource::Path(key.to_owned());
    Ok(certs::load_identity(
        &certificate,
        Some(&key),
        None,
        IdentityNames::default(),
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 60 * 60;

    struct Scene {
        _folder: tempfile::TempDir,
        authorities: Authorities,
        names: HostNames,
    }

    fn scene() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap().join("data");
        let names = HostNames::discover(&[HostName::Dns("fleet.test".to_owned())], "127.0.0.1".parse().unwrap());
        let authorities = Authorities::open_or_make(&DataDir::open(&root).unwrap(), &names).unwrap();
        Scene {
            _folder: folder,
            authorities,
            names,
        }
    }

    impl Scene {
        fn leaves(&self) -> Vec<Identity> {
            let listeners = Role::ALL.into_iter().filter(|role| role.is_listener());
            let pairs = listeners.flat_map(|role| self.authorities.listener_pairs(role));
            pairs
                .map(|(certificate, key)| load_pair(&certificate, &key).unwrap())
                .collect()
        }

        /// Serial numbers and keys after a look at a moment, in days from now.
        fn after(&self, days: i64) -> Vec<(String, Vec<u8>)> {
            let now = Timestamp::from_second(Timestamp::now().as_second() + days * DAY).unwrap();
            self.authorities.renew(&self.names, now).unwrap();
            let leaves = self.leaves();
            leaves
                .iter()
                .map(|leaf| (certs::describe(leaf.leaf()).serial, leaf.key.secret_der().to_vec()))
                .collect()
        }
    }

    #[test]
    fn leaves_are_renewed_with_their_keys_when_two_thirds_are_over() {
        let scene = scene();
        let first = scene.after(0);
        assert_eq!(
            (first.len(), scene.after(546)),
            (6, first.clone()),
            "820 days, two thirds are 546.7"
        );
        let second = scene.after(547);
        for (before, after) in first.iter().zip(&second) {
            assert_ne!(before.0, after.0, "another certificate");
            assert_eq!(before.1, after.1, "the same key");
        }
        let renewed = certs::describe(scene.leaves()[0].leaf());
        assert_eq!(
            renewed.not_after.duration_since(renewed.not_before),
            SignedDuration::from_hours(820 * 24)
        );
        assert!(covers(&renewed, &HostName::Dns("fleet.test".to_owned())));
        assert_eq!(scene.leaves()[0].chain.len(), 3, "up to the root");
    }

    /// The issuing authority lives for five years: the last leaf ends with it and is not renewed for less than a day.
    #[test]
    fn a_leaf_that_ends_with_its_authority_stays() {
        let scene = scene();
        let last = [547, 1094, 1641].map(|days| scene.after(days))[2].clone();
        let until = certs::describe(scene.leaves()[0].leaf()).not_after;
        assert_eq!(
            until,
            scene.authorities.authority(Role::FleetServer).unwrap().not_after()
        );
        assert_eq!(scene.after(1800), last);
    }
}
