//! Several ways from a leaf to a trusted certificate: cross-signed and renewed authorities, equal names, limits that only
//! one of the ways meets.
//!
//! Each scene is tried with a usual leaf and with one that is a CA itself, since those two take different ways through the
//! code, and with what is presented in both orders.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose as Usage, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, date_time_ymd,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::*;
use crate::values::negotiation;

/// 30 November 2026.
const NOW: u64 = 1_796_000_000;

/// A name and a key that several certificates may be about.
struct Subject {
    name: &'static str,
    key: KeyPair,
}

impl Subject {
    fn new(name: &'static str) -> Self {
        let key = KeyPair::generate().unwrap();
        Self { name, key }
    }

    /// Another key under the same name.
    fn namesake(&self) -> Self {
        Self::new(self.name)
    }

    fn ca(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, self.name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    fn itself(&self) -> Certificate {
        self.itself_as(self.ca())
    }

    fn itself_as(&self, params: CertificateParams) -> Certificate {
        params.self_signed(&self.key).unwrap().der().clone()
    }

    /// A certificate for `other`, as `params` say.
    fn vouches_for(&self, other: &Self, params: &CertificateParams) -> Certificate {
        let issuer = Issuer::new(self.ca(), &self.key);
        params.signed_by(&other.key, &issuer).unwrap().der().clone()
    }

    fn crosses(&self, other: &Self) -> Certificate {
        self.vouches_for(other, &other.ca())
    }

    fn leaf(&self, kind: Leaf) -> Certificate {
        self.vouches_for(&Self::new("leaf"), &kind.params())
    }
}

type Certificate = CertificateDer<'static>;

#[derive(Clone, Copy, Debug)]
enum Leaf {
    Usual,
    /// CA:TRUE, which takes the way of [`crate::unusual_leaf`].
    Authority,
}

impl Leaf {
    const BOTH: [Self; 2] = [Self::Usual, Self::Authority];

    fn params(self) -> CertificateParams {
        let mut params = CertificateParams::new(vec!["fleet.test".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "leaf");
        params.is_ca = match self {
            Self::Usual => IsCa::ExplicitNoCa,
            Self::Authority => IsCa::Ca(BasicConstraints::Unconstrained),
        };
        params
    }
}

fn expired(mut params: CertificateParams) -> CertificateParams {
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    params
}

fn verifier(trusted: &[&Certificate]) -> ServerVerifier {
    let negotiation = negotiation(&crate::SslSettings::default(), &mut Vec::new()).unwrap();
    ServerVerifier {
        mode: VerificationMode::Full,
        anchors: Arc::new(Anchors::new(trusted.iter().map(|certificate| (*certificate).clone()))),
        fingerprint: None,
        learned: Learned::default(),
        pins: Vec::new(),
        algorithms: negotiation.provider.signature_verification_algorithms,
        check_names: true,
    }
}

fn verdict_at(verifier: &ServerVerifier, leaf: &Certificate, others: &[Certificate], now: u64) -> String {
    let name = ServerName::try_from("fleet.test").unwrap();
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now));
    let outcome = verifier.verify(leaf, others, &name, now);
    outcome.map_or_else(|broken| broken.class.to_owned(), |()| "none".to_owned())
}

/// The verdict must not depend on the order of what is presented, nor on that of what is trusted.
#[track_caller]
fn check(trusted: &[&Certificate], leaf: &Certificate, others: &[&Certificate], expected: &str) {
    let others: Vec<Certificate> = others.iter().map(|certificate| (*certificate).clone()).collect();
    let backwards: Vec<Certificate> = others.iter().rev().cloned().collect();
    let trusted_backwards: Vec<&Certificate> = trusted.iter().rev().copied().collect();
    for trusted in [trusted, &trusted_backwards] {
        for others in [&others, &backwards] {
            assert_eq!(verdict_at(&verifier(trusted), leaf, others, NOW), expected);
        }
    }
}

#[test]
fn a_cross_signed_root_is_reached_by_either_way() {
    let (old, new) = (Subject::new("Old Root"), Subject::new("New Root"));
    let (old_itself, new_itself, cross) = (old.itself(), new.itself(), old.crosses(&new));
    let stranger = Subject::new("Stranger").itself();
    for kind in Leaf::BOTH {
        let leaf = new.leaf(kind);
        check(&[&old_itself], &leaf, &[&cross], "none");
        check(&[&old_itself], &leaf, &[&cross, &new_itself], "none");
        check(&[&new_itself], &leaf, &[], "none");
        check(&[&new_itself], &leaf, &[&cross], "none");
        check(&[&stranger, &new_itself], &leaf, &[&cross, &old_itself], "none");
        check(&[&old_itself], &leaf, &[&new_itself], "unknown_authority");
        check(
            &[&stranger],
            &leaf,
            &[&cross, &new_itself, &old_itself],
            "unknown_authority",
        );
    }
}

