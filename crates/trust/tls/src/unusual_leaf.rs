//! Leaves that webpki does not look at: CA certificates shown by a server or client itself, and version 1.
//!
//! The original accepts both. Such paths are walked here, with the same rules for each certificate.

use certs::spki_pin;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::chain::{
    Broken, ChainRules, MAX_CHAIN_CERTIFICATES, Standing, check_issuer, check_itself, check_usage, outside_limits,
};
use crate::facts::Facts;
use crate::name_constraints::Limits;

/// The most signatures that are checked for one leaf.
const MAX_SIGNATURES: usize = 32;

/// The most comparisons of a name with a constraint for one leaf, as webpki has it: whoever connects may send thousands of both.
const MAX_COMPARISONS: usize = 250_000;

struct Step<'a> {
    certificate: &'a CertificateDer<'a>,
    facts: Facts,
}

struct Walk<'a> {
    rules: &'a ChainRules<'a>,
    others: &'a [CertificateDer<'a>],
    now: i64,
    signatures_left: usize,
    comparisons_left: usize,
    /// The failure that came furthest.
    broken: Option<Broken>,
}

pub(crate) fn verify(
    rules: &ChainRules<'_>,
    leaf: &CertificateDer<'_>,
    facts: &Facts,
    others: &[CertificateDer<'_>],
    now: i64,
) -> Result<(), Broken> {
    let mut walk = Walk {
        rules,
        others,
        now,
        signatures_left: MAX_SIGNATURES,
        comparisons_left: MAX_COMPARISONS,
        broken: None,
    };
    let mut path = vec![Step {
        certificate: leaf,
        facts: facts.clone(),
    }];
    if walk.climb(&mut path) {
        Ok(())
    } else {
        Err(walk.broken.unwrap_or_else(|| rules.unknown_authority("")))
    }
}

impl<'a> Walk<'a> {
    /// Whether an anchor is reached from the last certificate of `path`.
    fn climb(&mut self, path: &mut Vec<Step<'a>>) -> bool {
        let anchors = self.rules.anchors;
        for anchor in anchors.iter() {
            if self.accepts(path, &anchor.certificate, &anchor.facts, Standing::Anchor) {
                match self.check_whole(path, &anchor.certificate) {
                    Ok(()) => return true,
                    Err(broken) => self.broken = Some(broken),
                }
            }
        }
        if path.len() >= MAX_CHAIN_CERTIFICATES {
            return false;
        }
        for certificate in self.others {
            let seen = path.iter().any(|step| step.certificate == certificate);
            let Ok(facts) = Facts::of(certificate) else { continue };
            if !seen && self.accepts(path, certificate, &facts, Standing::Intermediate) {
                path.push(Step { certificate, facts });
                if self.climb(path) {
                    return true;
                }
                path.pop();
            }
        }
        false
    }

    fn check_whole(&self, path: &[Step<'a>], anchor: &CertificateDer<'_>) -> Result<(), Broken> {
        if let Some(leaf) = path.first() {
            check_usage(&leaf.facts, self.rules.leaf_name(), self.rules.role)?;
        }
        let presented = path.iter().map(|step| spki_pin(step.certificate));
        self.rules.check_pins(presented.chain([spki_pin(anchor)]))
    }

    /// Whether `issuer` may stand above the last certificate of `path` and signed it.
    fn accepts(&mut self, path: &[Step<'a>], issuer: &CertificateDer<'_>, facts: &Facts, standing: Standing) -> bool {
        let what = standing.in_words();
        let Some(last) = path.last() else { return false };
        if last.facts.raw_issuer != facts.raw_subject || self.signatures_left == 0 {
            return false;
        }
        self.signatures_left -= 1;
        if !self.signed(last.certificate, issuer) {
            return false;
        }
        if !self.can_afford(facts, path) {
            self.broken = Some(
                self.rules
                    .unknown_authority(": it has too many names and constraints on names"),
            );
            return false;
        }
        let below = path.iter().skip(1).filter(|step| !step.facts.self_issued).count();
        let checked = check_itself(facts, what, self.now)
            .and_then(|()| check_issuer(facts, standing, below))
            .and_then(|()| check_usage(facts, what, self.rules.role))
            .and_then(|()| check_names(self.rules, facts, standing, path));
        match checked {
            Ok(()) => true,
            Err(broken) => {
                self.broken.get_or_insert(broken);
                false
            }
        }
    }

    /// Pays for the comparison of the constraints of an issuer with every name below it.
    fn can_afford(&mut self, issuer: &Facts, path: &[Step<'a>]) -> bool {
        let constraints = issuer.limits.as_ref().map_or(0, Limits::len);
        let names: usize = path.iter().map(|step| step.facts.all_names.len()).sum();
        let left = self.comparisons_left.checked_sub(constraints * names);
        self.comparisons_left = left.unwrap_or(0);
        left.is_some()
    }

    fn signed(&self, certificate: &CertificateDer<'_>, issuer: &CertificateDer<'_>) -> bool {
        is_signed_by(certificate, issuer, self.rules.algorithms.all)
    }
}

/// Whether the key of `issuer` made the signature of `certificate`, whatever both say of themselves.
pub(crate) fn is_signed_by(
    certificate: &CertificateDer<'_>,
    issuer: &CertificateDer<'_>,
    algorithms: &[&dyn SignatureVerificationAlgorithm],
) -> bool {
    let (Ok((_, certificate)), Ok((_, issuer))) = (
        X509Certificate::from_der(certificate),
        X509Certificate::from_der(issuer),
    ) else {
        return false;
    };
    let public_key = SubjectPublicKeyInfoDer::from(issuer.public_key().raw);
    let Ok(key) = webpki::RawPublicKeyEntity::try_from(&public_key) else {
        return false;
    };
    let message = certificate.tbs_certificate.as_ref();
    let signature = &certificate.signature_value.data;
    algorithms
        .iter()
        .any(|algorithm| key.verify_signature(*algorithm, message, signature).is_ok())
}

/// Whether an issuer may issue for the names of everything below it. As elsewhere, an intermediate that was issued to the
/// same name is left out.
fn check_names(rules: &ChainRules<'_>, issuer: &Facts, standing: Standing, path: &[Step<'_>]) -> Result<(), Broken> {
    let Some(limits) = &issuer.limits else {
        return Ok(());
    };
    let mut below = path
        .iter()
        .enumerate()
        .filter(|(place, step)| *place == 0 || !step.facts.self_issued);
    let violation = below.find_map(|(place, step)| {
        let by_common_name = rules.by_common_name.filter(|name| place == 0 && !limits.allow(name));
        let name = limits.first_violation(&step.facts.all_names).or(by_common_name)?;
        Some(outside_limits(name, &step.facts, issuer, standing))
    });
    violation.map_or(Ok(()), Err)
}
