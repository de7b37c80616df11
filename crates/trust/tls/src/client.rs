//! An `ssl` block as a client uses it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use camino::Utf8PathBuf;
use certs::{Fingerprint, describe};
use rustls::ClientConfig;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, ServerName};

use crate::anchors::{Anchors, system_roots};
use crate::error::SslError;
use crate::explain::{Explanation, Side, explain};
use crate::facts::Role;
use crate::material::{self, Authorities, Pair};
use crate::observe::{Observation, note};
use crate::options::{Alpn, LoadOptions, Time};
use crate::p521::P521;
use crate::reload::{History, ReloadOutcome, Reloadable, digest_of};
use crate::settings::{SslSettings, VerificationMode};
use crate::status::{CertificateRole, CertificateStatus, TlsStatus};
use crate::values::{Negotiation, negotiation};
use crate::verifier::{Learned, ServerVerifier};

/// A client's TLS: loaded, matched, and replaced in place when its files change.
#[derive(Debug)]
pub struct ClientTls {
    settings: SslSettings,
    options: LoadOptions,
    current: ArcSwap<State>,
    history: Mutex<History>,
}

#[derive(Debug)]
struct State {
    http: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
    bare: Arc<ClientConfig>,
    verifier: Arc<ServerVerifier>,
    pair: Option<Pair>,
    /// Those of the settings; none when the system's roots serve.
    authorities: Authorities,
    warnings: Vec<String>,
}

impl ClientTls {
    /// Loads a block. A disabled one is an empty one: the system's roots, mode `full`.
    ///
    /// # Errors
    /// The value or file that cannot be used, with class and hint.
    pub fn load(settings: &SslSettings, options: LoadOptions) -> Result<Arc<Self>, SslError> {
        let settings = if settings.enabled {
            settings.clone()
        } else {
            SslSettings::default()
        };
        let digest = digest_of(&material::files(&settings));
        let state = State::load(&settings, &options, None)?;
        for warning in &state.warnings {
            tracing::warn!(tls = %options.name, warning, "the TLS settings of a client should be changed");
        }
        let history = Mutex::new(History::new(digest, options.clock.now()));
        Ok(Arc::new(Self {
            settings,
            current: ArcSwap::from_pointee(state),
            history,
            options,
        }))
    }

    /// The built-in defaults: the system's roots, mode `full`.
    pub fn system() -> Arc<Self> {
        let load = Self::load(&SslSettings::default(), LoadOptions::default());
        load.expect("the defaults name no file and no value that could be wrong")
    }

    /// The configuration of this moment for HTTP; take it anew for each connection, so that it follows reloads.
    pub fn config(&self) -> Arc<ClientConfig> {
        self.config_for(Alpn::Http)
    }

    /// As [`ClientTls::config`], for another protocol on top.
    pub fn config_for(&self, alpn: Alpn) -> Arc<ClientConfig> {
        let state = self.current.load();
        match alpn {
            Alpn::Http => state.http.clone(),
            Alpn::Http1 => state.http1.clone(),
            Alpn::None => state.bare.clone(),
        }
    }

