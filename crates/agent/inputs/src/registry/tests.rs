use camino::Utf8PathBuf;
use fs_err as fs;
use serde_json::json;

use super::*;

fn folder() -> (tempfile::TempDir, Utf8PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(folder.path().join("registry")).unwrap();
    (folder, path)
}

fn known(registry: &Registry) -> Vec<(String, u64, Value)> {
    let mut known: Vec<_> = registry
        .entries("s")
        .iter()
        .map(|entry| (entry.id().to_owned(), entry.position(), entry.meta().clone()))
        .collect();
    known.sort_by(|left, right| left.0.cmp(&right.0));
    known
}

#[test]
fn positions_outlive_the_process() {
    let (_folder, path) = folder();
    let registry = Registry::open(&path).unwrap();
    let first = registry.insert("s", "a", 0, json!({"path": "/a"}));
    registry.insert("s", "b", 7, json!({}));
    registry.insert("other", "c", 1, json!({}));
    first.advance(10);
    first.advance(20);
    assert!(registry.flush());
    first.advance(30);
    drop(registry);
    let registry = Registry::open(&path).unwrap();
    assert_eq!(
        known(&registry),
        [("a".into(), 30, json!({"path": "/a"})), ("b".into(), 7, json!({}))]
    );
}

#[test]
fn what_is_removed_stays_removed() {
    let (_folder, path) = folder();
    let registry = Registry::open(&path).unwrap();
    let entry = registry.insert("s", "a", 5, json!({}));
    registry.flush();
    entry.remove();
    entry.advance(9);
    drop(registry);
    assert_eq!(known(&Registry::open(&path).unwrap()), []);
}

#[test]
fn a_torn_last_line_costs_only_itself() {
    let (_folder, path) = folder();
    let registry = Registry::open(&path).unwrap();
    let entry = registry.insert("s", "a", 5, json!({}));
    registry.flush();
    entry.advance(6);
    drop(registry);
    let operations = path.join("operations.0");
    let bytes = fs::read(&operations).unwrap();
    fs::write(&operations, &bytes[..bytes.len() - 4]).unwrap();
    let registry = Registry::open(&path).unwrap();
    assert_eq!(known(&registry), [("a".into(), 5, json!({}))]);
    registry.entries("s")[0].advance(8);
    drop(registry);
    assert_eq!(known(&Registry::open(&path).unwrap()), [("a".into(), 8, json!({}))]);
}

#[test]
fn a_flipped_bit_costs_only_its_line() {
    let (_folder, path) = folder();
    let registry = Registry::open(&path).unwrap();
    registry.insert("s", "a", 5, json!({}));
    registry.flush();
    registry.insert("s", "b", 6, json!({}));
    drop(registry);
    let operations = path.join("operations.0");
    let mut bytes = fs::read(&operations).unwrap();
    bytes[15] ^= 1;
    fs::write(&operations, &bytes).unwrap();
    assert_eq!(known(&Registry::open(&path).unwrap()), [("b".into(), 6, json!({}))]);
}

#[test]
fn a_checkpoint_replaces_the_operations() {
    let (_folder, path) = folder();
    let (mut files, _) = file::RegistryFiles::open(&path).unwrap();
    let operation = |position| Operation {
        stream: "s".into(),
        id: "a".into(),
        position,
        meta: Some(json!({})),
        removed: false,
    };
    files.append(&[operation(1)]).unwrap();
    files.checkpoint(&[operation(2)]).unwrap();
    files
        .append(&[Operation {
            meta: None,
            ..operation(3)
        }])
        .unwrap();
    drop(files);
    assert!(!path.join("operations.0").exists());
    assert_eq!(known(&Registry::open(&path).unwrap()), [("a".into(), 3, json!({}))]);
    fs::write(path.join("checkpoint"), "garbage").unwrap();
    drop(Registry::open(&path).unwrap());
}
