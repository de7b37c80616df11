//! The pipelines that come with the program: what the agent's auth and syslog lines become.
//!
//! They give the fields that the System dashboards read. Source: agent-data, System integration.

use std::sync::LazyLock;

use crate::pipeline::Pipelines;

/// `logs-system.auth-*`.
const AUTH: &str = "logs-system.auth@flotilla";
/// `logs-system.syslog-*`.
const SYSLOG: &str = "logs-system.syslog@flotilla";

static BUILTIN: LazyLock<Pipelines> = LazyLock::new(|| {
    let mut pipelines = Pipelines::default();
    for (name, text) in [
        (AUTH, include_str!("builtin/auth.json")),
        (SYSLOG, include_str!("builtin/syslog.json")),
    ] {
        let body = serde_json::from_str(text).expect("a test reads this text");
        pipelines.put(name, &body).expect("a test compiles this pipeline");
    }
    pipelines
});

/// A set that holds them, to add others to.
pub fn pipelines() -> Pipelines {
    BUILTIN.clone()
}

/// The pipeline for documents of `index` that no template says otherwise for.
pub fn pipeline_for(index: &str) -> Option<&'static str> {
    if index.starts_with("logs-system.auth-") {
        Some(AUTH)
    } else if index.starts_with("logs-system.syslog-") {
        Some(SYSLOG)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Document;
    use serde_json::{Value, json};

    fn run(index: &str, source: Value) -> Value {
        let Value::Object(source) = source else {
            panic!("a source is an object")
        };
        let document = Document {
            index: index.to_owned(),
            id: None,
            source,
        };
        let name = pipeline_for(index).unwrap();
        let now = "2026-01-02T12:00:00Z".parse().unwrap();
        Value::Object(pipelines().run(name, document, now).unwrap().unwrap().source)
    }

    fn auth(line: &str) -> Value {
        run(
            "logs-system.auth-default",
            json!({"event": {"original": line, "timezone": "+00:00"}}),
        )
    }

    fn check(document: &Value, expected: &[(&str, Value)]) {
        for (pointer, value) in expected {
            assert_eq!(document.pointer(pointer), Some(value), "{pointer} in {document}");
        }
    }

    #[test]
    fn an_accepted_login() {
        let document = auth(
            "Jan  2 03:04:06 web-01 sshd[812]: Accepted publickey for vagrant from 10.0.2.2 port 63673 ssh2: RSA 39:33:99:e9",
        );
        check(
            &document,
            &[
                ("/@timestamp", json!("2026-01-02T03:04:06.000Z")),
                ("/host/hostname", json!("web-01")),
                ("/process/name", json!("sshd")),
                ("/process/pid", json!(812)),
                ("/user/name", json!("vagrant")),
                ("/source/ip", json!("10.0.2.2")),
                ("/source/port", json!(63673)),
                ("/system/auth/ssh/event", json!("Accepted")),
                ("/system/auth/ssh/method", json!("publickey")),
                ("/system/auth/ssh/signature", json!("RSA 39:33:99:e9")),
                ("/event/kind", json!("event")),
                ("/event/category", json!(["authentication", "session"])),
                ("/event/type", json!(["info"])),
                ("/event/action", json!("ssh_login")),
                ("/event/outcome", json!("success")),
                ("/related/user", json!(["vagrant"])),
                ("/related/ip", json!(["10.0.2.2"])),
                ("/related/hosts", json!(["web-01"])),
            ],
        );
    }

    #[test]
    fn refused_logins_and_dropped_attackers() {
        let failed =
            auth("Jan  2 03:04:06 web-01 sshd[1]: Failed password for invalid user test from 203.0.113.5 port 4 ssh2");
        check(
            &failed,
            &[
                ("/system/auth/ssh/event", json!("Failed")),
                ("/user/name", json!("test")),
                ("/event/outcome", json!("failure")),
                ("/event/type", json!(["info"])),
            ],
        );
        let invalid = auth("Jan  2 03:04:06 web-01 sshd[1]: Invalid user admin from 203.0.113.5 port 51212");
        check(
            &invalid,
            &[
                ("/system/auth/ssh/event", json!("Invalid")),
                ("/user/name", json!("admin")),
                ("/event/outcome", json!("failure")),
            ],
        );
        let dropped = auth("Jan  2 03:04:06 web-01 sshd[1]: Did not receive identification string from 203.0.113.5");
        check(
            &dropped,
            &[
                ("/system/auth/ssh/dropped_ip", json!("203.0.113.5")),
                ("/source/ip", json!("203.0.113.5")),
            ],
        );
    }

    #[test]
    fn sudo_and_new_users_and_groups() {
        let sudo =
            auth("Jan  2 03:04:06 web-01 sudo: tsg : TTY=pts/0 ; PWD=/home/tsg ; USER=root ; COMMAND=/bin/ls -l");
        check(
            &sudo,
            &[
                ("/user/name", json!("tsg")),
                ("/user/effective/name", json!("root")),
                ("/system/auth/sudo/tty", json!("pts/0")),
                ("/system/auth/sudo/pwd", json!("/home/tsg")),
                ("/system/auth/sudo/user", json!("root")),
                ("/system/auth/sudo/command", json!("/bin/ls -l")),
            ],
        );
        let user = auth(
            "Jan  2 03:04:06 web-01 useradd[6995]: new user: name=apache, UID=48, GID=48, home=/usr/share/httpd, shell=/sbin/nologin",
        );
        check(
            &user,
            &[
                ("/user/name", json!("apache")),
                ("/user/id", json!("48")),
                ("/group/id", json!("48")),
                ("/system/auth/useradd/home", json!("/usr/share/httpd")),
                ("/system/auth/useradd/shell", json!("/sbin/nologin")),
                ("/event/category", json!(["iam"])),
                ("/event/type", json!(["user", "creation"])),
            ],
        );
        let group = auth("Jan  2 03:04:06 web-01 groupadd[6991]: new group: name=apache, GID=48");
        check(
            &group,
            &[
                ("/group/name", json!("apache")),
                ("/group/id", json!("48")),
                ("/event/type", json!(["group", "creation"])),
            ],
        );
    }

    #[test]
    fn a_line_of_another_kind_keeps_its_message() {
        let document = auth("Jan  2 03:04:06 web-01 systemd-logind[7]: New seat seat0.");
        check(
            &document,
            &[
                ("/message", json!("New seat seat0.")),
                ("/process/name", json!("systemd-logind")),
            ],
        );
        let odd = auth("not a syslog line at all");
        check(&odd, &[("/message", json!("not a syslog line at all"))]);
        assert!(odd.pointer("/error/message").is_some());
    }

    #[test]
    fn syslog_lines_old_and_new() {
        let document = run(
            "logs-system.syslog-default",
            json!({"message": "Jan  2 03:04:06 web-01 cron[901]: (root) CMD (true)", "event": {"timezone": "+01:00"}}),
        );
        check(
            &document,
            &[
                ("/@timestamp", json!("2026-01-02T03:04:06.000+01:00")),
                ("/host/hostname", json!("web-01")),
                ("/process/name", json!("cron")),
                ("/process/pid", json!(901)),
                ("/message", json!("(root) CMD (true)")),
                ("/event/kind", json!("event")),
            ],
        );
        let iso = run(
            "logs-system.syslog-default",
            json!({"message": "2026-01-02T03:04:06.123456+00:00 web-01 kernel: up"}),
        );
        check(
            &iso,
            &[
                ("/@timestamp", json!("2026-01-02T03:04:06.123Z")),
                ("/process/name", json!("kernel")),
                ("/message", json!("up")),
            ],
        );
    }

    #[test]
    fn journald_events_pass_through() {
        let event = json!({"message": "started", "input": {"type": "journald"}, "process": {"name": "x", "pid": 1}, "@timestamp": "2026-01-02T03:04:05.000Z"});
        let document = run("logs-system.syslog-default", event);
        check(
            &document,
            &[
                ("/message", json!("started")),
                ("/@timestamp", json!("2026-01-02T03:04:05.000Z")),
            ],
        );
        assert!(document.get("error").is_none());
    }
}
