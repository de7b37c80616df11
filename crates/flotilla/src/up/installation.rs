//! What one data folder stands for: identity, secrets, certificates, and the ports it serves on.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use camino::Utf8PathBuf;
use certs::PemSource;
use rustls::pki_types::CertificateDer;
use secret::Secret;
use transport::Listener;

use super::arguments::UpArguments;
use super::authorities::{Authorities, Role};
use super::random_secret;
use crate::data_dir::{DataDir, InstallationIdentity};
use crate::host_names::HostNames;
use crate::printer::Hint;

/// An installation whose folder is locked and whose ports are bound.
pub(super) struct Installation {
    pub(super) data_dir: DataDir,
    pub(super) identity: InstallationIdentity,
    pub(super) names: HostNames,
    pub(super) authorities: Authorities,
    pub(super) elastic_password: Secret,
    /// What the Fleet Server presents when the user brought files.
    pub(super) fleet_server_files: Option<FleetServerFiles>,
    /// CAs whose client certificates log people in to the console.
    pub(super) console_client_authorities: Vec<Utf8PathBuf>,
    /// Ports as bound, so that a port of 0 is known by its real number.
    pub(super) ports: Ports,
    listeners: std::sync::Mutex<Option<Listeners>>,
}

/// Certificate files of the user for the Fleet Server.
#[derive(Clone, Debug)]
pub(super) struct FleetServerFiles {
    pub(super) certificate: Utf8PathBuf,
    pub(super) key: Utf8PathBuf,
    pub(super) passphrase: Option<Utf8PathBuf>,
    pub(super) authorities: Vec<Utf8PathBuf>,
}

/// The three bound sockets.
pub(super) struct Listeners {
    pub(super) fleet_server: Listener,
    pub(super) elasticsearch: Listener,
    pub(super) console: Listener,
    pub(super) metrics: Option<Listener>,
}

/// Where the three listeners are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) fleet_server: u16,
    pub(super) elasticsearch: u16,
    pub(super) console: u16,
}

impl Installation {
    /// Locks the folder, binds the ports, then makes what is missing. A port in use leaves a new folder unmade.
    pub(super) fn open(arguments: &UpArguments) -> Result<Self> {
        let root = match &arguments.data_dir {
            // Policies name files below it, and agents take absolute paths only.
            Some(root) => camino::absolute_utf8(root).with_context(|| format!("cannot tell where `{root}` is"))?,
            None => DataDir::default_path()?,
        };
        let fleet_server_files = FleetServerFiles::from_arguments(arguments)?;
        // An existing folder first: "in use by another flotilla" explains more than "port in use".
        let opened = if root.exists() {
            Some(DataDir::open(&root)?)
        } else {
            None
        };
        let listeners = Listeners::bind(arguments)?;
        let data_dir = match opened {
            Some(data_dir) => data_dir,
            None => DataDir::open(&root)?,
        };
        let names = HostNames::discover(&arguments.hosts, arguments.bind);
        Ok(Self {
            identity: data_dir.identity()?,
            authorities: Authorities::open_or_make(&data_dir, &names)?,
            elastic_password: data_dir.secret("elastic-password", random_secret)?,
            ports: listeners.ports(),
            listeners: std::sync::Mutex::new(Some(listeners)),
            data_dir,
            names,
            fleet_server_files,
            console_client_authorities: arguments.console_client_ca.clone(),
        })
    }

    /// Hands the sockets over; they can be served once.
    pub(super) fn take_listeners(&self) -> Listeners {
        let mut listeners = self.listeners.lock().expect("no holder of this lock can panic");
        listeners
            .take()
            .expect("the sockets are taken once, when the services start")
    }

    /// `https://..` for each name that other hosts are told.
    pub(super) fn urls(&self, port: u16) -> Vec<String> {
        self.names.advertised.iter().map(|host| host.https_url(port)).collect()
    }

    /// The CA file with which agents verify the Fleet Server.
    pub(super) fn fleet_server_authority(&self) -> Utf8PathBuf {
        let brought = self
            .fleet_server_files
            .as_ref()
            .and_then(|files| files.authorities.first().cloned());
        brought.unwrap_or_else(|| self.authorities.root_certificate())
    }

    /// The files of [`Self::fleet_server_leaves`], each with its chain.
    pub(super) fn fleet_server_certificates(&self) -> Vec<Utf8PathBuf> {
        match &self.fleet_server_files {
            Some(files) => vec![files.certificate.clone()],
            None => self
                .pairs(Role::FleetServer)
                .map(|(certificate, _)| certificate)
                .to_vec(),
        }
    }

    /// Certificate and key of the CA that signs for Fleet Servers; none when a certificate of another was brought.
    pub(super) fn fleet_server_signing_pair(&self) -> Option<(Utf8PathBuf, Utf8PathBuf)> {
        let is_ours = self.fleet_server_files.is_none();
        is_ours.then(|| self.authorities.signing_pair(Role::FleetServer))
    }

    /// What the Fleet Server presents as its own, each of its pairs.
    pub(super) fn fleet_server_leaves(&self) -> Result<Vec<CertificateDer<'static>>> {
        let mut leaves = Vec::new();
        for path in self.fleet_server_certificates() {
            let chain = certs::load_certificates(&PemSource::Path(path), "--fleet-server-cert")?;
            leaves.extend(chain.into_iter().next());
        }
        Ok(leaves)
    }

    /// Certificate and key files of a listener.
    pub(super) fn pairs(&self, role: Role) -> [(Utf8PathBuf, Utf8PathBuf); 2] {
        self.authorities.listener_pairs(role)
    }
}

impl Listeners {
    fn bind(arguments: &UpArguments) -> Result<Self> {
        let bind = |address: IpAddr, port: u16, flag: &str| {
            let address = SocketAddr::new(address, port);
            Listener::bind(address)
                .map_err(|error| Hint::error(error.to_string(), format!("`{flag}` chooses another port")))
        };
        Ok(Self {
            fleet_server: bind(arguments.bind, arguments.fleet_server_port, "--fleet-server-port")?,
            elasticsearch: bind(arguments.bind, arguments.elasticsearch_port, "--elasticsearch-port")?,
            console: bind(arguments.bind, arguments.console_port, "--console-port")?,
            metrics: arguments
                .metrics_port
                .map(|port| bind(Ipv4Addr::LOCALHOST.into(), port, "--metrics-port"))
                .transpose()?,
        })
    }

    fn ports(&self) -> Ports {
        Ports {
            fleet_server: self.fleet_server.local_addr().port(),
            elasticsearch: self.elasticsearch.local_addr().port(),
            console: self.console.local_addr().port(),
        }
    }
}

impl FleetServerFiles {
    fn from_arguments(arguments: &UpArguments) -> Result<Option<Self>> {
        let (Some(certificate), Some(key)) = (&arguments.fleet_server_cert, &arguments.fleet_server_cert_key) else {
            return Ok(None);
        };
        if arguments.certificate_authorities.is_empty() {
            return Err(Hint::error(
                "`--fleet-server-cert` needs the CA that agents verify it with",
                "name it with `--certificate-authorities`",
            ));
        }
        Ok(Some(Self {
            certificate: certificate.clone(),
            key: key.clone(),
            passphrase: arguments.fleet_server_cert_key_passphrase.clone(),
            authorities: arguments.certificate_authorities.clone(),
        }))
    }
}
