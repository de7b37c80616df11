//! A folder as `install` makes it, packages of shell scripts in place of programs.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha512};

use super::*;

struct Site {
    _folder: tempfile::TempDir,
    paths: Paths,
    packages: Utf8PathBuf,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
        let paths = Paths::new(root.join("top"), None, None, None);
        let old = paths.data().join("elastic-agent-1.0.0");
        fs::create_dir_all(&old).unwrap();
        fs::write(old.join(PROGRAM), "old").unwrap();
        fs::write(paths.installed_marker(), "").unwrap();
        unix_fs::symlink(old.join(PROGRAM), paths.home().join(PROGRAM)).unwrap();
        let packages = root.join("packages");
        fs::create_dir_all(&packages).unwrap();
        Self {
            _folder: folder,
            paths,
            packages,
        }
    }

    /// A package whose program says that it is `says`.
    fn package(&self, version: &str, says: &str) -> Utf8PathBuf {
        let script = format!("#!/bin/sh\necho {says}\n");
        let archive = self.packages.join(package::file_name(version));
        let mut tar = tar::Builder::new(GzEncoder::new(fs::File::create(&archive).unwrap(), Compression::fast()));
        let mut header = tar::Header::new_gnu();
        header.set_size(script.len() as u64);
        header.set_mode(0o755);
        tar.append_data(
            &mut header,
            format!("elastic-agent-{version}/elastic-agent"),
            script.as_bytes(),
        )
        .unwrap();
        tar.into_inner().unwrap().finish().unwrap().flush().unwrap();
        Self::hash(&archive, &hex::encode(Sha512::digest(fs::read(&archive).unwrap())));
        archive
    }

    fn hash(archive: &Utf8Path, hash: &str) {
        let line = format!("{hash}  {}\n", archive.file_name().unwrap());
        fs::write(format!("{archive}.sha512"), line).unwrap();
    }

    fn request(&self, version: &str) -> UpgradeRequest {
        UpgradeRequest {
            version: version.to_owned(),
            action_id: "action".to_owned(),
            source: Source::Path(self.packages.clone()),
            downloads: Downloads::default(),
            keys: None,
        }
    }

    async fn prepare(&self, request: UpgradeRequest) -> Result<Prepared, String> {
        let (progress, _told) = channel::channel(UpgradeDetails {
            target_version: String::new(),
            action_id: String::new(),
            state: UpgradeState::Requested,
            metadata: None,
        });
        prepare(&self.paths, request, &progress)
            .await
            .map_err(|error| error.to_string())
    }

    fn program(&self) -> String {
        fs::read_to_string(self.paths.home().join(PROGRAM)).unwrap()
    }
}

#[tokio::test]
async fn a_new_version_is_put_in_place_and_taken_back() {
    let site = Site::new();
    site.package("2.0.0", "2.0.0");
    let prepared = site.prepare(site.request("2.0.0")).await.unwrap();
    assert_eq!(site.program(), "old", "nothing that runs is touched before");
    let marker = swap(&site.paths, &prepared, WatchTimes::default()).unwrap();
    assert!(site.program().contains("echo 2.0.0"));
    assert_eq!(marker.details().state, UpgradeState::Watching);
    let again = site.prepare(site.request("2.0.0")).await.unwrap_err();
    assert!(again.contains("on probation"), "{again}");
    roll_back(&site.paths, "it broke").unwrap();
    assert_eq!(site.program(), "old");
    let told = Marker::read(&site.paths).unwrap().unwrap().details();
    assert_eq!(told.state, UpgradeState::Rollback);
    assert_eq!(told.metadata.unwrap()["reason"], "it broke");
    site.prepare(site.request("2.0.0"))
        .await
        .expect("and it may be tried again");
}

#[tokio::test]
async fn what_is_wrong_with_a_package_stops_it_before_anything_is_touched() {
    let site = Site::new();
    let check = async |site: &Site, request: UpgradeRequest, expected: &str| {
        let error = site.prepare(request).await.unwrap_err();
        assert!(error.contains(expected), "{error}");
        assert_eq!(site.program(), "old");
        assert!(!site.paths.data().join("upgrade").exists(), "nothing is left behind");
    };
    check(&site, site.request("2.0.0"), "elastic-agent-2.0.0-linux").await;
    let archive = site.package("2.0.0", "1.9.9");
    check(&site, site.request("2.0.0"), "should say that it is 2.0.0").await;
    let signed = UpgradeRequest {
        keys: Some(Keys::default()),
        ..site.request("2.0.0")
    };
    check(&site, signed.clone(), ".asc").await;
    fs::write(format!("{archive}.asc"), "x").unwrap();
    check(&site, signed, "no key is known").await;
    Site::hash(&archive, &"0".repeat(128));
    check(&site, site.request("2.0.0"), "SHA-512").await;
    fs::write(format!("{archive}.sha512"), "nothing").unwrap();
    check(&site, site.request("2.0.0"), "no line for").await;
    fs::write(&archive, "no archive").unwrap();
    Site::hash(&archive, &hex::encode(Sha512::digest(b"no archive")));
    check(&site, site.request("2.0.0"), "invalid gzip").await;
    fs::remove_file(site.paths.installed_marker()).unwrap();
    check(&site, site.request("2.0.0"), "not installed as a service").await;
}

