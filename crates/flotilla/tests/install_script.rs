//! A host that has nothing joins by the one line that `up` prints.
#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use testkit::{Flotilla, eventually};

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");

fn shell(line: &str, kept_in: &std::path::Path) -> Output {
    Command::new("sh")
        .args(["-c", line])
        .env("FLOTILLA_BIN_DIR", kept_in)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn one_line_joins_a_bare_host_and_checks_the_server_before_anything_runs() {
    if std::path::Path::new("/run/systemd/system").exists() {
        testkit::skip("a service would be installed on this host");
        return;
    }
    let flotilla = Flotilla::start(FLOTILLA, &["--no-agent"]);
    let folder = tempfile::tempdir().unwrap();
    let (kept, home) = (folder.path().join("bin"), folder.path().join("agent"));
    let line = format!("{} --path.home={}", flotilla.text("/install"), home.display());

    let pin = line.split("sha256//").nth(1).unwrap()[..8].to_owned();
    let other = line.replace("sha256//", "sha256//AAAA");
    assert!(line.contains(&pin) && other != line);
    let refused = shell(&other, &kept);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        said.contains("public key"),
        "a server with other keys is not listened to: {said}"
    );
    assert!(!kept.exists() && !home.exists());

    let joined = shell(&line, &kept);
    let said = String::from_utf8_lossy(&joined.stderr).into_owned();
    assert!(joined.status.success(), "{said}");
    assert!(
        kept.join("flotilla").exists() && home.join("fleet.enc").exists(),
        "{said}"
    );
    eventually("the host in the fleet", Duration::from_secs(10), || {
        (flotilla.console().get("/api/fleet/agents")["total"] == 1).then_some(())
    });
}
