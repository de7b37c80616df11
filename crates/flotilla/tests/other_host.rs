//! A second host with a network of its own: it joins with the printed command and with the documented flags, and its data
//! arrives.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::json;
use testkit::{Flotilla, Link, OtherHost, eventually};

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");
const SOON: Duration = Duration::from_mins(1);

#[test]
fn a_host_with_its_own_network_joins_both_ways() {
    let Some(host) = OtherHost::plug_in() else { return };
    let this_host = host.address_of_this_host();
    let flotilla = Flotilla::start_at(FLOTILLA, "0.0.0.0", &this_host, &["--no-agent"]);
    assert!(flotilla.text("/urls/fleet_server").contains(&this_host));

    let join = flotilla.text("/join");
    let printed = Agent::enroll_and_run(&host, &["--join", &join]);
    let first = printed.id(&flotilla);
    let url = flotilla.text("/urls/fleet_server");
    let token = flotilla.text("/enrollment_token");
    let authority = flotilla.text("/ca/path");
    let documented = Agent::enroll_and_run(
        &host,
        &[
            &format!("--url={url}"),
            &format!("--enrollment-token={token}"),
            &format!("--certificate-authorities={authority}"),
        ],
    );
    let second = documented.id(&flotilla);
    assert_ne!(first, second);
    for id in [first, second] {
        eventually("its metrics", SOON, || {
            let query = json!({ "size": 1, "query": { "term": { "agent.id": id } } });
            let answer = flotilla
                .elasticsearch()
                .post("/metrics-system.cpu-default/_search", &query);
            answer.pointer("/hits/hits/0").map(|_| ())
        });
        let agent = flotilla.console().get(&format!("/api/fleet/agents/{id}"));
        let addresses = agent["item"]["local_metadata"]["host"]["ip"].to_string();
        assert!(addresses.contains(&host.address()), "{addresses}");
    }
}

/// An enrolled and running agent on the other host.
struct Agent {
    child: Child,
    home: tempfile::TempDir,
    _link: Link,
}

impl Agent {
    fn enroll_and_run(host: &OtherHost, flags: &[&str]) -> Self {
        let link = Link::new(FLOTILLA, "elastic-agent");
        let home = tempfile::tempdir().unwrap();
        let path = format!("--path.home={}", home.path().display());
        let enrolled = host
            .command(link.path())
            .args(["enroll", &path, "--force"])
            .args(flags)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            enrolled.status.success(),
            "{}",
            String::from_utf8_lossy(&enrolled.stderr)
        );
        let child = host
            .command(link.path())
            .args(["run", &path])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            home,
            _link: link,
        }
    }

    /// Its id, once it is online.
    fn id(&self, flotilla: &Flotilla) -> String {
        let socket = self.home.path().display().to_string();
        eventually(&format!("the agent in {socket} online"), SOON, || {
            let link = Link::new(FLOTILLA, "elastic-agent");
            let status = testkit::run(
                link.path(),
                ["status", &format!("--path.home={socket}"), "--output=json"],
            );
            let status: serde_json::Value = serde_json::from_slice(&status.stdout).ok()?;
            let id = status["info"]["id"].as_str()?.to_owned();
            let agent = flotilla.console().get(&format!("/api/fleet/agents/{id}"));
            (agent["item"]["status"] == "online").then_some(id)
        })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _already_waited = self.child.wait();
    }
}
