//! Passphrases that are typed: at a terminal they are asked for and not shown, from a pipe certutil takes them as the original
//! does, and where nobody can type it is said what to set.

use std::io::Write;
use std::process::{Command, Stdio};

use certs::{PemSource, load_key};
use testkit::{Link, is_installed, run, skip};

use super::FLOTILLA;
use super::folder::Folder;

/// Runs a program at a terminal of its own. Each answer is typed once the question stands there and, when it is `hidden`, the
/// terminal does not show what is typed. Prints what the terminal showed; its status is the program's.
const AT_A_TERMINAL: &str = r"
import os, pty, select, sys, termios
program, answers = sys.argv[2:], [line.split('|') for line in sys.argv[1].splitlines()]
child, terminal = pty.fork()
if child == 0:
    os.execv(program[0], program)
shown = ''
def read():
    if not select.select([terminal], [], [], 30)[0]:
        sys.exit('nothing came in time after: ' + shown)
    try:
        return os.read(terminal, 4096).decode()
    except OSError:
        return ''
for question, answer, kind in answers:
    start = len(shown)
    while question not in shown[start:]:
        more = read()
        if not more:
            sys.exit('the program ended after: ' + shown)
        shown += more
    while kind == 'hidden' and termios.tcgetattr(terminal)[3] & termios.ECHO:
        pass
    os.write(terminal, (answer + '\n').encode())
while True:
    more = read()
    if not more:
        break
    shown += more
print(shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
";

/// Status and what the terminal showed.
fn typed(program: &[&str], answers: &[(&str, &str, &str)]) -> (i32, String) {
    let answers: Vec<String> = answers
        .iter()
        .map(|(question, answer, kind)| format!("{question}|{answer}|{kind}"))
        .collect();
    let output = run(
        "python3",
        [&["-c", AT_A_TERMINAL, &answers.join("\n")], program].concat(),
    );
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), said)
}

fn no_python() -> bool {
    let missing = !is_installed("python3");
    if missing {
        skip("prompts at a terminal, because python3 is not installed");
    }
    missing
}

/// `sealed.key`, the client's key under a passphrase.
fn seal(folder: &Folder) -> String {
    let sealed = folder.path("sealed.key");
    let output = run(
        "openssl",
        [
            "pkcs8",
            "-topk8",
            "-in",
            &folder.path("client.key"),
            "-passout",
            "pass:hunter2",
            "-out",
            &sealed,
        ],
    );
    assert!(output.status.success());
    sealed
}

#[test]
fn show_asks_for_the_passphrase_and_does_not_show_it() {
    if no_python() {
        return;
    }
    let folder = Folder::new();
    let sealed = seal(&folder);
    let question = ("Passphrase of", "hunter2", "hidden");
    let (status, shown) = typed(&[FLOTILLA, "tls", "show", &sealed], &[question]);
    assert_eq!(status, 0, "{shown}");
    assert!(shown.contains("ECDSA P-256") && !shown.contains("hunter2"), "{shown}");
    let (_, shown) = typed(
        &[FLOTILLA, "tls", "show", &sealed],
        &[("Passphrase of", "wrong", "hidden")],
    );
    assert!(
        shown.contains("passphrase does not open it") && !shown.contains("wrong\n"),
        "{shown}"
    );
}

#[test]
fn check_asks_for_the_passphrase_of_the_key() {
    if no_python() {
        return;
    }
    let folder = Folder::new();
    let sealed = seal(&folder);
    let certificate = folder.path("client.crt");
    let command = [
        FLOTILLA,
        "tls",
        "check",
        "https://127.0.0.1:1/",
        "--certificate",
        &certificate,
        "--key",
        &sealed,
    ];
    // Nothing listens there: whoever comes so far has opened the key.
    let question = |answer| [("Passphrase of `ssl.key`:", answer, "hidden")];
    let (status, shown) = typed(&command, &question("hunter2"));
    assert!(
        status == 1 && shown.contains("connection_failed") && !shown.contains("hunter2"),
        "{shown}"
    );
    let (status, shown) = typed(&command, &question("wrong"));
    assert!(status == 1 && shown.contains("key_wrong_passphrase"), "{shown}");
}

#[test]
fn where_nobody_can_type_it_is_said_what_to_set() {
    let folder = Folder::new();
    let sealed = seal(&folder);
    let certificate = folder.path("client.crt");
    let output = run(
        FLOTILLA,
        [
            "tls",
            "check",
            "https://127.0.0.1:1/",
            "--json",
            "--certificate",
            &certificate,
            "--key",
            &sealed,
        ],
    );
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(line["error_class"], "key_needs_passphrase");
    assert!(line["hint"].as_str().unwrap().contains("ssl.key_passphrase"), "{line}");
    assert!(
        !String::from_utf8_lossy(&output.stderr).contains("Passphrase"),
        "nobody is asked"
    );
}

#[test]
fn certutil_asks_at_a_terminal() {
    if no_python() {
        return;
    }
    let folder = Folder::new();
    let tool = Link::new(FLOTILLA, "elasticsearch-certutil");
    let tool = tool.path().to_str().unwrap();
    let (first, second) = (folder.path("first.p12"), folder.path("second.zip"));
    let (status, shown) = typed(
        &[tool, "ca", "-s", "--out", &first],
        &[("Password for first.p12:", "hunter2", "hidden")],
    );
    assert!(status == 0 && !shown.contains("hunter2"), "{shown}");
    // The CA's password is asked for, then that of the key; a long one is asked about and given anew.
    let long = "x".repeat(51);
    let (status, shown) = typed(
        &[
            tool, "cert", "-s", "--ca", &first, "--name", "a", "--pem", "--pass", "--out", &second,
        ],
        &[
            ("Password for the CA", "hunter2", "hidden"),
            ("Password for a/a.key:", &long, "hidden"),
            ("Use it all the same?", "n", "shown"),
            ("Password for a/a.key:", "hunter3", "hidden"),
        ],
    );
    assert!(status == 0, "{shown}");
    assert!(!shown.contains("hunter") && !shown.contains(&long), "{shown}");
    let key = run("unzip", ["-p", &second, "a/a.key"]).stdout;
    let key = PemSource::from_setting(std::str::from_utf8(&key).unwrap());
    assert!(load_key(&key, "a.key", Some(&"hunter3".into())).is_ok());
    assert!(load_key(&key, "a.key", Some(&long.as_str().into())).is_err());
}

#[test]
fn certutil_takes_answers_from_a_pipe() {
    let folder = Folder::new();
    let tool = Link::new(FLOTILLA, "elasticsearch-certutil");
    let out = folder.path("piped.p12");
    let mut child = Command::new(tool.path())
        .args(["ca", "-s"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let answers = format!("{out}\r\nhunter2\n");
    child.stdin.take().unwrap().write_all(answers.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("hunter2"));
    let bundle = PemSource::Path(out.into());
    assert!(load_key(&bundle, "piped.p12", Some(&"hunter2".into())).is_ok());
}
