//! A folder with certificates made for the test.

use certs::KeyFormat;
use pki::{Authority, AuthorityRequest, KeyType, LeafRequest, Usages};
use tempfile::TempDir;

pub(crate) struct Folder {
    folder: TempDir,
    pub(crate) authority: Authority,
}

impl Folder {
    /// With `ca.crt`, a pair `server` for localhost and a pair `client`.
    pub(crate) fn new() -> Self {
        let authority = authority("Test CA");
        let folder = Self {
            folder: tempfile::tempdir().unwrap(),
            authority,
        };
        folder.write("ca.crt", &folder.authority.certificate_pem());
        folder.issue("server", Usages::Server);
        folder.issue("client", Usages::Client);
        folder
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        fs_err::write(self.folder.path().join(name), text).unwrap();
        self.path(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs_err::read_to_string(self.folder.path().join(name)).unwrap()
    }

    /// `NAME.crt` and `NAME.key`, for localhost and 127.0.0.1.
    pub(crate) fn issue(&self, name: &str, usages: Usages) {
        let identity = self
            .authority
            .issue(LeafRequest {
                common_name: name.to_owned(),
                dns: vec!["localhost".to_owned()],
                ips: vec!["127.0.0.1".parse().unwrap()],
                key_type: KeyType::EcdsaP256,
                days: 30,
                usages,
                ..LeafRequest::default()
            })
            .unwrap();
        let key = certs::write_pem_key(&identity.key, KeyFormat::Pkcs8).unwrap();
        self.write(&format!("{name}.crt"), &certs::write_pem_certificates(&identity.chain));
        self.write(&format!("{name}.key"), key.expose());
    }
}

pub(crate) fn authority(name: &str) -> Authority {
    Authority::generate(AuthorityRequest {
        subject_cn: name.to_owned(),
        key_type: KeyType::EcdsaP256,
        ..AuthorityRequest::default()
    })
    .unwrap()
}
