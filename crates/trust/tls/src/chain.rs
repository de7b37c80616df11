//! From a presented chain to a trusted certificate.
//!
//! Paths are built and their signatures and name constraints checked by webpki. What webpki leaves to others is checked
//! here, for each path it offers: the anchor's own dates, CA flag, path length and key usage; the key usage of issuers;
//! the extended key usage of every certificate; the pins. A certificate that is itself an anchor needs no path, and a leaf
//! that webpki does not look at (CA:TRUE or version 1) takes the way of [`crate::unusual_leaf`].

use std::cell::RefCell;

use certs::spki_pin;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, VerifiedPath};

use crate::anchors::Anchors;
use crate::facts::{Facts, Role, day};
use crate::name_constraints::Name;
use crate::unusual_leaf;

/// The most certificates that are looked at in one handshake.
pub const MAX_CHAIN_CERTIFICATES: usize = 8;

/// The most octets of certificates that are looked at in one handshake.
pub const MAX_CHAIN_BYTES: usize = 32 << 10;

/// The rule that was broken. `class` is one of the stable classes.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    pub(crate) class: &'static str,
    pub(crate) rule: String,
    pub(crate) hint: Option<String>,
}

impl Broken {
    pub(crate) fn new(class: &'static str, rule: impl Into<String>) -> Self {
        Self {
            class,
            rule: rule.into(),
            hint: None,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Of several failed paths the one that came furthest tells most.
    fn progress(&self) -> u8 {
        match self.class {
            "pin_mismatch" => 3,
            "key_usage" => 2,
            _ => 1,
        }
    }
}

/// What a chain is held against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChainRules<'a> {
    pub(crate) anchors: &'a Anchors,
    pub(crate) pins: &'a [String],
    pub(crate) role: Role,
    pub(crate) algorithms: &'a WebPkiSupportedAlgorithms,
    /// The host, when only the common name covers it: no constraint on names may be got around that way.
    pub(crate) by_common_name: Option<&'a Name>,
}

/// Refuses chains that are too long to be looked at.
pub(crate) fn check_size(leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<(), Broken> {
    let bytes = leaf.len() + others.iter().map(|certificate| certificate.len()).sum::<usize>();
    if others.len() < MAX_CHAIN_CERTIFICATES && bytes <= MAX_CHAIN_BYTES {
        return Ok(());
    }
    Err(Broken::new(
        "chain_too_long",
        format!(
            "{} certificates with {bytes} bytes were presented; at most {MAX_CHAIN_CERTIFICATES} certificates and \
             {MAX_CHAIN_BYTES} bytes are looked at",
            others.len() + 1
        ),
    )
    .hint("send the certificate, its intermediates and at most the root"))
}

/// Whether the dates and critical extensions of one certificate are in order. `what` names it in the rule.
pub(crate) fn check_itself(facts: &Facts, what: &str, now: i64) -> Result<(), Broken> {
    let subject = &facts.subject;
    if let Some(extension) = &facts.unknown_critical {
        let rule = format!("{what} (`{subject}`) has the critical extension {extension}, which is not understood");
        return Err(Broken::new("critical_extension", rule).hint("issue it anew without that extension"));
    }
    if now < facts.not_before {
        let from = facts.not_before_in_words();
        return Err(Broken::new(
            "not_yet_valid",
            format!("{what} (`{subject}`) is valid only from {from}; it is now {}", day(now)),
        )
        .hint("wait, or check the clocks of both machines"));
    }
    if now > facts.not_after {
        let until = facts.not_after_in_words();
        return Err(Broken::new(
            "expired",
            format!("{what} (`{subject}`) expired at {until}; it is now {}", day(now)),
        )
        .hint("issue it anew, or check the clock of this machine"));
    }
    Ok(())
}

/// Where an issuer stands in a path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    /// It was presented, and its own issuer vouches for it.
    Intermediate,
    /// It is trusted by configuration.
    Anchor,
}

impl Standing {
    pub(crate) fn in_words(self) -> &'static str {
        match self {
            Self::Intermediate => "the intermediate",
            Self::Anchor => "the trusted certificate",
        }
    }
}

/// Whether a certificate may stand as the issuer in a path with `below` other issuers between it and the leaf.
///
/// Version 1 cannot say that it is no CA, so only an anchor may be of it: any leaf of that version could else issue.
pub(crate) fn check_issuer(facts: &Facts, standing: Standing, below: usize) -> Result<(), Broken> {
    let (subject, what) = (&facts.subject, standing.in_words());
    let trusted_version_1 = facts.first_version && standing == Standing::Anchor;
    let is_ca = facts.is_ca == Some(true) || trusted_version_1;
    if !is_ca || facts.may_sign_certificates == Some(false) {
        let reason = match facts.is_ca {
            Some(true) => "its keyUsage lacks keyCertSign",
            Some(false) => "it says CA:FALSE",
            None => "it has no basicConstraints",
        };
        let rule = format!("{what} (`{subject}`) may not issue certificates: {reason}");
        return Err(Broken::new("unknown_authority", rule)
            .hint("make a CA with basicConstraints CA:TRUE and keyUsage keyCertSign"));
    }
    match facts.path_length {
        Some(allowed) if below > allowed as usize => Err(Broken::new(
            "path_length",
            format!("{what} (`{subject}`) allows {allowed} intermediates below it, but the chain has {below}"),
        )
        .hint("issue the certificate from a CA that stands higher, or renew that CA with a longer path length")),
        _ => Ok(()),
    }
}