    /// What a handshake with `host` (a name or an address, brackets allowed) needs. An empty host is connected without
    /// SNI and without a check of names.
    ///
    /// # Errors
    /// The host is neither a name nor an address.
    pub fn prepare(&self, host: &str, alpn: Alpn) -> Result<(Arc<ClientConfig>, ServerName<'static>), Explanation> {
        if host.is_empty() {
            let state = self.current.load();
            let mut config = (*self.config_for(alpn)).clone();
            config.enable_sni = false;
            config
                .dangerous()
                .set_certificate_verifier(Arc::new(state.verifier.without_names()));
            return Ok((
                Arc::new(config),
                ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into()),
            ));
        }
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        match ServerName::try_from(bare) {
            Ok(name) => Ok((self.config_for(alpn), name.to_owned())),
            Err(_) => Err(Explanation::new(
                "bad_value:host",
                format!("`{host}` is neither a host name nor an address"),
            )
            .with_hint("check the spelling of the URL")),
        }
    }

    /// What should be changed although it works.
    pub fn warnings(&self) -> Vec<String> {
        self.current.load().warnings.clone()
    }

    /// The mode in use.
    pub fn verification_mode(&self) -> VerificationMode {
        self.settings.verification_mode
    }

    /// What is configured, line by line; nothing secret.
    pub fn describe(&self) -> Vec<String> {
        let state = self.current.load();
        let mut lines = vec![format!(
            "verification_mode: {}",
            self.settings.verification_mode.as_str()
        )];
        lines.extend(describe_authorities(&state.authorities, state.verifier.anchors.len()));
        lines.extend(
            state
                .verifier
                .fingerprint
                .map(|fingerprint| format!("ca_trusted_fingerprint: {fingerprint}")),
        );
        lines.extend(
            (!self.settings.ca_sha256.is_empty()).then(|| format!("ca_sha256: {}", self.settings.ca_sha256.join(", "))),
        );
        lines.push(match &state.pair {
            Some(pair) => describe_pair(pair),
            None => "certificate: none".to_owned(),
        });
        lines
    }

    /// Explains what went wrong in a handshake or with the first bytes after it.
    pub fn explain(&self, error: &io::Error, whom: &str, observation: &Observation) -> Explanation {
        explain(error, Side::Client, whom, observation).with_configured(self.describe())
    }
}

pub(crate) fn describe_authorities(authorities: &Authorities, in_use: usize) -> Vec<String> {
    let count = authorities.certificates().count();
    if count == 0 {
        return vec![format!("certificate_authorities: system certificates ({in_use})")];
    }
    const SHOWN: usize = 10;
    let mut lines: Vec<String> = authorities
        .certificates()
        .take(SHOWN)
        .map(|certificate| describe(certificate))
        .map(|ca| format!("certificate_authorities: `{}`, SHA-256 {}", ca.subject, ca.fingerprint))
        .collect();
    if count > SHOWN {
        lines.push(format!("certificate_authorities: {} more", count - SHOWN));
    }
    lines
}

pub(crate) fn describe_pair(pair: &Pair) -> String {
    let leaf = describe(pair.leaf());
    format!(
        "certificate: `{}`, {}, issued by `{}`, {} in the chain, valid to {}",
        leaf.subject,
        pair.key_type,
        leaf.issuer,
        pair.chain.len(),
        clock::rfc3339_seconds(leaf.not_after)
    )
}

impl State {
    /// `earlier` is what a reload replaces.
    fn load(settings: &SslSettings, options: &LoadOptions, earlier: Option<&Self>) -> Result<Self, SslError> {
        let mut warnings = Vec::new();
        let mut negotiation = negotiation(settings, &mut warnings)?;
        if settings.curve_types.is_empty() {
            Arc::make_mut(&mut negotiation.provider).kx_groups.push(&P521);
        }
        if settings.wants_renegotiation()? {
            warnings.push("`ssl.renegotiation`: TLS is never renegotiated; the setting has no effect".to_owned());
        }
        let fingerprint = fingerprint(settings)?;
        let passphrase = material::passphrase(settings)?;
        let passphrase = passphrase.as_ref();
        let provider = &negotiation.provider;
        let pair = material::load_pair(settings, passphrase, provider, Role::Client, &[], &mut warnings)?;
        let trusted_before = earlier.map(|state| &state.authorities);
        let authorities = material::load_authorities(settings, passphrase, trusted_before, &mut warnings)?;
        let anchors = match &authorities {
            Some(found) => Arc::new(Anchors::new(found.certificates().cloned())),
            None => system_roots(),
        };
        warn_of_trust(settings, &anchors, &mut warnings);
        let verifier = Arc::new(ServerVerifier {
            mode: settings.verification_mode,
            learned: earlier.map_or_else(Learned::default, |state| {
                Learned::carry_over(&state.verifier.learned, fingerprint, &anchors)
            }),
            anchors,
            fingerprint,
            pins: settings.ca_sha256.clone(),
            algorithms: negotiation.provider.signature_verification_algorithms,
            check_names: true,
        });
        let offered = pair.as_ref().and_then(|pair| pair.certified.clone());
        let bare = configuration(negotiation, options, verifier.clone(), OwnCertificate(offered))?;
        let with = |alpn: Alpn| {
            let mut config = bare.clone();
            config.alpn_protocols = alpn.protocols();
            Arc::new(config)
        };
        let (http, http1) = (with(Alpn::Http), with(Alpn::Http1));
        Ok(Self {
            http,
            http1,
            bare: Arc::new(bare),
            verifier,
            pair,
            authorities: authorities.unwrap_or_default(),
            warnings,
        })
    }
}