#[test]
fn an_expired_certificate_beside_its_renewal_does_no_harm() {
    let (root, middle) = (Subject::new("Root"), Subject::new("Middle"));
    let root_itself = root.itself();
    let good = root.crosses(&middle);
    let over = root.vouches_for(&middle, &expired(middle.ca()));
    let root_over = root.itself_as(expired(root.ca()));
    for kind in Leaf::BOTH {
        let leaf = middle.leaf(kind);
        check(&[&root_itself], &leaf, &[&over, &good], "none");
        check(&[&root_itself], &leaf, &[&over], "expired");
        // The root was renewed with its key: both are trusted, or the expired one is sent along.
        check(&[&root_over, &root_itself], &leaf, &[&good], "none");
        check(&[&root_itself], &leaf, &[&good, &root_over], "none");
        check(&[&root_over], &leaf, &[&good], "expired");
        check(&[&root_over], &leaf, &[&good, &root_itself], "expired");
    }
}

#[test]
fn of_equal_names_the_right_key_is_found() {
    let (root, middle) = (Subject::new("Root"), Subject::new("Middle"));
    let (other_root, other_middle) = (root.namesake(), middle.namesake());
    let (root_itself, other_itself) = (root.itself(), other_root.itself());
    let (right, wrong, foreign) = (
        root.crosses(&middle),
        root.crosses(&other_middle),
        other_root.crosses(&middle),
    );
    for kind in Leaf::BOTH {
        let leaf = middle.leaf(kind);
        check(&[&root_itself], &leaf, &[&wrong, &right], "none");
        check(&[&root_itself], &leaf, &[&wrong], "unknown_authority");
        check(&[&root_itself, &other_itself], &leaf, &[&wrong, &foreign], "none");
        check(&[&root_itself], &leaf, &[&foreign, &wrong], "unknown_authority");
    }
}

#[test]
fn a_limit_on_one_way_leaves_the_other_open() {
    let (root, middle) = (Subject::new("Root"), Subject::new("Middle"));
    let root_itself = root.itself();
    let good = root.crosses(&middle);
    let limited = |limit: &dyn Fn(&mut CertificateParams)| {
        let mut params = middle.ca();
        limit(&mut params);
        root.vouches_for(&middle, &params)
    };
    let for_clients = limited(&|params| params.extended_key_usages = vec![Usage::ClientAuth]);
    let no_ca = limited(&|params| params.is_ca = IsCa::ExplicitNoCa);
    let silent = limited(&|params| params.is_ca = IsCa::NoCa);
    let signs_data = limited(&|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
    let elsewhere = limited(&|params| {
        let name = rcgen::GeneralSubtree::DnsName("other.test".to_owned());
        params.name_constraints = Some(rcgen::NameConstraints {
            permitted_subtrees: vec![name],
            excluded_subtrees: Vec::new(),
        });
    });
    for kind in Leaf::BOTH {
        let leaf = middle.leaf(kind);
        for (one, class) in [
            (&for_clients, "key_usage"),
            (&no_ca, "unknown_authority"),
            (&silent, "unknown_authority"),
            (&signs_data, "unknown_authority"),
            (&elsewhere, "name_constraint"),
        ] {
            check(&[&root_itself], &leaf, &[one], class);
            check(&[&root_itself], &leaf, &[one, &good], "none");
        }
    }
}

#[test]
fn path_length_counts_on_each_way_for_itself() {
    let (root, upper, lower) = (Subject::new("Root"), Subject::new("Upper"), Subject::new("Lower"));
    let root_itself = root.itself();
    let mut short = upper.ca();
    short.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let (short, free) = (root.vouches_for(&upper, &short), root.crosses(&upper));
    let (below, direct) = (upper.crosses(&lower), root.crosses(&lower));
    for kind in Leaf::BOTH {
        let leaf = lower.leaf(kind);
        check(&[&root_itself], &leaf, &[&below, &short], "path_length");
        check(&[&root_itself], &leaf, &[&below, &short, &free], "none");
        check(&[&root_itself], &leaf, &[&below, &short, &direct], "none");
        // A trusted intermediate needs nothing above it, but its own limit counts.
        check(&[&short], &leaf, &[&below], "path_length");
        check(&[&free], &leaf, &[&below], "none");
    }
}

#[test]
fn a_pin_may_stand_on_any_of_the_ways() {
    let (old, new) = (Subject::new("Old Root"), Subject::new("New Root"));
    let (old_itself, new_itself, cross) = (old.itself(), new.itself(), old.crosses(&new));
    for kind in Leaf::BOTH {
        let leaf = new.leaf(kind);
        let others = [cross.clone()];
        for (pinned, expected) in [
            (&old_itself, "none"),
            (&new_itself, "none"),
            (&leaf, "none"),
            (&Subject::new("x").itself(), "pin_mismatch"),
        ] {
            let mut verifier = verifier(&[&new_itself, &old_itself]);
            verifier.pins = vec![certs::spki_pin(pinned)];
            assert_eq!(verdict_at(&verifier, &leaf, &others, NOW), expected, "{kind:?}");
        }
    }
}

#[test]
fn validity_holds_to_the_second() {
    let root = Subject::new("Root");
    let root_itself = root.itself();
    for kind in Leaf::BOTH {
        let mut params = kind.params();
        (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2026, 7, 1));
        let (from, until) = (1_767_225_600, 1_782_864_000);
        let leaf = root.vouches_for(&Subject::new("leaf"), &params);
        for (now, expected) in [
            (from - 1, "not_yet_valid"),
            (from, "none"),
            (until, "none"),
            (until + 1, "expired"),
        ] {
            assert_eq!(
                verdict_at(&verifier(&[&root_itself]), &leaf, &[], now),
                expected,
                "{now}"
            );
        }
    }
}

