//! The neutral ends of the cases: OpenSSL's server, and a client that verifies nothing.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::artefacts::{Artefacts, sent};
use super::table::Case;

/// OpenSSL's server, for one connection.
pub(crate) struct OpensslServer {
    child: Child,
    pub(crate) address: SocketAddr,
    _files: tempfile::TempDir,
}

impl Drop for OpensslServer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl OpensslServer {
    pub(crate) fn start(artefacts: &Artefacts, case: &Case) -> Self {
        let parts = sent(artefacts, &case.peer_sends);
        let files = tempfile::tempdir().unwrap();
        let (leaf, rest) = (files.path().join("leaf.pem"), files.path().join("rest.pem"));
        fs_err::write(&leaf, &parts["leaf"]).unwrap();
        fs_err::write(&rest, &parts["rest"]).unwrap();
        let mut command = Command::new("openssl");
        command
            .args([
                "s_server",
                "-accept",
                "127.0.0.1:0",
                "-naccept",
                "1",
                "-www",
                "-key",
                &parts["key"],
                "-cert",
            ])
            .arg(&leaf);
        if !parts["rest"].is_empty() {
            command.arg("-cert_chain").arg(&rest);
        }
        let mut ciphers = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:@SECLEVEL=0".to_owned();
        for (key, value) in &case.peer_limits {
            match key.as_str() {
                "min" => drop(command.args(["-min_protocol", &protocol(value)])),
                "max" => drop(command.args(["-max_protocol", &protocol(value)])),
                "curves" => drop(command.args(["-groups", value])),
                "suites" => ciphers = format!("{value}:@SECLEVEL=0"),
                other => panic!("unknown limit {other}"),
            }
        }
        command
            .args(["-cipher", &ciphers])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| line.unwrap().strip_prefix("ACCEPT ")?.trim().parse().ok());
        // What else it prints is read to the end, so that it never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        let address = address.unwrap_or_else(|| panic!("{}: OpenSSL's server does not start", case.name));
        Self {
            child,
            address,
            _files: files,
        }
    }
}

fn protocol(version: &str) -> String {
    if version == "1.0" {
        "TLSv1".to_owned()
    } else {
        format!("TLSv{version}")
    }
}

/// Takes these signatures.
#[derive(Debug)]
struct TrustsAll(Vec<SignatureScheme>);

impl ServerCertVerifier for TrustsAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

/// Connects, shows its certificates to whoever asks, sends a request and reads to the end; how it ends is the server's
/// business.
pub(crate) async fn neutral_client(artefacts: &Artefacts, case: &Case, address: SocketAddr) {
    let mut versions = vec![&rustls::version::TLS13, &rustls::version::TLS12];
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut schemes = provider.signature_verification_algorithms.supported_schemes();
    for (key, value) in &case.peer_limits {
        match (key.as_str(), value.as_str()) {
            ("max", "1.2") => versions = vec![&rustls::version::TLS12],
            ("min", "1.3") => versions = vec![&rustls::version::TLS13],
            ("signatures", "P-256") => schemes.retain(|scheme| *scheme == SignatureScheme::ECDSA_NISTP256_SHA256),
            other => panic!("unknown limit {other:?}"),
        }
    }
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustsAll(schemes)));
    let config = if case.peer_sends.is_empty() {
        builder.with_no_client_auth()
    } else {
        let parts = sent(artefacts, &case.peer_sends);
        let chain =
            certs::parse_certificates(format!("{}{}", parts["leaf"], parts["rest"]).as_bytes(), "peer").unwrap();
        let key = certs::load_key(&certs::PemSource::Path(parts["key"].clone().into()), "peer", None).unwrap();
        // Unlike the builder's own way this one does not look into the certificate.
        let key = aws_lc_rs::sign::any_supported_type(&key).unwrap();
        let pair = rustls::sign::CertifiedKey::new(chain, key);
        builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair)))
    };
    let socket = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("fleet.test").unwrap();
    if let Ok(mut stream) = TlsConnector::from(Arc::new(config)).connect(name, socket).await {
        let exchange = async {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: fleet.test\r\n\r\n").await?;
            stream.read_to_end(&mut Vec::new()).await
        };
        let _as_the_server_likes = exchange.await;
    }
}
