//! The documents that both stores get: log lines of 400 octets, and whole agent documents of 1.2 KB.

use std::fmt::Write as _;

const WORDS: [&str; 16] = [
    "accepted",
    "backend",
    "client",
    "closed",
    "connection",
    "failed",
    "from",
    "handshake",
    "listener",
    "password",
    "publickey",
    "request",
    "session",
    "started",
    "timeout",
    "user",
];
const LEVELS: [&str; 5] = ["debug", "info", "info", "warn", "error"];
/// Documents of one request.
pub(super) const BATCH: u64 = 1000;
/// 2026-01-01 in milliseconds; ten million documents, 200 ms apart, are three weeks.
const FIRST: u64 = 1_767_225_600_000;
const APART: u64 = 200;

/// What is sent.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// 400 octets.
    Log,
    /// 1.2 KB: all fields that an agent adds.
    Agent,
}

impl Shape {
    pub(super) fn stream(self) -> &'static str {
        match self {
            Self::Log => "logs-bench-default",
            Self::Agent => "logs-bench.agent-default",
        }
    }

    /// A bulk body with the documents from `first` on.
    pub(super) fn body(self, first: u64) -> Vec<u8> {
        let mut body = String::with_capacity(1_400_000);
        for number in first..first + BATCH {
            body.push_str("{\"create\":{}}\n");
            self.write(number, &mut body);
            body.push('\n');
        }
        body.into_bytes()
    }

    fn write(self, number: u64, body: &mut String) {
        let host = mixed(number) % 500;
        let level = LEVELS[(mixed(number ^ 7) % 5) as usize];
        let time = FIRST + number * APART;
        write!(body, "{{\"@timestamp\":{time},\"message\":\"").expect("memory takes it");
        for place in 0..12 {
            let word = WORDS[(mixed(number * 31 + place) % 16) as usize];
            write!(body, "{word} ").expect("memory takes it");
        }
        let port = mixed(number ^ 0x63) % 60_000;
        write!(
            body,
            "{port} {number}\",\"log\":{{\"level\":\"{level}\",\"offset\":{},\"file\":{{\"path\":\"/var/log/app.log\"}}}},\
             \"host\":{{\"name\":\"host-{host}\"}},\"agent\":{{\"id\":\"0d0f8e5a-3b1c-4f0e-9d1a-{host:012}\"}},\
             \"event\":{{\"dataset\":\"bench\"}},\"process\":{{\"pid\":{}}}",
            number * 120,
            mixed(number ^ 5) % 30_000,
        )
        .expect("memory takes it");
        if matches!(self, Self::Agent) {
            write!(body, "{}", agent_fields(host)).expect("memory takes it");
        }
        body.push('}');
    }
}

/// Source: the fields that an agent with host metadata adds to each event.
fn agent_fields(host: u64) -> String {
    format!(
        ",\"input\":{{\"type\":\"filestream\"}},\"ecs\":{{\"version\":\"8.0.0\"}},\"data_stream\":{{\"type\":\"logs\",\"dataset\":\"bench.agent\",\
         \"namespace\":\"default\"}},\"elastic_agent\":{{\"id\":\"0d0f8e5a-3b1c-4f0e-9d1a-{host:012}\",\"version\":\"9.6.0\",\"snapshot\":false}},\
         \"host.hostname\":\"host-{host}\",\"host.architecture\":\"x86_64\",\"host.id\":\"7d0f8e5a3b1c4f0e9d1a{host:012}\",\
         \"host.ip\":[\"10.0.{}.{}\",\"fe80::42:acff:fe11:{host:x}\"],\"host.mac\":[\"02-42-AC-11-00-{:02X}\"],\"host.containerized\":false,\
         \"host.os.name\":\"Debian GNU/Linux\",\"host.os.family\":\"debian\",\"host.os.kernel\":\"6.1.0-18-amd64\",\"host.os.platform\":\"debian\",\
         \"host.os.type\":\"linux\",\"host.os.version\":\"12 (bookworm)\",\"host.os.codename\":\"bookworm\",\"agent.name\":\"host-{host}\",\
         \"agent.type\":\"filebeat\",\"agent.version\":\"9.6.0\",\"agent.ephemeral_id\":\"5f0f8e5a-3b1c-4f0e-9d1a-{host:012}\"",
        host / 250,
        host % 250,
        host % 256,
    )
}

/// Scattered and the same in each run. Source: the finaliser of SplitMix64.
fn mixed(number: u64) -> u64 {
    let mut value = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
