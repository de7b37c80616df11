//! The ways in which people and programs replace certificate files. Each is followed for all four roles (the server's pair
//! and its client CAs, the client's pair and its CAs), and the connections that are open stay.

use std::os::unix::fs::symlink;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use certs::KeyFormat;
use pki::{Authority, AuthorityRequest, Usages};
use serde_json::json;
use tls::{ClientTls, LoadOptions, ReloadOutcome, Reloadable, Reloader, ServerTls, SslSettings};
use tokio_util::sync::CancellationToken;
use transport::ServeOptions;

use crate::support::{Folder, Server, class, fetch, http_client};

/// How one set of files takes the place of another below a folder.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Written beside and renamed over.
    Rename,
    /// Emptied and written again, in two pieces.
    InPlace,
    /// Removed, and written anew after a while.
    RemoveAndCreate,
    /// As Kubernetes mounts secrets: `..data` is a link to a folder, and the swap of this link changes all files at once.
    Kubernetes,
    /// As certbot keeps them: the files are links into another folder, where they change unseen by a watch.
    LinksElsewhere,
}

type Files = Vec<(&'static str, String)>;

impl Way {
    fn place(self, folder: &Utf8Path, files: &Files, generation: u32) {
        match self {
            Self::Rename => files.iter().for_each(|(name, text)| {
                fs_err::write(folder.join("beside"), text).unwrap();
                fs_err::rename(folder.join("beside"), folder.join(name)).unwrap();
            }),
            Self::InPlace => files.iter().for_each(|(name, text)| {
                let (first, rest) = text.split_at(text.len() / 2);
                fs_err::write(folder.join(name), first).unwrap();
                let mut file = fs_err::OpenOptions::new().append(true).open(folder.join(name)).unwrap();
                std::io::Write::write_all(&mut file, rest.as_bytes()).unwrap();
            }),
            Self::RemoveAndCreate => {
                if generation > 1 {
                    for (name, _) in files {
                        fs_err::remove_file(folder.join(name)).unwrap();
                    }
                }
                Self::InPlace.place(folder, files, generation);
            }
            Self::Kubernetes => {
                let inner = format!("..generation_{generation}");
                fs_err::create_dir(folder.join(&inner)).unwrap();
                Self::InPlace.place(&folder.join(&inner), files, generation);
                symlink(&inner, folder.join("..data_tmp")).unwrap();
                fs_err::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
                for (name, _) in files.iter().filter(|_| generation == 1) {
                    symlink(format!("..data/{name}"), folder.join(name)).unwrap();
                }
            }
            Self::LinksElsewhere => {
                let elsewhere = folder.join("elsewhere");
                fs_err::create_dir_all(&elsewhere).unwrap();
                Self::Rename.place(&elsewhere, files, generation);
                for (name, _) in files.iter().filter(|_| generation == 1) {
                    symlink(format!("elsewhere/{name}"), folder.join(name)).unwrap();
                }
            }
        }
    }

    /// Where no watch sees the change, only the poll does.
    fn interval(self) -> &'static str {
        match self {
            Self::LinksElsewhere => "100ms",
            _ => "1h",
        }
    }
}

fn authority(generation: u32) -> Authority {
    let subject_cn = format!("CA {generation}");
    Authority::generate(AuthorityRequest {
        subject_cn,
        ..Default::default()
    })
    .unwrap()
}

fn files(authority: &Authority, generation: u32) -> Files {
    let mut files = vec![("ca.crt", authority.certificate_pem())];
    for (certificate, key, name, usages) in [
        ("server.crt", "server.key", "server", Usages::Server),
        ("agent.crt", "agent.key", "agent", Usages::Client),
    ] {
        let identity = authority
            .issue(Folder::request(&format!("{name}-{generation}"), usages))
            .unwrap();
        let written = certs::write_pem_key(&identity.key, KeyFormat::Pkcs8).unwrap();
        files.push((certificate, certs::write_pem_certificates(&identity.chain)));
        files.push((key, written.expose().to_owned()));
    }
    files
}

fn settings(folder: &Utf8Path, name: &str, interval: &str) -> SslSettings {
    let at = |file: String| folder.join(file);
    let block = json!({
        "certificate": at(format!("{name}.crt")), "key": at(format!("{name}.key")),
        "certificate_authorities": [at("ca.crt".to_owned())], "certificate_reload": {"reload_interval": interval}
    });
    SslSettings::from_value(&block).unwrap()
}

