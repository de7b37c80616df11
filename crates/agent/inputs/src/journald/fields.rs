//! From the journal's field names to those of events.

use event::fields::{Fields, put};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::export::JournalEntry;

/// Name in the journal, paths in the event, and whether the value is a number.
const NAMES: [(&str, &[&str], bool); 45] = [
    ("MESSAGE", &["message"], false),
    ("MESSAGE_ID", &["message_id"], false),
    ("PRIORITY", &["syslog.priority", "log.syslog.severity.code"], true),
    (
        "SYSLOG_FACILITY",
        &["syslog.facility", "log.syslog.facility.code"],
        true,
    ),
    ("SYSLOG_IDENTIFIER", &["syslog.identifier", "log.syslog.appname"], false),
    ("SYSLOG_PID", &["syslog.pid", "log.syslog.procid"], false),
    ("SYSLOG_RAW", &["syslog.raw"], false),
    ("CODE_FILE", &["journald.code.file"], false),
    ("CODE_LINE", &["journald.code.line"], true),
    ("CODE_FUNC", &["journald.code.func"], false),
    ("OBJECT_PID", &["journald.object.pid"], true),
    ("OBJECT_UID", &["journald.object.uid"], true),
    ("OBJECT_GID", &["journald.object.gid"], true),
    ("COREDUMP_UNIT", &["journald.coredump.unit"], false),
    ("COREDUMP_USER_UNIT", &["journald.coredump.user_unit"], false),
    ("_PID", &["journald.pid", "process.pid"], true),
    ("_UID", &["journald.uid"], true),
    ("_GID", &["journald.gid"], true),
    ("_COMM", &["journald.process.name", "process.name"], false),
    ("_EXE", &["journald.process.executable", "process.executable"], false),
    (
        "_CMDLINE",
        &["journald.process.command_line", "process.command_line"],
        false,
    ),
    ("_CAP_EFFECTIVE", &["journald.process.capabilities"], false),
    ("_AUDIT_SESSION", &["journald.audit.session"], true),
    ("_AUDIT_LOGINUID", &["journald.audit.login_uid"], true),
    ("_SELINUX_CONTEXT", &["journald.selinux.context"], false),
    ("_BOOT_ID", &["journald.host.boot_id"], false),
    ("_KERNEL_DEVICE", &["journald.kernel.device"], false),
    ("_KERNEL_SUBSYSTEM", &["journald.kernel.subsystem"], false),
    ("_UDEV_SYSNAME", &["journald.kernel.device_name"], false),
    ("_UDEV_DEVNODE", &["journald.kernel.device_node_path"], false),
    ("_UDEV_DEVLINK", &["journald.kernel.device_symlinks"], false),
    ("_MACHINE_ID", &["host.id"], false),
    ("_HOSTNAME", &["host.hostname"], false),
    ("_TRANSPORT", &["systemd.transport"], false),
    ("_SYSTEMD_CGROUP", &["systemd.cgroup"], false),
    ("_SYSTEMD_INVOCATION_ID", &["systemd.invocation_id"], false),
    ("_SYSTEMD_OWNER_UID", &["systemd.owner_uid"], true),
    ("_SYSTEMD_SESSION", &["systemd.session"], false),
    ("_SYSTEMD_SLICE", &["systemd.slice"], false),
    ("_SYSTEMD_UNIT", &["systemd.unit"], false),
    ("_SYSTEMD_USER_SLICE", &["systemd.user_slice"], false),
    ("_SYSTEMD_USER_UNIT", &["systemd.user_unit"], false),
    ("UNIT", &["journald.unit"], false),
    ("USER_UNIT", &["journald.user_unit"], false),
    ("ERRNO", &["journald.errno"], true),
];

/// Time, cursor and fields of an entry. Names that are not known go below `journald.custom`.
pub(super) fn of(entry: JournalEntry, now: Timestamp) -> (Timestamp, Option<String>, Fields) {
    let mut fields = Fields::new();
    let mut time = None;
    let mut cursor = None;
    for (name, value) in entry.0 {
        match name.as_str() {
            "__CURSOR" => cursor = Some(value),
            "__REALTIME_TIMESTAMP" => {
                time = value
                    .parse()
                    .ok()
                    .and_then(|microseconds| Timestamp::from_microsecond(microseconds).ok());
            }
            name if name.starts_with("__") || name == "_SOURCE_REALTIME_TIMESTAMP" => {}
            name => add(&mut fields, name, value),
        }
    }
    if let Some(user) = event::fields::get(&fields, "journald.uid").map(ToString::to_string) {
        set(&mut fields, "user.id", json!(user));
    }
    set(&mut fields, "event.created", json!(clock::rfc3339_millis(now)));
    (time.unwrap_or(now), cursor, fields)
}

fn add(fields: &mut Fields, name: &str, value: String) {
    let Some((_, paths, is_number)) = NAMES.iter().find(|(known, ..)| *known == name) else {
        let custom = name.trim_start_matches('_').to_lowercase().replace('.', "_");
        set(fields, &format!("journald.custom.{custom}"), Value::String(value));
        return;
    };
    let value = match value.parse::<i64>() {
        Ok(number) if *is_number => json!(number),
        _ => Value::String(value),
    };
    for path in *paths {
        set(fields, path, value.clone());
    }
}

/// A name that is used as a value and as a group keeps what came first.
fn set(fields: &mut Fields, path: &str, value: Value) {
    if let Err(error) = put(fields, path, value) {
        tracing::trace!(%error, "a field of the journal has no place");
    }
}
