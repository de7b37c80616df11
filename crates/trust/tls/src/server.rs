//! An `ssl` block as a server uses it, with one pair or several of different key types.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use camino::Utf8PathBuf;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, ServerConfig, SignatureAlgorithm};
use rustls_pki_types::CertificateDer;
use secret::Secret;

use crate::anchors::{Anchors, system_roots};
use crate::client::{describe_authorities, describe_pair};
use crate::error::SslError;
use crate::explain::{Explanation, Side, explain};
use crate::facts::{Facts, Role};
use crate::material::{self, Authorities, Pair};
use crate::observe::{Observation, VerificationFailure, note};
use crate::options::{LoadOptions, Time};
use crate::reload::{History, ReloadOutcome, Reloadable, digest_of};
use crate::settings::{ClientAuthentication, SslSettings, VerificationMode};
use crate::status::{CertificateRole, CertificateStatus, TlsStatus};
use crate::values::negotiation;
use crate::verifier::ClientVerifier;

/// A server's TLS: loaded, matched, and replaced in place when its files change.
#[derive(Debug)]
pub struct ServerTls {
    /// The first block counts whole; of the others only the pair.
    blocks: Vec<SslSettings>,
    options: LoadOptions,
    current: ArcSwap<State>,
    history: Mutex<History>,
}

#[derive(Debug)]
struct State {
    config: Arc<ServerConfig>,
    pairs: Vec<Pair>,
    demand: ClientAuthentication,
    authorities: Authorities,
    anchors_in_use: usize,
    warnings: Vec<String>,
}

impl ServerTls {
    /// Loads a block with one pair. `enabled` is for the caller to look at: here the block is always used.
    ///
    /// # Errors
    /// The value or file that cannot be used, with class and hint.
    pub fn load(settings: &SslSettings, options: LoadOptions) -> Result<Arc<Self>, SslError> {
        Self::load_pairs(std::slice::from_ref(settings), options)
    }

    /// Loads a listener with several pairs, for instance RSA and ECDSA; each client gets the first that it can use. All
    /// settings but the pairs are those of the first block.
    ///
    /// # Errors
    /// As [`ServerTls::load`].
    pub fn load_pairs(blocks: &[SslSettings], options: LoadOptions) -> Result<Arc<Self>, SslError> {
        let digest = digest_of(&files(blocks, &options));
        let state = State::load(blocks, &options, None)?;
        for warning in &state.warnings {
            tracing::warn!(tls = %options.name, warning, "the TLS settings of a listener should be changed");
        }
        let history = Mutex::new(History::new(digest, options.clock.now()));
        Ok(Arc::new(Self {
            blocks: blocks.to_vec(),
            current: ArcSwap::from_pointee(state),
            history,
            options,
        }))
    }

    /// The configuration of this moment; take it anew for each connection, so that it follows reloads.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.current.load().config.clone()
    }

    /// What should be changed although it works.
    pub fn warnings(&self) -> Vec<String> {
        self.current.load().warnings.clone()
    }

    /// What clients are asked for.
    pub fn client_authentication(&self) -> ClientAuthentication {
        self.current.load().demand
    }

    /// What is configured, line by line; nothing secret.
    pub fn describe(&self) -> Vec<String> {
        let state = self.current.load();
        let mut lines: Vec<String> = state.pairs.iter().map(describe_pair).collect();
        lines.push(format!("client_authentication: {}", state.demand.as_str()));
        if state.demand != ClientAuthentication::None {
            lines.extend(describe_authorities(&state.authorities, state.anchors_in_use));
        }
        let pins = self
            .blocks
            .first()
            .map(|block| block.ca_sha256.join(", "))
            .unwrap_or_default();
        lines.extend((!pins.is_empty()).then(|| format!("ca_sha256: {pins}")));
        lines
    }

    /// Whether a certificate is past its end by this configuration's clock.
    pub fn has_expired(&self, certificate: &CertificateDer<'_>) -> bool {
        Facts::of(certificate).is_ok_and(|facts| self.options.clock.now().as_second() > facts.not_after)
    }

    /// Explains what went wrong in a handshake or with the first bytes after it.
    pub fn explain(&self, error: &io::Error, whom: &str, observation: &Observation) -> Explanation {
        explain(error, Side::Server, whom, observation).with_configured(self.describe())
    }
}