fn configuration(
    negotiation: Negotiation,
    options: &LoadOptions,
    verifier: Arc<ServerVerifier>,
    offered: OwnCertificate,
) -> Result<ClientConfig, SslError> {
    let builder = ClientConfig::builder_with_details(negotiation.provider, Time::shared(&options.clock))
        .with_protocol_versions(&negotiation.versions)
        .map_err(|error| SslError::Library(error.to_string()))?;
    let mut config = builder
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(offered));
    if !options.resumption {
        config.resumption = Resumption::disabled();
    }
    Ok(config)
}

/// Normalised: any case, colons and blanks around it are fine. A text of another form can never match and fails the load.
fn fingerprint(settings: &SslSettings) -> Result<Option<Fingerprint>, SslError> {
    const KEY: &str = "ca_trusted_fingerprint";
    match settings.ca_trusted_fingerprint.as_deref().map(str::trim) {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|error| {
            SslError::bad_value(
                KEY,
                &format!("is {error}"),
                Some("it is the SHA-256 of the CA certificate; `flotilla tls show FILE` prints it"),
            )
        }),
    }
}

fn warn_of_trust(settings: &SslSettings, anchors: &Anchors, warnings: &mut Vec<String>) {
    if settings.verification_mode == VerificationMode::None {
        warnings.push("`ssl.verification_mode: none`: anyone can pose as the server".to_owned());
    } else if anchors.is_empty() && settings.ca_trusted_fingerprint.as_deref().unwrap_or("").is_empty() {
        warnings.push(
            "no certificate is trusted: `ssl.certificate_authorities` is not set and the system has no trust store"
                .to_owned(),
        );
    }
    warnings.extend(settings.ca_sha256.iter().filter(|pin| !is_pin(pin)).map(|pin| {
        let shown: String = pin.chars().take(80).collect();
        format!(
            "`ssl.ca_sha256`: `{shown}` is no pin and never matches; a pin is the base64 of the SHA-256 of a public key"
        )
    }));
}

fn is_pin(text: &str) -> bool {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .is_ok_and(|octets| octets.len() == 32)
}

/// Offers the configured certificate to every server that asks, whatever CAs it names.
#[derive(Debug)]
struct OwnCertificate(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        note(|observation| {
            observation.client_certificate_requested = true;
            observation.client_certificate_offered = self.0.is_some();
        });
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        // Also without a certificate the request of one is to be noted.
        true
    }
}

impl Reloadable for ClientTls {
    fn name(&self) -> &str {
        &self.options.name
    }

    fn interval(&self) -> Option<Duration> {
        self.settings.reload.then_some(self.settings.reload_interval)
    }

    fn files(&self) -> Vec<Utf8PathBuf> {
        material::files(&self.settings)
    }

    fn reload_if_changed(&self) -> ReloadOutcome {
        let digest = digest_of(&self.files());
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.attempt(digest, self.options.clock.now(), || {
            let mut state = State::load(&self.settings, &self.options, Some(&self.current.load()))?;
            let kept_back = state.authorities.kept_back.take();
            self.current.store(Arc::new(state));
            kept_back.map_or(Ok(()), Err)
        })
    }

    fn side(&self) -> Side {
        Side::Client
    }

    fn own_certificates(&self) -> Vec<CertificateDer<'static>> {
        self.current
            .load()
            .pair
            .iter()
            .map(|pair| pair.leaf().clone())
            .collect()
    }

    fn status(&self) -> TlsStatus {
        let state = self.current.load();
        let own = state.pair.iter().flat_map(|pair| &pair.chain);
        let own = own.map(|certificate| CertificateStatus::of(CertificateRole::Own, certificate));
        let trusted = state
            .authorities
            .certificates()
            .map(|certificate| CertificateStatus::of(CertificateRole::Authority, certificate));
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.status(&self.options.name, own.chain(trusted).collect(), state.warnings.clone())
    }
}
