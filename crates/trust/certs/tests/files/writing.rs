//! Files that are written whole, with their mode, or not at all.

use std::os::unix::fs::PermissionsExt;

use certs::{WriteError, create_file_atomically, write_file_atomically};

use crate::support::Files;

fn mode(files: &Files, name: &str) -> u32 {
    fs_err::metadata(files.path(name))
        .expect("it is there")
        .permissions()
        .mode()
        & 0o777
}

#[test]
fn a_file_is_replaced_or_kept() {
    let files = Files::new();
    let path = files.path("a");
    write_file_atomically(&path, b"one", 0o600).unwrap();
    assert_eq!(mode(&files, "a"), 0o600);
    write_file_atomically(&path, b"two", 0o644).unwrap();
    assert_eq!(
        (fs_err::read(&path).unwrap(), mode(&files, "a")),
        (b"two".to_vec(), 0o644)
    );
    assert!(matches!(
        create_file_atomically(&path, b"three", 0o600),
        Err(WriteError::Exists { .. })
    ));
    assert_eq!(fs_err::read(&path).unwrap(), b"two");
    create_file_atomically(&files.path("b"), b"four", 0o600).unwrap();
    assert_eq!(fs_err::read(files.path("b")).unwrap(), b"four");
    let left = fs_err::read_dir(path.parent().unwrap()).unwrap().count();
    assert_eq!(left, 2, "nothing is left beside the files");
}

#[test]
fn a_folder_that_is_not_there_is_told() {
    let files = Files::new();
    let error = write_file_atomically(&files.path("none/a"), b"x", 0o600).unwrap_err();
    assert!(error.to_string().contains("none/a"), "{error}");
}