fn files(blocks: &[SslSettings], options: &LoadOptions) -> Vec<Utf8PathBuf> {
    let of_blocks = blocks.iter().flat_map(material::files);
    of_blocks.chain(options.issuers.iter().cloned()).collect()
}

impl State {
    /// `earlier` is what a reload replaces.
    fn load(blocks: &[SslSettings], options: &LoadOptions, earlier: Option<&Self>) -> Result<Self, SslError> {
        let mut warnings = Vec::new();
        let Some(settings) = blocks.first() else {
            return Err(SslError::ServerWithoutCertificate);
        };
        let negotiation = negotiation(settings, &mut warnings)?;
        let demand = settings.client_authentication()?;
        let (pairs, passphrase) = own_pairs(blocks, options, &negotiation.provider, &mut warnings)?;
        let passphrase = passphrase.as_ref();
        let trusted_before = earlier.map(|state| &state.authorities);
        let authorities = material::load_authorities(settings, passphrase, trusted_before, &mut warnings)?;
        let anchors = match &authorities {
            Some(found) => Arc::new(Anchors::new(found.certificates().cloned())),
            None if demand == ClientAuthentication::None => Arc::new(Anchors::default()),
            None => system_roots(),
        };
        let anchors_in_use = anchors.len();
        let named = authorities.is_some();
        let algorithms = negotiation.provider.signature_verification_algorithms;
        let verifier = verifier(settings, demand, anchors, named, algorithms);
        let mut config = ServerConfig::builder_with_details(negotiation.provider, Time::shared(&options.clock))
            .with_protocol_versions(&negotiation.versions)
            .map_err(|error| SslError::Library(error.to_string()))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(OwnPairs::new(&pairs)));
        config.alpn_protocols = options.alpn.protocols();
        // Every suite is a strong one; scanners report a server that leaves the choice to clients.
        config.ignore_client_order = true;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        if options.resumption {
            config.ticketer = Ticketer::new().map_err(|error| SslError::Library(error.to_string()))?;
            config.send_tls13_tickets = 1;
        }
        let config = Arc::new(config);
        Ok(Self {
            config,
            pairs,
            demand,
            authorities: authorities.unwrap_or_default(),
            anchors_in_use,
            warnings,
        })
    }
}

/// The pairs of all blocks, and the passphrase of the first one, which may be that of its authorities as well.
fn own_pairs(
    blocks: &[SslSettings],
    options: &LoadOptions,
    provider: &CryptoProvider,
    warnings: &mut Vec<String>,
) -> Result<(Vec<Pair>, Option<Secret>), SslError> {
    let issuers = material::load_issuers(&options.issuers)?;
    let (mut pairs, mut passphrases) = (Vec::new(), Vec::new());
    for block in blocks {
        let passphrase = material::passphrase(block)?;
        let pair = material::load_pair(block, passphrase.as_ref(), provider, Role::Server, &issuers, warnings)?;
        pairs.push(pair.ok_or(SslError::ServerWithoutCertificate)?);
        passphrases.push(passphrase);
    }
    Ok((pairs, passphrases.into_iter().next().flatten()))
}

/// Whoever verifies clients; nobody when they are not asked.
fn verifier(
    settings: &SslSettings,
    demand: ClientAuthentication,
    anchors: Arc<Anchors>,
    anchors_are_named: bool,
    algorithms: WebPkiSupportedAlgorithms,
) -> Arc<dyn ClientCertVerifier> {
    if demand == ClientAuthentication::None {
        return WebPkiClientVerifier::no_client_auth();
    }
    // The names of the system's roots would fill a large part of each handshake and help nobody.
    let hints = if anchors_are_named { anchors.hints() } else { Vec::new() };
    let pins = pins(settings);
    Arc::new(ClientVerifier {
        demand,
        anchors,
        hints,
        pins,
        algorithms,
    })
}

/// With `verification_mode: none` a server leaves out the pins of its clients, and nothing else.
fn pins(settings: &SslSettings) -> Vec<String> {
    if settings.verification_mode == VerificationMode::None {
        Vec::new()
    } else {
        settings.ca_sha256.clone()
    }
}

/// Picks the pair that a client can use; ECDSA and Ed25519 before RSA, because they cost the server less.
#[derive(Debug)]
struct OwnPairs {
    usable: Vec<Arc<CertifiedKey>>,
    key_types: String,
}