#[tokio::test]
async fn a_package_of_any_name_can_be_named() {
    let site = Site::new();
    let archive = site.package("2.0.0", "2.0.0");
    let renamed = site.packages.join("agent-from-the-build.tar.gz");
    fs::rename(archive, &renamed).unwrap();
    let hash = hex::encode(Sha512::digest(fs::read(&renamed).unwrap()));
    Site::hash(&renamed, &hash);
    let request = UpgradeRequest {
        source: Source::Path(renamed),
        ..site.request("2.0.0")
    };
    site.prepare(request).await.unwrap();
}

#[tokio::test]
async fn a_damaged_marker_is_not_taken_for_none() {
    let site = Site::new();
    site.package("2.0.0", "2.0.0");
    let prepared = site.prepare(site.request("2.0.0")).await.unwrap();
    swap(&site.paths, &prepared, WatchTimes::default()).unwrap();
    let marker = site.paths.data().join(MARKER);
    fs::write(&marker, "{\"version\": \"2.").unwrap();
    let error = site.prepare(site.request("2.0.0")).await.unwrap_err();
    assert!(
        error.contains(marker.as_str()) && error.contains("remove the file"),
        "{error}"
    );
    assert!(roll_back(&site.paths, "why").is_err());
    assert!(watch(&site.paths, || ()).await.is_err());
}

#[tokio::test]
async fn a_marker_that_is_damaged_later_does_not_end_the_watch() {
    let site = Site::new();
    site.package("2.0.0", "2.0.0");
    let prepared = site.prepare(site.request("2.0.0")).await.unwrap();
    let times = WatchTimes {
        grace: std::time::Duration::from_secs(20),
        interval: std::time::Duration::from_millis(10),
    };
    swap(&site.paths, &prepared, times).unwrap();
    let paths = site.paths.clone();
    let (restarted, mut told) = channel::channel(0);
    let watching = tokio::spawn(async move { watch(&paths, || restarted.send_modify(|count| *count += 1)).await });
    let lock = site.paths.data().join("watcher.lock");
    while !lock.exists() {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        watch(&site.paths, || ()).await.unwrap(),
        Outcome::Nothing,
        "one watches already"
    );
    fs::write(site.paths.data().join(MARKER), "torn").unwrap();
    let outcome = watching.await.unwrap().unwrap();
    assert_eq!(
        outcome,
        Outcome::RolledBack("the new version does not answer".to_owned())
    );
    assert_eq!(*told.borrow_and_update(), 1);
    assert_eq!(site.program(), "old");
    let homes: Vec<_> = fs::read_dir(site.paths.data())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("elastic-agent-"))
        .collect();
    assert_eq!(
        homes,
        ["elastic-agent-1.0.0"],
        "the home of the one that failed is removed"
    );
}

#[tokio::test]
async fn a_program_that_hangs_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let program = Utf8PathBuf::from_path_buf(folder.path().join("p")).unwrap();
    fs::write(&program, "#!/bin/sh\nexec sleep 600\n").unwrap();
    fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let limit = std::time::Duration::from_millis(300);
    let error = package::try_program(&program, "2.0.0", limit)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("did not tell its version within 0.3 s"), "{error}");
}

#[tokio::test]
async fn a_program_of_another_machine_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let program = Utf8PathBuf::from_path_buf(folder.path().join("p")).unwrap();
    fs::write(&program, b"\x7fELF\x02\x01\x01 of another architecture").unwrap();
    fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let tried = package::try_program(&program, "2.0.0", package::TRIAL).await;
    let error = tried.unwrap_err().to_string();
    assert!(error.contains("does not start"), "{error}");
}

#[test]
fn sources_are_paths_or_urls() {
    let check = |text: &str, expected: &str| assert_eq!(format!("{:?}", Source::parse(text)), expected);
    check("file:///srv/packages", r#"Path("/srv/packages")"#);
    check("/srv/packages", r#"Path("/srv/packages")"#);
    check("packages.example/x/", r#"Url("https://packages.example/x")"#);
    check("http://packages.example", r#"Url("http://packages.example")"#);
}
