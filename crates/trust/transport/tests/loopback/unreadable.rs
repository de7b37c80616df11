//! Whatever is named where a certificate, a key, an authority or a passphrase belongs: the error names the file and its role,
//! and says what to do. Nothing is waited for without end.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use pki::Usages;
use serde_json::json;
use tls::{ClientTls, LoadOptions, SslError};

use crate::support::Folder;

const ROLES: [&str; 4] = ["certificate_authorities", "certificate", "key", "key_passphrase_path"];

/// A block of a client with `file` in one role and good files in the others.
fn load(folder: &Folder, role: &str, file: &str) -> Result<(), SslError> {
    let mut block = json!({"certificate": folder.path("agent.crt"), "key": folder.path("agent.key")});
    block[role] = match role {
        "certificate_authorities" => json!([file]),
        _ => json!(file),
    };
    let settings = tls::SslSettings::from_value(&block)?;
    ClientTls::load(&settings, LoadOptions::default()).map(drop)
}

fn folder() -> Folder {
    let folder = Folder::new();
    folder.issue("agent", Usages::Client);
    fs_err::create_dir(folder.path("folder")).unwrap();
    symlink("nowhere", folder.path("dangling")).unwrap();
    symlink("loop", folder.path("loop")).unwrap();
    folder.write("empty", "");
    folder.write("blank", " \n\t\n");
    fs_err::write(folder.path("binary"), [0xff_u8, 0xfe, 0, 1].repeat(200)).unwrap();
    fs_err::write(folder.path("huge"), vec![b'x'; (8 << 20) + 1]).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(folder.path("pipe"))
            .status()
            .unwrap()
            .success()
    );
    folder
}

const UNREADABLE: [&str; 4] = [
    "file_unreadable",
    "file_unreadable",
    "file_unreadable",
    "passphrase_file_unreadable",
];

/// The class for each of [`ROLES`]; `none` for what is allowed there.
const EXPECTED: [(&str, [&str; 4]); 9] = {
    // A passphrase that is empty is none, and the key here needs none.
    const EMPTY: [&str; 4] = ["ca_not_pem_certificate", "no_pem", "no_pem", "none"];
    [
        ("missing", UNREADABLE),
        ("folder", UNREADABLE),
        ("dangling", UNREADABLE),
        ("loop", UNREADABLE),
        ("huge", UNREADABLE),
        ("agent.crt/below", UNREADABLE),
        ("empty", EMPTY),
        ("blank", EMPTY),
        (
            "binary",
            [
                "ca_not_pem_certificate",
                "no_pem",
                "no_pem",
                "passphrase_file_unreadable",
            ],
        ),
    ]
};

fn check(folder: &Folder, role: &str, name: &str, class: &str) {
    let Err(error) = load(folder, role, folder.path(name).as_str()) else {
        assert_eq!(class, "none", "{name} as {role}");
        return;
    };
    assert_eq!(error.class(), class, "{name} as {role}");
    let text = error.to_string();
    assert!(text.contains(name) && text.contains(&format!("`ssl.{role}`")), "{text}");
    assert!(!text.ends_with(','), "{text}");
    assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{text}");
}

#[test]
fn errors_name_file_role_and_remedy() {
    let folder = folder();
    for (name, classes) in EXPECTED {
        for (role, class) in ROLES.into_iter().zip(classes) {
            check(&folder, role, name, class);
        }
    }
}

/// A hang would be a failure of the whole test.
#[test]
fn a_pipe_that_nobody_writes_to_is_given_up() {
    let folder = folder();
    std::thread::scope(|scope| {
        for (role, class) in ROLES.into_iter().zip(UNREADABLE) {
            let folder = &folder;
            scope.spawn(move || check(folder, role, "pipe", class));
        }
    });
}

#[test]
fn what_may_not_be_read_is_told_with_whose_right_it_takes() {
    let folder = folder();
    for name in ["ca.crt", "agent.crt", "agent.key"] {
        fs_err::set_permissions(folder.path(name), PermissionsExt::from_mode(0o000)).unwrap();
    }
    if fs_err::read(folder.path("agent.key")).is_ok() {
        eprintln!("SKIPPED: rights of files, because this user may read everything");
        return;
    }
    for (role, name) in [
        ("certificate_authorities", "ca.crt"),
        ("certificate", "agent.crt"),
        ("key", "agent.key"),
    ] {
        let error = load(&folder, role, folder.path(name).as_str()).unwrap_err();
        assert_eq!(error.class(), "file_unreadable");
        assert!(error.hint().unwrap().contains("user that runs"), "{error}");
    }
}

/// As shells hand over what a command prints, in `<(command)`.
#[test]
fn a_pipe_that_somebody_writes_to_is_read() {
    let folder = folder();
    for (role, text) in [
        ("certificate_authorities", folder.authority.certificate_pem()),
        ("key", fs_err::read_to_string(folder.path("agent.key")).unwrap()),
        ("key_passphrase_path", "passphrase\n".to_owned()),
    ] {
        let pipe = folder.path("pipe");
        let writer = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs_err::write(pipe, text)
        });
        load(&folder, role, pipe.as_str()).unwrap();
        writer.join().unwrap().unwrap();
    }
}

/// The body of a key without its armour looks like a path to a careless reader; errors must not repeat it.
#[test]
fn a_key_that_lost_its_armour_is_not_repeated() {
    let folder = folder();
    let whole = fs_err::read_to_string(folder.path("agent.key")).unwrap();
    let body: String = whole.lines().filter(|line| !line.starts_with("-----")).collect();
    for length in [body.len(), body.len() - 1, 60, 48] {
        for role in ["certificate_authorities", "certificate", "key"] {
            let error = load(&folder, role, &body[..length]).unwrap_err();
            let mut told = format!("{error} {:?}", error.hint());
            let mut source = std::error::Error::source(&error);
            while let Some(inner) = source {
                told.push_str(&inner.to_string());
                source = inner.source();
            }
            assert!(!told.contains(&body[..20]), "{role}: {told}");
        }
    }
}
