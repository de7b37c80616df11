//! The official clients of both families (Python, JavaScript, Go) against port 9200 of `flotilla up`.
//!
//! `cargo xtask prepare` installs the Python and JavaScript ones; Go fetches its modules itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::{Flotilla, is_installed, skip};

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");
/// Where `cargo xtask prepare` puts them.
const INSTALLED: &str = "/opt/flotilla-tests/api-clients";

fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// Runs a client program against a Flotilla of its own; it ends with an error at the first answer that is not as expected.
#[track_caller]
fn check(command: &mut Command) {
    let flotilla = Flotilla::start(FLOTILLA, &[]);
    let (url, password, ca) = (
        flotilla.text("/urls/elasticsearch"),
        flotilla.text("/password"),
        flotilla.text("/ca/path"),
    );
    let output = command
        .args([&url, &password, &ca])
        .output()
        .expect("the client can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(said.trim(), "both clients are served");
}

#[test]
fn the_python_clients_are_served() {
    let python = format!("{INSTALLED}/python/bin/python");
    if !Path::new(&python).is_file() {
        return skip("elasticsearch-py and opensearch-py are not installed: cargo xtask prepare");
    }
    check(Command::new(python).arg(program("api_python/api.py")));
}

#[test]
fn the_javascript_clients_are_served() {
    let folder = Path::new(INSTALLED).join("javascript");
    if !is_installed("node") || !folder.join("node_modules/@opensearch-project/opensearch").is_dir() {
        return skip("the JavaScript clients are not installed: cargo xtask prepare");
    }
    // Node looks for modules beside the program.
    let beside = tempfile::tempdir().unwrap();
    fs_err::copy(program("api_javascript/api.mjs"), beside.path().join("api.mjs")).unwrap();
    fs_err::os::unix::fs::symlink(folder.join("node_modules"), beside.path().join("node_modules")).unwrap();
    check(Command::new("node").arg(beside.path().join("api.mjs")));
}

#[test]
fn the_go_clients_are_served() {
    if !is_installed("go") {
        return skip("go is not installed (Debian: apt-get install golang-go)");
    }
    let folder = tempfile::tempdir().unwrap();
    for name in ["main.go", "go.mod", "go.sum"] {
        fs_err::copy(program("api_go").join(name), folder.path().join(name)).unwrap();
    }
    let go = |arguments: &[&str]| {
        let mut command = Command::new("go");
        command.args(arguments).current_dir(folder.path());
        command.env("GOFLAGS", "-mod=readonly").output().unwrap()
    };
    if !go(&["mod", "download"]).status.success() {
        return skip("the Go modules of the clients cannot be fetched");
    }
    let built = go(&["build", "-o", "client", "."]);
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    check(&mut Command::new(folder.path().join("client")));
}
