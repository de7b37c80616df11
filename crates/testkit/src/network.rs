//! Another host on the same machine: a network namespace with one cable to this one.

use std::ffi::OsStr;
use std::process::Command;

use crate::process::run;
use crate::{is_installed, skip};

/// A network namespace, joined to this host's network by a pair of virtual interfaces; gone when it is dropped.
#[derive(Debug)]
pub struct OtherHost {
    name: String,
    here: String,
    subnet: [u8; 3],
}

impl OtherHost {
    /// Plugs it in. `None`, and said aloud, where `ip` is missing or the caller may not make namespaces.
    pub fn plug_in() -> Option<Self> {
        if !is_installed("ip") {
            skip("`ip` is not installed (Debian: apt-get install iproute2)");
            return None;
        }
        let number = std::process::id();
        let host = Self {
            name: format!("flotilla-{number}"),
            here: format!("fl{number}"),
            // A /30 of 10.128.0.0/9 that other tests on this machine do not take.
            subnet: [
                128 + u8::try_from(number >> 14 & 0x7f).unwrap_or(0),
                u8::try_from(number >> 6 & 0xff).unwrap_or(0),
                u8::try_from(number << 2 & 0xff).unwrap_or(0),
            ],
        };
        let there = format!("{}t", host.here);
        let steps: [&[&str]; 8] = [
            &["netns", "add", &host.name],
            &["link", "add", &host.here, "type", "veth", "peer", "name", &there],
            &["link", "set", &there, "netns", &host.name],
            &[
                "addr",
                "add",
                &format!("{}/30", host.address_of_this_host()),
                "dev",
                &host.here,
            ],
            &["link", "set", &host.here, "up"],
            &[
                "-n",
                &host.name,
                "addr",
                "add",
                &format!("{}/30", host.address()),
                "dev",
                &there,
            ],
            &["-n", &host.name, "link", "set", &there, "up"],
            &["-n", &host.name, "link", "set", "lo", "up"],
        ];
        for step in steps {
            let output = run("ip", step);
            if !output.status.success() {
                let why = String::from_utf8_lossy(&output.stderr).into_owned();
                skip(&format!(
                    "cannot make a network namespace: ip {}: {}",
                    step.join(" "),
                    why.trim()
                ));
                return None;
            }
        }
        Some(host)
    }

    /// Under which the other host reaches this one.
    pub fn address_of_this_host(&self) -> String {
        self.at(1)
    }

    /// Its own address.
    pub fn address(&self) -> String {
        self.at(2)
    }

    /// `program` on that host.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    fn at(&self, last: u8) -> String {
        let [a, b, c] = self.subnet;
        format!("10.{a}.{b}.{}", c + last)
    }
}

impl Drop for OtherHost {
    fn drop(&mut self) {
        // The interfaces go with the namespace; after a failed start there may be only this one.
        run("ip", ["link", "del", &self.here]);
        run("ip", ["netns", "del", &self.name]);
    }
}