/// Looks again and again until `reached`; the reloader works on another thread meanwhile.
async fn eventually(reached: impl Fn() -> bool) {
    let waiting = async {
        while !reached() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap();
}

async fn all_four_roles_follow(way: Way) {
    let temporary = tempfile::tempdir().unwrap();
    let folder: Utf8PathBuf = Utf8Path::from_path(temporary.path()).unwrap().to_owned();
    let (old, new) = (authority(1), authority(2));
    way.place(&folder, &files(&old, 1), 1);
    let (server_block, client_block) = (
        settings(&folder, "server", way.interval()),
        settings(&folder, "agent", way.interval()),
    );
    let server_tls = ServerTls::load(&server_block, LoadOptions::named("server")).unwrap();
    let client_tls = ClientTls::load(&client_block, LoadOptions::named("client")).unwrap();
    let (reloader, stop) = (Reloader::new(), CancellationToken::new());
    reloader.watch(&server_tls);
    reloader.watch(&client_tls);
    let running = tokio::spawn({
        let (reloader, stop) = (reloader.clone(), stop.clone());
        async move { reloader.run(stop).await }
    });
    let server = Server::start(Some(server_tls.clone()), ServeOptions::default());
    let url = "https://fleet.test/";
    let open = http_client(client_tls.clone(), Some(server.address), None);
    assert_eq!(fetch(&open, url).await.unwrap(), "CN=agent-1", "{way:?}");
    // A client that no reload reaches: it goes on trusting and showing what it has.
    let left_behind = ClientTls::load(&client_block, LoadOptions::named("left behind")).unwrap();

    way.place(&folder, &files(&new, 2), 2);
    let is_new = |tls: &dyn Reloadable| {
        let status = tls.status();
        let fingerprint = status.certificates.last().unwrap().fingerprint;
        fingerprint == new.fingerprint()
            && status.certificates[0].subject.ends_with("-2")
            && status.last_error.is_none()
    };
    eventually(|| is_new(&*server_tls) && is_new(&*client_tls)).await;

    assert_eq!(
        fetch(&open, url).await.unwrap(),
        "CN=agent-1",
        "an open connection stays: {way:?}"
    );
    let fresh = http_client(client_tls, Some(server.address), None);
    assert_eq!(fetch(&fresh, url).await.unwrap(), "CN=agent-2", "{way:?}");
    let behind = http_client(left_behind, Some(server.address), None);
    assert_eq!(class(&behind, url).await, "unknown_authority", "{way:?}");
    stop.cancel();
    running.await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_renamed_over_are_followed() {
    all_four_roles_follow(Way::Rename).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_written_in_place_are_followed() {
    all_four_roles_follow(Way::InPlace).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_vanish_and_return_are_followed() {
    all_four_roles_follow(Way::RemoveAndCreate).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_a_kubernetes_secret_are_followed() {
    all_four_roles_follow(Way::Kubernetes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_into_a_folder_that_is_not_watched_are_followed_by_poll() {
    all_four_roles_follow(Way::LinksElsewhere).await;
}

/// A file that is away for a moment takes nobody's trust, and does not hold up the others.
#[test]
fn an_authority_whose_file_vanishes_stays_trusted_while_the_others_follow() {
    let folder = Folder::new();
    folder.issue("server", Usages::Server);
    folder.issue("agent", Usages::Client);
    let (second, third) = (authority(2), authority(3));
    folder.write("more.crt", &second.certificate_pem());
    let authorities = json!(["ca.crt", "more.crt"]);
    let server = folder.server_tls(json!({
        "certificate": "server.crt", "key": "server.key", "certificate_authorities": authorities.clone()
    }));
    let client = folder.client_tls(json!({
        "certificate": "agent.crt", "key": "agent.key", "certificate_authorities": authorities
    }));
    for (tls, name) in [(&*server as &dyn Reloadable, "server"), (&*client, "agent")] {
        let trusted = || -> Vec<_> {
            tls.status()
                .certificates
                .iter()
                .rev()
                .take(2)
                .map(|one| one.fingerprint)
                .collect()
        };
        fs_err::remove_file(folder.path("ca.crt")).unwrap();
        folder.write("more.crt", &third.certificate_pem());
        let before = tls.status().certificates[0].serial.clone();
        folder.issue(name, Usages::None);
        let ReloadOutcome::Kept(reason) = tls.reload_if_changed() else {
            panic!("nothing is said of the file that is gone")
        };
        assert!(reason.contains("ca.crt") && reason.contains("No such file"), "{reason}");
        assert_eq!(trusted(), [third.fingerprint(), folder.authority.fingerprint()]);
        let status = tls.status();
        assert_ne!(status.certificates[0].serial, before, "the pair followed");
        assert_eq!(status.last_error.as_deref(), Some(reason.as_str()));
        assert!(
            status.warnings.iter().any(|warning| warning.contains("stays trusted")),
            "{:?}",
            status.warnings
        );
        assert_eq!(tls.reload_if_changed(), ReloadOutcome::Unchanged, "said once");

        folder.write("ca.crt", &folder.authority.certificate_pem());
        folder.write("more.crt", &second.certificate_pem());
        assert_eq!(tls.reload_if_changed(), ReloadOutcome::Replaced);
        assert_eq!(trusted(), [second.fingerprint(), folder.authority.fingerprint()]);
        assert_eq!(tls.status().last_error, None);
    }
}