/// A name that only the common name says must lie within the same limits: webpki and Go do not look at it.
#[test]
fn constraints_hold_for_the_common_name_that_is_used() {
    let root = Subject::new("Root");
    let mut limited = root.ca();
    limited.name_constraints = Some(rcgen::NameConstraints {
        permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("inside.test".to_owned())],
        excluded_subtrees: Vec::new(),
    });
    let (free, limited) = (root.itself(), root.itself_as(limited));
    for kind in Leaf::BOTH {
        for (name, sans, host, expected) in [
            ("fleet.test", &[][..], "fleet.test", "name_constraint"),
            ("inside.test", &[], "inside.test", "none"),
            ("*.inside.test", &[], "a.inside.test", "none"),
            // The common name counts for nothing here, so it may be anything.
            ("fleet.test", &["inside.test"], "inside.test", "none"),
            ("fleet", &["10.0.0.1"], "10.0.0.1", "none"),
        ] {
            let mut params = CertificateParams::new(sans.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
            params.is_ca = kind.params().is_ca;
            params.distinguished_name.push(DnType::CommonName, name);
            let leaf = root.vouches_for(&Subject::new("leaf"), &params);
            let found = |trusted: &Certificate| {
                let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(NOW));
                let outcome = verifier(&[trusted]).verify(&leaf, &[], &ServerName::try_from(host).unwrap(), now);
                outcome.map_or_else(|broken| broken.class.to_owned(), |()| "none".to_owned())
            };
            assert_eq!(found(&limited), expected, "{kind:?} {name}");
            assert_eq!(found(&free), "none", "{kind:?} {name}");
        }
    }
}

/// Hundreds of names under hundreds of constraints are the work of somebody who wants to keep a listener busy.
#[test]
fn names_and_constraints_are_compared_within_bounds() {
    let (root, stranger) = (Subject::new("Root"), Subject::new("Stranger"));
    let limited = |subject: &Subject, count: usize| {
        let mut params = subject.ca();
        let permitted = (0..count).map(|number| rcgen::GeneralSubtree::DnsName(format!("x{number}.test")));
        params.name_constraints = Some(rcgen::NameConstraints {
            permitted_subtrees: permitted
                .chain([rcgen::GeneralSubtree::DnsName("fleet.test".to_owned())])
                .collect(),
            excluded_subtrees: Vec::new(),
        });
        subject.itself_as(params)
    };
    for kind in Leaf::BOTH {
        let with_names = |issuer: &Subject, count: usize| {
            let mut params = kind.params();
            let names = (0..count).map(|number| format!("n{number}.fleet.test").try_into().unwrap());
            params.subject_alt_names.extend(names.map(rcgen::SanType::DnsName));
            issuer.vouches_for(&Subject::new("leaf"), &params)
        };
        check(&[&limited(&root, 50)], &with_names(&root, 50), &[], "none");
        // The library's own bound for usual leaves takes long to reach in a debug build.
        if matches!(kind, Leaf::Authority) {
            let unknown = limited(&stranger, 700);
            check(
                &[&limited(&root, 700)],
                &with_names(&root, 700),
                &[],
                "unknown_authority",
            );
            check(
                &[&root.itself()],
                &with_names(&stranger, 700),
                &[&unknown],
                "unknown_authority",
            );
        }
    }
}

#[test]
fn two_extensions_of_a_kind_are_refused() {
    let root = Subject::new("Root");
    for kind in Leaf::BOTH {
        let mut params = kind.params();
        // A second extended key usage, for servers.
        params.extended_key_usages = vec![Usage::ServerAuth];
        let again = [0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1].to_vec();
        let extension = rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 37], again);
        params.custom_extensions.push(extension);
        let leaf = root.vouches_for(&Subject::new("leaf"), &params);
        check(&[&root.itself()], &leaf, &[], "certificate_unreadable");
    }
}

#[test]
fn keys_of_every_kind_sign_and_are_signed() {
    let kinds = [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519];
    for above in kinds {
        for below in kinds {
            let subject = |name, kind| Subject {
                name,
                key: KeyPair::generate_for(kind).unwrap(),
            };
            let (root, middle) = (subject("Root", above), subject("Middle", below));
            for kind in Leaf::BOTH {
                check(&[&root.itself()], &middle.leaf(kind), &[&root.crosses(&middle)], "none");
            }
        }
    }
}
