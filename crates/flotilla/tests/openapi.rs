//! The Fleet API against its own description, by a program that makes requests from it (schemathesis): its examples, its
//! bounds and just beyond them, random bodies, and chains of requests that follow what was made.
//!
//! `cargo xtask prepare` installs the program. The bounds are tried here; `cargo xtask api` tries all the rest.
#![expect(clippy::disallowed_methods, reason = "a test asks its caller how long it may take")]

use std::path::Path;
use std::process::Command;

use testkit::{Flotilla, skip};

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");
const SCHEMATHESIS: &str = "/opt/flotilla-tests/schemathesis/bin/schemathesis";
/// Without more time: what the description itself asks for, the bounds of each field and just beyond them.
const QUICK: &[&str] = &["--phases", "examples,coverage"];
/// Chains of requests that follow the links. Each seed begins elsewhere, and comes to other routes.
const CHAINS: &[&str] = &["--phases", "stateful", "--max-examples", "200"];
const QUICK_SEEDS: std::ops::RangeInclusive<u32> = 1..=3;
const SEEDS: std::ops::RangeInclusive<u32> = 1..=20;

#[test]
fn the_api_is_what_its_description_says() {
    if !Path::new(SCHEMATHESIS).is_file() {
        return skip("schemathesis is not installed: cargo xtask prepare");
    }
    let flotilla = Flotilla::start(FLOTILLA, &["--no-agent"]);
    let description = format!("{}/api/fleet/openapi.json", flotilla.text("/urls/console"));
    let login = format!("{}:{}", flotilla.text("/username"), flotilla.text("/password"));
    let examples = std::env::var("FLOTILLA_API_EXAMPLES").ok();
    let (extent, seeds) = match &examples {
        Some(examples) => (vec!["--max-examples", examples], SEEDS),
        None => (QUICK.to_vec(), QUICK_SEEDS),
    };
    // Where it keeps what it has learned: not in the folder of the sources.
    let folder = tempfile::tempdir().unwrap();
    fs_err::copy(
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schemathesis.toml"),
        folder.path().join("schemathesis.toml"),
    )
    .unwrap();
    let run = |seed: u32, extent: &[&str]| {
        let output = Command::new(SCHEMATHESIS)
            .current_dir(folder.path())
            .args(["run", &description, "--auth", &login, "--header", "kbn-xsrf: true"])
            .args(["--tls-verify", &flotilla.text("/ca/path"), "--seed", &seed.to_string()])
            .args(["--request-retries", "3", "--continue-on-failure", "--no-color"])
            .args(extent)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}{complaint}");
    };
    run(1, &extent);
    seeds.for_each(|seed| run(seed, CHAINS));
}
