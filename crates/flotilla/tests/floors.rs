//! The arrows between the crates never turn back: a crate uses only crates of its own floor or of floors below it.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// From the ground up; the folder under `crates/` is the floor.
const FLOORS: [&str; 7] = ["base", "trust", "store", "fleet", "agent", "services", "flotilla"];

/// What the agent may never see, so that agents of other versions keep working.
const AGENT_MUST_NOT_USE: [&str; 2] = ["store", "services"];

#[test]
fn no_crate_uses_a_floor_above_it() {
    let floor_of = floors();
    for (name, package) in workspace() {
        let Some(floor) = floor_of.get(&name) else { continue };
        for used in dependencies(&package) {
            let Some(used_floor) = floor_of.get(&used) else {
                continue;
            };
            assert!(
                height(used_floor) <= height(floor),
                "`{name}` ({floor}) uses `{used}` ({used_floor})"
            );
        }
    }
}

#[test]
fn the_agent_uses_neither_store_nor_services() {
    let floor_of = floors();
    for (name, package) in workspace() {
        if floor_of.get(&name).map(String::as_str) != Some("agent") {
            continue;
        }
        for used in dependencies(&package) {
            let used_floor = floor_of.get(&used).map_or("", String::as_str);
            assert!(!AGENT_MUST_NOT_USE.contains(&used_floor), "`{name}` uses `{used}`");
        }
    }
}

#[test]
fn services_do_not_use_each_other_and_nothing_uses_the_binary() {
    let floor_of = floors();
    for (name, package) in workspace() {
        for used in dependencies(&package) {
            assert_ne!(used, "flotilla", "`{name}` uses the binary");
            let both = [&name, &used].map(|crate_name| floor_of.get(crate_name).map_or("", String::as_str));
            assert_ne!(both, ["services", "services"], "`{name}` uses `{used}`");
        }
    }
}

fn height(floor: &str) -> usize {
    FLOORS.iter().position(|name| *name == floor).unwrap_or(FLOORS.len())
}

fn floors() -> BTreeMap<String, String> {
    let floor = |package: &Value| {
        let manifest = package["manifest_path"].as_str()?;
        let below_crates = manifest.split("/crates/").nth(1)?;
        below_crates.split('/').next().map(str::to_owned)
    };
    workspace()
        .into_iter()
        .filter_map(|(name, package)| Some((name, floor(&package)?)))
        .collect()
}

/// `cargo run --release -- up`, the README's first command, names no package.
#[test]
fn what_cargo_runs_is_flotilla() {
    let metadata = metadata();
    let members = metadata["workspace_default_members"].as_array().unwrap();
    let packages = workspace();
    assert_eq!(*members, [packages["flotilla"]["id"].clone()]);
    let targets = packages["flotilla"]["targets"].as_array().unwrap();
    let binaries: Vec<_> = targets
        .iter()
        .filter(|target| target["kind"][0] == "bin")
        .map(|target| &target["name"])
        .collect();
    assert_eq!(binaries, ["flotilla"]);
}

fn workspace() -> BTreeMap<String, Value> {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("metadata lists packages");
    packages
        .iter()
        .map(|package| (package["name"].as_str().unwrap().to_owned(), package.clone()))
        .collect()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs this test, so it can be run");
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

/// Ordinary dependencies only: tests may look down on anything.
fn dependencies(package: &Value) -> Vec<String> {
    let all = package["dependencies"]
        .as_array()
        .expect("a package lists its dependencies");
    all.iter()
        .filter(|dependency| dependency["kind"].is_null())
        .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
        .collect()
}