impl OwnPairs {
    fn new(pairs: &[Pair]) -> Self {
        let mut usable: Vec<_> = pairs.iter().filter_map(|pair| pair.certified.clone()).collect();
        usable.sort_by_key(|pair| pair.key.algorithm() == SignatureAlgorithm::RSA);
        let key_types = pairs
            .iter()
            .map(|pair| pair.key_type.clone())
            .collect::<Vec<_>>()
            .join(", ");
        Self { usable, key_types }
    }
}

impl ResolvesServerCert for OwnPairs {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut signing = self.usable.iter().filter(|pair| signs(pair, &hello)).peekable();
        let first = signing.peek().copied();
        let found = signing.find(|pair| suits(pair, &hello)).or(first);
        if found.is_none() {
            let failure = self.nothing_for_this_client();
            note(|observation| observation.failure = Some(Arc::new(failure)));
        }
        // The library refuses a pair that does not fit with the alert of a failed handshake; no pair at all with one that
        // scanners do not expect.
        found.or(self.usable.first()).cloned()
    }
}

impl OwnPairs {
    fn nothing_for_this_client(&self) -> VerificationFailure {
        let (rule, hint) = if self.usable.is_empty() {
            (
                format!("no key of this server can be used in a handshake ({})", self.key_types),
                "use a certificate with RSA 2048, P-256, P-384, P-521 or Ed25519",
            )
        } else {
            (
                format!(
                    "the client takes no signature that a key of this server makes ({})",
                    self.key_types
                ),
                "give the server an RSA or a P-256 pair as well, or let the client accept more signature algorithms",
            )
        };
        VerificationFailure {
            class: "unsupported_key_type",
            rule,
            hint: Some(hint.to_owned()),
            presented: Vec::new(),
        }
    }
}

fn signs(pair: &CertifiedKey, hello: &ClientHello<'_>) -> bool {
    pair.key.choose_scheme(hello.signature_schemes()).is_some()
}

/// A client may name suites of TLS 1.3 without offering that version, so the suites of TLS 1.2 decide where there are any.
fn suits(pair: &CertifiedKey, hello: &ClientHello<'_>) -> bool {
    let rsa = pair.key.algorithm() == SignatureAlgorithm::RSA;
    let mut older = hello
        .cipher_suites()
        .iter()
        .filter_map(|suite| rsa_suite(*suite))
        .peekable();
    older.peek().is_none() || older.any(|for_rsa| for_rsa == rsa)
}

/// Whether a TLS 1.2 suite that we have is for RSA keys; `None` for all others.
fn rsa_suite(suite: CipherSuite) -> Option<bool> {
    match suite {
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => Some(true),
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => Some(false),
        _ => None,
    }
}

impl Reloadable for ServerTls {
    fn name(&self) -> &str {
        &self.options.name
    }

    fn interval(&self) -> Option<Duration> {
        self.blocks
            .iter()
            .filter(|block| block.reload)
            .map(|block| block.reload_interval)
            .min()
    }

    fn files(&self) -> Vec<Utf8PathBuf> {
        files(&self.blocks, &self.options)
    }

    fn reload_if_changed(&self) -> ReloadOutcome {
        let digest = digest_of(&self.files());
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.attempt(digest, self.options.clock.now(), || {
            let mut state = State::load(&self.blocks, &self.options, Some(&self.current.load()))?;
            let kept_back = state.authorities.kept_back.take();
            self.current.store(Arc::new(state));
            kept_back.map_or(Ok(()), Err)
        })
    }

    fn side(&self) -> Side {
        Side::Server
    }

    fn own_certificates(&self) -> Vec<CertificateDer<'static>> {
        self.current
            .load()
            .pairs
            .iter()
            .map(|pair| pair.leaf().clone())
            .collect()
    }

    fn status(&self) -> TlsStatus {
        let state = self.current.load();
        let own = state.pairs.iter().flat_map(|pair| &pair.chain);
        let own = own.map(|certificate| CertificateStatus::of(CertificateRole::Own, certificate));
        let trusted = state
            .authorities
            .certificates()
            .map(|certificate| CertificateStatus::of(CertificateRole::Authority, certificate));
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.status(&self.options.name, own.chain(trusted).collect(), state.warnings.clone())
    }
}
