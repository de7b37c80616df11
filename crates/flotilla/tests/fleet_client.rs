//! A Go program with the client library of the Elastic Stack's own agents, against our Fleet API.

use std::path::Path;
use std::process::Command;

use testkit::{Flotilla, is_installed, skip};

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");
const PROGRAM: &str = "tests/clients/fleet";

#[test]
fn what_a_go_client_writes_is_what_it_reads() {
    if !is_installed("go") {
        skip("go is not installed (Debian: apt-get install golang-go)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for name in ["main.go", "go.mod", "go.sum"] {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(PROGRAM).join(name);
        fs_err::copy(source, folder.path().join(name)).unwrap();
    }
    let go = |arguments: &[&str]| {
        let mut command = Command::new("go");
        command
            .args(arguments)
            .current_dir(folder.path())
            .env("GOFLAGS", "-mod=readonly");
        command.output().unwrap()
    };
    if !go(&["mod", "download"]).status.success() {
        skip("the Go modules of the client cannot be fetched");
        return;
    }
    let built = go(&["build", "-o", "client", "."]);
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let flotilla = Flotilla::start(FLOTILLA, &[]);
    let (url, password, ca) = (
        flotilla.text("/urls/console"),
        flotilla.text("/password"),
        flotilla.text("/ca/path"),
    );
    // In the default space, and in one of its own.
    for space in [None, Some("lab")] {
        let output = Command::new(folder.path().join("client"))
            .args([&url, &password, &ca])
            .args(space)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{space:?}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(said.trim(), "all is as it was written");
    }
}
