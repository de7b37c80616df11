//! Configurations follow their files: by watch, by poll and when poked.

use std::sync::Arc;
use std::time::Duration;

use crate::support::Folder;
use pki::{Authority, AuthorityRequest, Usages};
use serde_json::json;
use tls::{ClientTls, LoadOptions, ReloadOutcome, Reloadable, Reloader, ServerTls};
use tokio_util::sync::CancellationToken;

/// Looks again and again until `reached`; the reloader works on another thread meanwhile.
async fn eventually(reached: impl Fn() -> bool) {
    let waiting = async {
        while !reached() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap();
}

fn serial(tls: &dyn Reloadable) -> String {
    tls.status().certificates[0].serial.clone()
}

fn other_authority() -> Authority {
    Authority::generate(AuthorityRequest {
        subject_cn: "Other CA".into(),
        ..Default::default()
    })
    .unwrap()
}

fn load(folder: &Folder, interval: &str) -> (Arc<ServerTls>, Arc<ClientTls>) {
    let reload = json!({"reload_interval": interval});
    let server = folder.settings(json!({
        "certificate": "server.crt", "key": "server.key", "certificate_authorities": ["ca.crt"],
        "certificate_reload": reload.clone()
    }));
    let client = folder.settings(json!({
        "certificate": "agent.crt", "key": "agent.key", "certificate_authorities": ["ca.crt"],
        "certificate_reload": reload
    }));
    (
        ServerTls::load(&server, LoadOptions::named("server")).unwrap(),
        ClientTls::load(&client, LoadOptions::named("client")).unwrap(),
    )
}

async fn all_four_roles_follow(interval: &str, poke: bool) {
    let folder = Folder::new();
    folder.issue("server", Usages::Server);
    folder.issue("agent", Usages::Client);
    let (server, client) = load(&folder, interval);
    let before = (serial(&*server), serial(&*client));
    let (reloader, stop) = (Reloader::new(), CancellationToken::new());
    reloader.watch(&server);
    reloader.watch(&client);
    let running = tokio::spawn({
        let (reloader, stop) = (reloader.clone(), stop.clone());
        async move { reloader.run(stop).await }
    });
    let other = other_authority();
    folder.issue_by(&other, "server", Usages::Server);
    folder.issue_by(&other, "agent", Usages::Client);
    folder.write("ca.crt", &other.certificate_pem());
    if poke {
        reloader.poke();
    }
    let trusts = |tls: &dyn Reloadable| tls.status().certificates.last().unwrap().fingerprint == other.fingerprint();
    eventually(|| serial(&*server) != before.0 && serial(&*client) != before.1 && trusts(&*server) && trusts(&*client))
        .await;
    let statuses = reloader.statuses();
    assert_eq!(statuses.len(), 2);
    assert!(statuses.iter().all(|status| status.reloads > 0), "{statuses:?}");
    eventually(|| reloader.statuses().iter().all(|status| status.last_error.is_none())).await;
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_files_are_noticed_by_watch_or_poll() {
    all_four_roles_follow("100ms", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_files_are_noticed_long_before_the_next_poll() {
    all_four_roles_follow("1h", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_files_are_noticed_when_poked() {
    all_four_roles_follow("1h", true).await;
}

#[test]
fn a_bad_or_mismatching_pair_keeps_the_old_one_and_says_why() {
    let folder = Folder::new();
    folder.issue("server", Usages::Server);
    folder.issue("agent", Usages::Client);
    folder.issue("next", Usages::Server);
    let (server, _) = load(&folder, "5s");
    let before = serial(&*server);
    assert_eq!(server.reload_if_changed(), ReloadOutcome::Unchanged);

    let next = |ending: &str| fs_err::read_to_string(folder.path(&format!("next.{ending}"))).unwrap();
    for (certificate, reason) in [
        (next("crt"), "does not belong"),
        ("garbage".to_owned(), "holds no PEM block"),
        (String::new(), "holds no PEM block"),
    ] {
        folder.write("server.crt", &certificate);
        let ReloadOutcome::Kept(found) = server.reload_if_changed() else {
            panic!("{certificate} was taken")
        };
        assert!(found.contains(reason), "{found}");
        assert_eq!(serial(&*server), before);
        assert_eq!(server.status().last_error.as_deref(), Some(found.as_str()));
        assert_eq!(server.reload_if_changed(), ReloadOutcome::Unchanged, "said once");
    }
    fs_err::remove_file(folder.path("server.crt")).unwrap();
    assert!(matches!(server.reload_if_changed(), ReloadOutcome::Kept(_)));

    folder.write("server.crt", &next("crt"));
    folder.write("server.key", &next("key"));
    assert_eq!(server.reload_if_changed(), ReloadOutcome::Replaced);
    assert_ne!(serial(&*server), before);
    assert_eq!(server.status().last_error, None);
}

#[test]
fn garbage_in_a_list_of_authorities_keeps_the_old_ones() {
    let folder = Folder::new();
    folder.issue("server", Usages::Server);
    folder.issue("agent", Usages::Client);
    let (server, client) = load(&folder, "5s");
    folder.write("ca.crt", "garbage");
    for tls in [&*server as &dyn Reloadable, &*client] {
        assert!(matches!(tls.reload_if_changed(), ReloadOutcome::Kept(_)));
        assert_eq!(
            tls.status().certificates.last().unwrap().fingerprint,
            folder.authority.fingerprint()
        );
    }
}

#[test]
fn with_reload_off_only_a_poke_looks() {
    let folder = Folder::new();
    folder.issue("server", Usages::Server);
    let tls = folder.server_tls(json!({
        "certificate": "server.crt", "key": "server.key", "certificate_reload": {"enabled": false}
    }));
    assert_eq!(tls.interval(), None);
    folder.issue("server", Usages::Server);
    assert_eq!(tls.reload_if_changed(), ReloadOutcome::Replaced);
}

#[test]
fn a_pair_on_both_sides_needs_both_key_usages_or_none() {
    let folder = Folder::new();
    for (usages, fit) in [
        (Usages::Server, false),
        (Usages::Client, false),
        (Usages::Both, true),
        (Usages::None, true),
    ] {
        folder.issue("pair", usages);
        let block = json!({"certificate": "pair.crt", "key": "pair.key"});
        let (server, client) = (folder.server_tls(block.clone()), folder.client_tls(block));
        let reloader = Reloader::new();
        reloader.watch(&server);
        let told = |reloader: &Reloader| {
            let statuses = reloader.statuses();
            let warnings = statuses.iter().flat_map(|status| &status.warnings);
            warnings
                .filter(|text| text.contains("by a server and by a client"))
                .count()
        };
        assert_eq!(told(&reloader), 0, "one side alone");
        reloader.watch(&client);
        assert_eq!(told(&reloader), if fit { 0 } else { 2 }, "{usages:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_of_the_process_reaches_every_reloader() {
    let folder = Folder::new();
    folder.issue("server", Usages::Server);
    let block = json!({"certificate": "server.crt", "key": "server.key", "certificate_reload": {"enabled": false}});
    let (first, second) = (folder.server_tls(block.clone()), folder.server_tls(block));
    let stop = CancellationToken::new();
    let running: Vec<_> = [&first, &second]
        .map(|tls| {
            let (reloader, stop) = (Reloader::new(), stop.clone());
            reloader.watch(tls);
            tokio::spawn(async move { reloader.run(stop).await })
        })
        .into();
    let before = serial(&*first);
    folder.issue("server", Usages::Server);
    eventually(|| {
        tls::reload::poke_all();
        serial(&*first) != before && serial(&*second) != before
    })
    .await;
    stop.cancel();
    for task in running {
        task.await.unwrap();
    }
}

#[test]
fn the_reloader_lets_go_of_what_nobody_uses() {
    let folder = Folder::new();
    folder.issue("server", Usages::Server);
    let tls = folder.server_tls(json!({"certificate": "server.crt", "key": "server.key"}));
    let reloader = Reloader::new();
    reloader.watch(&tls);
    assert_eq!(reloader.statuses().len(), 1);
    drop(tls);
    assert!(reloader.statuses().is_empty());
}