/// Whether the extended key usage of one certificate fits.
pub(crate) fn check_usage(facts: &Facts, what: &str, role: Role) -> Result<(), Broken> {
    if facts.allows(role) {
        return Ok(());
    }
    let (subject, purpose, found) = (&facts.subject, role.purpose(), facts.usages_in_words());
    Err(Broken::new(
        "key_usage",
        format!("{what} (`{subject}`) is for {found}, not for {purpose}"),
    )
    .hint(format!("issue it with the extended key usage {purpose}, or with none")))
}

/// A name that an issuer above it may not issue for.
pub(crate) fn outside_limits(name: &Name, holder: &Facts, issuer: &Facts, standing: Standing) -> Broken {
    let (what, subject) = (standing.in_words(), &issuer.subject);
    Broken::new(
        "name_constraint",
        format!(
            "{name} of `{}` is outside what {what} (`{subject}`) may issue for (nameConstraints)",
            holder.subject
        ),
    )
    .hint("issue the certificate for permitted names, or from a CA without that limit")
}

impl ChainRules<'_> {
    /// Whether the chain leads to an anchor by all the rules.
    pub(crate) fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        facts: &Facts,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Broken> {
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        check_itself(facts, self.leaf_name(), seconds)?;
        if self.anchors.holds(leaf) {
            check_usage(facts, self.leaf_name(), self.role)?;
            return self.check_pins(std::iter::once(spki_pin(leaf)));
        }
        let leaf_is_unusual = facts.is_ca == Some(true) || facts.first_version;
        if leaf_is_unusual {
            return unusual_leaf::verify(self, leaf, facts, others, seconds);
        }
        self.verify_path(leaf, facts, others, now)
    }

    fn verify_path(
        &self,
        leaf: &CertificateDer<'_>,
        facts: &Facts,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Broken> {
        let end_entity = EndEntityCert::try_from(leaf).map_err(|error| self.in_words(&error, facts))?;
        let broken: RefCell<Option<Broken>> = RefCell::new(None);
        let check = |path: &VerifiedPath<'_>| {
            self.check_path(leaf, facts, path, now).map_err(|found| {
                let mut kept = broken.borrow_mut();
                if kept
                    .as_ref()
                    .is_none_or(|earlier| found.progress() > earlier.progress())
                {
                    *kept = Some(found);
                }
                webpki::Error::UnknownIssuer
            })
        };
        let outcome = end_entity.verify_for_usage(
            self.algorithms.all,
            self.anchors.trust(),
            others,
            now,
            AnyUsage,
            None,
            Some(&check),
        );
        match outcome {
            Ok(_) => Ok(()),
            Err(error) => Err(broken.take().unwrap_or_else(|| self.in_words(&error, facts))),
        }
    }

    /// The rules that webpki leaves out, from the anchor down.
    fn check_path(
        &self,
        leaf: &CertificateDer<'_>,
        leaf_facts: &Facts,
        path: &VerifiedPath<'_>,
        now: UnixTime,
    ) -> Result<(), Broken> {
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let anchor = self.anchors.behind(path.anchor()).ok_or_else(unreadable)?;
        let mut issuers = Vec::new();
        for certificate in path.intermediate_certificates() {
            let certificate = certificate.der().into_owned();
            let facts = Facts::of(&certificate).map_err(|_| unreadable())?;
            issuers.push((certificate, facts));
        }
        let mut below = 0;
        for (_, facts) in &issuers {
            check_issuer(facts, Standing::Intermediate, below)?;
            below += usize::from(!facts.self_issued);
        }
        let trusted = Standing::Anchor.in_words();
        check_itself(&anchor.facts, trusted, seconds)?;
        check_issuer(&anchor.facts, Standing::Anchor, below)?;
        check_usage(leaf_facts, self.leaf_name(), self.role)?;
        for (_, facts) in &issuers {
            check_usage(facts, Standing::Intermediate.in_words(), self.role)?;
        }
        check_usage(&anchor.facts, trusted, self.role)?;
        for (_, facts) in &issuers {
            self.check_common_name(leaf_facts, facts, Standing::Intermediate)?;
        }
        self.check_common_name(leaf_facts, &anchor.facts, Standing::Anchor)?;
        let intermediates = issuers.iter().map(|(certificate, _)| certificate);
        self.check_pins(
            std::iter::once(leaf)
                .chain(intermediates)
                .chain([&anchor.certificate])
                .map(spki_pin),
        )
    }

    fn check_common_name(&self, leaf: &Facts, issuer: &Facts, standing: Standing) -> Result<(), Broken> {
        match (&issuer.limits, self.by_common_name) {
            (Some(limits), Some(name)) if !limits.allow(name) => Err(outside_limits(name, leaf, issuer, standing)),
            _ => Ok(()),
        }
    }

    /// Any certificate of the path may have the pin.
    pub(crate) fn check_pins(&self, path: impl Iterator<Item = String>) -> Result<(), Broken> {
        if self.pins.is_empty() {
            return Ok(());
        }
        let found: Vec<String> = path.collect();
        if found.iter().any(|pin| self.pins.contains(pin)) {
            return Ok(());
        }
        Err(Broken::new(
            "pin_mismatch",
            format!(
                "no certificate of the verified path has a public key with a pin of `ssl.ca_sha256`; the pins are {}",
                found.join(", ")
            ),
        )
        .hint(
            "a pin is the base64 of the SHA-256 of a public key; `flotilla tls show FILE` prints it for a certificate",
        ))
    }

    pub(crate) fn leaf_name(&self) -> &'static str {
        match self.role {
            Role::Server => "the server's certificate",
            Role::Client => "the client's certificate",
        }
    }

    /// No path to any anchor.
    pub(crate) fn unknown_authority(&self, detail: &str) -> Broken {
        let rule = format!("{} does not lead to a trusted certificate{detail}", self.leaf_name());
        Broken::new("unknown_authority", rule)
    }

    fn signature_in_words(&self, error: &webpki::Error) -> Broken {
        if *error == webpki::Error::InvalidSignatureForPublicKey {
            return self
                .unknown_authority(
                    ": a trusted certificate has the name of the issuer but another key, or a key that is too short",
                )
                .hint(
                    "the CA may have been made anew under the same name; compare fingerprints with `flotilla tls show`",
                );
        }
        self.unknown_authority(": it is signed with an algorithm that is not trusted, such as SHA-1")
            .hint("issue it anew with SHA-256 or better")
    }

    fn in_words(&self, error: &webpki::Error, leaf: &Facts) -> Broken {
        use webpki::Error as E;
        match error {
            E::CertExpired { not_after, .. } => Broken::new(
                "expired",
                format!(
                    "a certificate of the chain expired at {}",
                    day(not_after.as_secs().cast_signed())
                ),
            )
            .hint("issue it anew, or check the clock of this machine"),
            E::CertNotValidYet { not_before, .. } => Broken::new(
                "not_yet_valid",
                format!(
                    "a certificate of the chain is valid only from {}",
                    day(not_before.as_secs().cast_signed())
                ),
            )
            .hint("check the clocks of both machines"),
            E::NameConstraintViolation | E::MalformedNameConstraint | E::InvalidNetworkMaskConstraint => Broken::new(
                "name_constraint",
                format!(
                    "the names of `{}` are outside what a CA above it may issue for (nameConstraints)",
                    leaf.subject
                ),
            )
            .hint("issue the certificate for permitted names, or from a CA without that limit"),
            E::PathLenConstraintViolated => Broken::new(
                "path_length",
                "the chain has more intermediates than a CA in it allows (pathLenConstraint)",
            )
            .hint("issue the certificate from a CA that stands higher"),
            E::UnsupportedCriticalExtension => Broken::new(
                "critical_extension",
                "a certificate of the chain has a critical extension that is not understood",
            )
            .hint("issue it anew without that extension"),
            E::UnsupportedSignatureAlgorithmContext(_)
            | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
            | E::InvalidSignatureForPublicKey => self.signature_in_words(error),
            E::MaximumPathBuildCallsExceeded
            | E::MaximumPathDepthExceeded
            | E::MaximumSignatureChecksExceeded
            | E::MaximumNameConstraintComparisonsExceeded => {
                self.unknown_authority(" within the limits of what is tried")
            }
            E::UnsupportedCertVersion => self
                .unknown_authority(": a certificate above it is of X.509 version 1, which cannot say that it is a CA")
                .hint("issue that CA anew with basicConstraints CA:TRUE, or trust it itself"),
            E::EndEntityUsedAsCa => self.unknown_authority(": the certificate that issued it is not a CA"),
            E::UnknownIssuer => self.unknown_authority(""),
            other => Broken::new(
                "certificate_unreadable",
                format!("a presented certificate is malformed: {other}"),
            ),
        }
    }
}

pub(crate) fn unreadable() -> Broken {
    Broken::new("certificate_unreadable", "a presented certificate cannot be read")
}

/// Usages are checked by [`check_usage`], after the path is known to be trusted.
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}
