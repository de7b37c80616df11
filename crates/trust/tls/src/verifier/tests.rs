//! Chains that the table of cases does not have, made here; and whatever comes, no panic and no wrong yes.

use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, GeneralSubtree, IsCa, Issuer, KeyPair,
    NameConstraints,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::*;
use crate::values::negotiation;

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

fn params(name: &str, sans: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::new(sans.iter().map(|san| (*san).to_owned()).collect::<Vec<_>>()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = params(name, &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

impl Ca {
    fn root(params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    fn below(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    fn issue(&self, params: CertificateParams) -> CertificateDer<'static> {
        self.below(params).certificate
    }
}

fn verifier(mode: VerificationMode, roots: &[&Ca]) -> ServerVerifier {
    let negotiation = negotiation(&crate::SslSettings::default(), &mut Vec::new()).unwrap();
    ServerVerifier {
        mode,
        anchors: Arc::new(Anchors::new(roots.iter().map(|root| root.certificate.clone()))),
        fingerprint: None,
        learned: Learned::default(),
        pins: Vec::new(),
        algorithms: negotiation.provider.signature_verification_algorithms,
        check_names: true,
    }
}

/// The class of the broken rule, or `none`.
fn verdict(verifier: &ServerVerifier, chain: &[CertificateDer<'_>], host: &str) -> String {
    let (leaf, others) = chain.split_first().unwrap();
    let name = ServerName::try_from(host).unwrap();
    let outcome = verifier.verify(leaf, others, &name, UnixTime::now());
    outcome.map_or_else(|broken| broken.class.to_owned(), |()| "none".to_owned())
}

fn limited(name: &str, permitted: &[&str], excluded: &[&str]) -> CertificateParams {
    let subtrees = |names: &[&str]| {
        names
            .iter()
            .map(|name| GeneralSubtree::DnsName((*name).to_owned()))
            .collect()
    };
    let mut params = ca_params(name);
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: subtrees(permitted),
        excluded_subtrees: subtrees(excluded),
    });
    params
}

#[test]
fn name_constraints_hold_above_every_kind_of_leaf() {
    for leaf_is_ca in [false, true] {
        for (permitted, excluded, expected) in [
            (&["fleet.test"][..], &[][..], "none"),
            (&["test"], &[], "none"),
            (&["other.test"], &[], "name_constraint"),
            (&["test"], &["fleet.test"], "name_constraint"),
            (&[], &["other.test"], "none"),
            (&["fleet.test", "other.test"], &["x.fleet.test"], "none"),
        ] {
            let mut leaf = params("leaf", &["fleet.test"]);
            if leaf_is_ca {
                leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            }
            let told = format!("{permitted:?} {excluded:?} CA:{leaf_is_ca}");
            let root = Ca::root(limited("root", permitted, excluded));
            let direct = [root.issue(leaf.clone())];
            let full = verifier(VerificationMode::Full, &[&root]);
            assert_eq!(verdict(&full, &direct, "fleet.test"), expected, "by the anchor: {told}");

            let root = Ca::root(ca_params("free root"));
            let middle = root.below(limited("middle", permitted, excluded));
            let chain = [middle.issue(leaf), middle.certificate.clone()];
            let full = verifier(VerificationMode::Full, &[&root]);
            assert_eq!(
                verdict(&full, &chain, "fleet.test"),
                expected,
                "by an intermediate: {told}"
            );
        }
    }
}

#[test]
fn a_chain_is_refused_for_its_size_before_anything_is_verified() {
    let root = Ca::root(ca_params("root"));
    let leaf = root.issue(params("leaf", &["fleet.test"]));
    // Not one of these is a certificate: had anything looked at them, the class would be another.
    let junk = CertificateDer::from(vec![0x30, 0]);
    for mode in [VerificationMode::Full, VerificationMode::None] {
        let verifier = verifier(mode, &[&root]);
        let with_junk = |count: usize| {
            let mut chain = vec![leaf.clone()];
            chain.extend(std::iter::repeat_n(junk.clone(), count));
            verdict(&verifier, &chain, "fleet.test")
        };
        assert_eq!(with_junk(7), "none", "8 certificates, {mode:?}");
        assert_eq!(with_junk(8), "chain_too_long", "9 certificates, {mode:?}");
        let with_bytes = |bytes: usize| {
            let filler = CertificateDer::from(vec![0; bytes - leaf.len()]);
            verdict(&verifier, &[leaf.clone(), filler], "fleet.test")
        };
        assert_eq!(with_bytes(32 << 10), "none", "32 KiB, {mode:?}");
        assert_eq!(
            with_bytes((32 << 10) + 1),
            "chain_too_long",
            "more than 32 KiB, {mode:?}"
        );
        let junk_leaf = [CertificateDer::from(vec![0; (32 << 10) + 1])];
        assert_eq!(
            verdict(&verifier, &junk_leaf, "fleet.test"),
            "chain_too_long",
            "{mode:?}"
        );
    }
    let client = ClientVerifier {
        demand: ClientAuthentication::Required,
        anchors: Arc::new(Anchors::new([root.certificate.clone()])),
        hints: Vec::new(),
        pins: Vec::new(),
        algorithms: verifier(VerificationMode::Full, &[]).algorithms,
    };
    let others = vec![junk; 8];
    let broken = client.verify(&leaf, &others, UnixTime::now()).unwrap_err();
    assert_eq!(broken.class, "chain_too_long");
}

#[test]
fn an_extension_that_nobody_relies_on_may_be_of_any_size() {
    let root = Ca::root(ca_params("root"));
    let mut large = params("leaf", &["fleet.test"]);
    let filler = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![4, 0]);
    large.custom_extensions.push(filler);
    let full = verifier(VerificationMode::Full, &[&root]);
    assert_eq!(verdict(&full, &[root.issue(large)], "fleet.test"), "none");
}

#[test]
fn certificates_that_name_each_other_end() {
    let root = Ca::root(ca_params("root"));
    let loops: Vec<_> = (0..7).map(|_| Ca::root(ca_params("loop"))).collect();
    let mut leaf = params("leaf", &["fleet.test"]);
    for is_ca in [IsCa::ExplicitNoCa, IsCa::Ca(BasicConstraints::Unconstrained)] {
        leaf.is_ca = is_ca;
        let mut chain = vec![loops[0].issue(leaf.clone())];
        chain.extend(loops.iter().map(|ca| ca.certificate.clone()));
        let full = verifier(VerificationMode::Full, &[&root]);
        assert_eq!(verdict(&full, &chain, "fleet.test"), "unknown_authority");
    }
}

/// What the walks have in common, made once.
struct Scene {
    root: Ca,
    chain: Vec<CertificateDer<'static>>,
}

fn scene() -> &'static Scene {
    static SCENE: std::sync::OnceLock<Scene> = std::sync::OnceLock::new();
    SCENE.get_or_init(|| {
        let root = Ca::root(ca_params("root"));
        let middle = root.below(limited("middle", &["test"], &["not.test"]));
        let chain = vec![
            middle.issue(params("fleet.test", &["fleet.test", "10.0.0.1"])),
            middle.certificate.clone(),
        ];
        Scene { root, chain }
    })
}

fn modes() -> impl Strategy<Value = VerificationMode> {
    prop::sample::select(vec![
        VerificationMode::Full,
        VerificationMode::Strict,
        VerificationMode::Certificate,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(rounds()))]

    /// One changed octet anywhere makes the signature wrong, or the certificate another one.
    #[test]
    fn a_changed_certificate_is_never_trusted(
        mode in modes(), which in 0_usize..2, place in any::<prop::sample::Index>(), change in 1_u8..=255,
    ) {
        let scene = scene();
        let mut chain = scene.chain.clone();
        let mut octets = chain[which].to_vec();
        *place.get_mut(&mut octets) ^= change;
        chain[which] = CertificateDer::from(octets);
        let verifier = verifier(mode, &[&scene.root]);
        prop_assert_ne!(verdict(&verifier, &chain, "fleet.test"), "none");
    }

    #[test]
    fn any_octets_are_refused(chain in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 1..5)) {
        let scene = scene();
        let chain: Vec<_> = chain.into_iter().map(CertificateDer::from).collect();
        let verifier = verifier(VerificationMode::Full, &[&scene.root]);
        prop_assert_ne!(verdict(&verifier, &chain, "fleet.test"), "none");
    }

    /// What was cut off, or what follows the end, is no certificate; and the order after the leaf says nothing.
    #[test]
    fn a_certificate_is_exactly_its_octets(cut in 1_usize..300, more in prop::collection::vec(any::<u8>(), 1..20)) {
        let scene = scene();
        let verifier = verifier(VerificationMode::Full, &[&scene.root]);
        let leaf = &scene.chain[0];
        let shorter = CertificateDer::from(leaf[..leaf.len() - cut.min(leaf.len())].to_vec());
        prop_assert_ne!(verdict(&verifier, &[shorter, scene.chain[1].clone()], "fleet.test"), "none");
        let longer = CertificateDer::from([leaf.as_ref(), &more].concat());
        prop_assert_ne!(verdict(&verifier, &[longer, scene.chain[1].clone()], "fleet.test"), "none");
        let extra = CertificateDer::from(more);
        let shuffled = [leaf.clone(), extra, scene.root.certificate.clone(), scene.chain[1].clone()];
        prop_assert_eq!(verdict(&verifier, &shuffled, "fleet.test"), "none");
    }

    /// A name is covered by exactly the patterns that cover it.
    #[test]
    fn names_are_covered_as_the_rules_say(host in "[a-z]{1,5}(\\.[a-z]{1,5}){0,3}\\.?", pattern in "(\\*|[a-zA-Z*]{1,5})(\\.[a-z]{1,5}){0,3}") {
        let bare = host.trim_end_matches('.').to_owned();
        let expected = pattern == "*" && !bare.contains('.')
            || bare.eq_ignore_ascii_case(&pattern) && !pattern.contains('*')
            || pattern.strip_prefix("*.").is_some_and(|rest| {
                !rest.contains('*') && bare.split_once('.').is_some_and(|(_, below)| below == rest)
            });
        let facts = Facts { dns_names: vec![pattern], ..Facts::of(&scene().root.certificate).unwrap() };
        prop_assert_eq!(names::covers(&facts, &Host::parse(&host).unwrap(), VerificationMode::Strict), expected);
    }
}

/// More with `FLOTILLA_SOAK_ROUNDS`.
#[expect(clippy::disallowed_methods, reason = "a soak asks its caller for its length")]
fn rounds() -> u32 {
    let asked = std::env::var("FLOTILLA_SOAK_ROUNDS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(300)
}
