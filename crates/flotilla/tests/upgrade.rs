//! `elastic-agent upgrade` as processes: a version that works stays, one that does not is taken back.

use std::time::Duration;

use serde_json::Value;
use testkit::{Flotilla, InstalledHost, eventually, run};

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");
const SOON: Duration = Duration::from_mins(1);
/// Between the moments at which something is killed.
const STEP: Duration = Duration::from_millis(150);

#[test]
fn a_version_that_works_stays_and_one_that_does_not_is_taken_back() {
    let host = InstalledHost::start(FLOTILLA);
    let first = host.home();
    let version = testkit::version_of(FLOTILLA);
    let works = format!("#!/bin/sh\nexec {}/elastic-agent \"$@\"\n", host.folder().display());
    host.package(&version, &works);
    let process = host.runs();
    host.upgrade(&version);
    assert_eq!(host.runs(), process, "the service manager does not notice");
    let second = host.home();
    assert_ne!(second, first);
    assert!(host.marker().is_some(), "it is on probation");
    eventually("the end of the probation", SOON, || {
        host.marker().is_none().then_some(())
    });
    assert_eq!(host.home(), second);

    host.package(
        "99.0.0",
        "#!/bin/sh\n[ \"$1\" = version ] && echo 99.0.0 && exit\nexit 1\n",
    );
    host.upgrade("99.0.0");
    let reason = eventually("the version before", SOON, || {
        host.marker()?["rolled_back"].as_str().map(str::to_owned)
    });
    assert!(reason.contains("answer"), "{reason}");
    assert_eq!(host.home(), second);
    host.runs();
    eventually("the homes of others are gone", SOON, || {
        let homes = std::fs::read_dir(host.top().join("data")).unwrap();
        let is_home = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("elastic-agent-");
        let left: Vec<_> = homes
            .map(Result::unwrap)
            .filter(is_home)
            .map(|entry| entry.path())
            .collect();
        (left == [second.clone()]).then_some(())
    });
}

/// Fleet asks, Fleet Server hands the program out, and a version that does not check in is taken back, which Fleet hears.
#[test]
fn a_version_from_fleet_server_that_does_not_check_in_is_taken_back() {
    let mut up = Flotilla::start(FLOTILLA, &["--no-agent"]);
    let host = InstalledHost::join(FLOTILLA, &up.text("/join"), 8);
    let first = host.home();
    // It starts late enough for Fleet Server to be gone by then.
    let program = format!(
        "#!/bin/sh\n[ \"$1\" = version ] && echo 9.6.9 && exit\nsleep 3\nexec {}/elastic-agent \"$@\"\n",
        host.folder().display()
    );
    assert!(up.stop());
    let programs = up.data_dir().join("programs");
    std::fs::create_dir(&programs).unwrap();
    fs_err::write(
        programs.join(format!("flotilla-linux-{}", std::env::consts::ARCH)),
        program,
    )
    .unwrap();
    up.start_again();

    let id = eventually("the agent in the fleet", SOON, || {
        let agent = &up.console().get("/api/fleet/agents")["items"][0];
        (agent["status"] == "online").then(|| agent["id"].as_str().unwrap().to_owned())
    });
    let asked = up.console().post(
        &format!("/api/fleet/agents/{id}/upgrade"),
        &serde_json::json!({"version": "9.6.9", "force": true}),
    );
    assert!(asked.get("error").is_none(), "{asked}");
    eventually("probation", SOON, || (host.home() != first).then_some(()));
    up.kill();
    eventually("the version before", SOON, || (host.home() == first).then_some(()));
    up.start_again();
    let told = eventually("the rollback is told to Fleet", SOON, || {
        let agent = up.console().get(&format!("/api/fleet/agents/{id}"));
        let details = agent["item"]["upgrade_details"].clone();
        (details["state"] == "UPG_ROLLBACK").then_some(details)
    });
    assert_eq!(told["target_version"], "9.6.9");
    // Fleet's documents have no place for the reason; the host has.
    let status = host.agent(&["status", "--output", "json"]);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    let reason = status["upgrade_details"]["metadata"]["reason"]
        .as_str()
        .unwrap_or_default();
    assert!(reason.contains("did not check in"), "{status}");
    assert_eq!(host.home(), first);
    assert!(host.marker().is_none());
}

/// Whatever is killed, and whenever: an agent runs afterwards, and takes the next upgrade.
#[test]
fn kills_in_the_midst_of_an_upgrade_strand_nothing() {
    let host = InstalledHost::start(FLOTILLA);
    // Another program each time, so that each has a home of its own.
    let works = |number: usize| {
        let program = host.folder().join("elastic-agent");
        format!("#!/bin/sh\n# {number}\nexec {} \"$@\"\n", program.display())
    };
    let version = testkit::version_of(FLOTILLA);
    for round in 0..testkit::soak_rounds(6) {
        host.package(&version, &works(round));
        let mut upgrade = host.start_upgrade(&version);
        // Spread over what an upgrade takes: unpacking, trying, turning the link, starting over, watching.
        std::thread::sleep(STEP * u32::try_from(round % 12).unwrap());
        let victim = if round % 2 == 0 { "run" } else { "" };
        host.kill(victim);
        let _refused_or_done = upgrade.wait().unwrap();
        host.runs();
        assert!(
            host.home().join("elastic-agent").exists(),
            "round {round}: the link leads nowhere"
        );
        eventually("the end of what was begun", SOON, || {
            host.marker().is_none().then_some(())
        });
    }
    host.package(&version, &works(usize::MAX));
    let before = host.home();
    host.upgrade(&version);
    assert_ne!(host.home(), before);
    eventually("the end of the probation", SOON, || {
        host.marker().is_none().then_some(())
    });
}

#[test]
fn what_cannot_be_upgraded_says_why() {
    let home = tempfile::tempdir().unwrap();
    let top = format!("--path.home={}", home.path().display());
    let check = |arguments: &[&str], expected: &str| {
        let output = run(FLOTILLA, [&["agent", top.as_str(), "upgrade"], arguments].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    };
    check(&["9.9.9"], "no agent is installed");
    fs_err::write(home.path().join(".installed"), "").unwrap();
    check(&[], "name the version");
    check(&["9.9.9"], "--source-uri");
    check(&["9.9.9", "-s", "/nonexistent", "--skip-verify"], "/nonexistent");
    check(&["9.9.9", "-s", "/nonexistent", "--pgp-uri", "http://keys"], "https");
    check(
        &["9.9.9", "-s", "/nonexistent", "--pgp-path", "/nonexistent/key"],
        "--pgp-path",
    );
    check(&["--rollback"], "nothing to go back to");
}
