//! A Fleet Server under an agent: the agent says when and with what.

use std::sync::{Arc, Mutex};

use agent::{FleetServerComponent, FleetServerUnit, enroll};
use async_trait::async_trait;
use event::{Reporter, UnitState};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::{Running, Server, folder, status_becomes};

#[derive(Debug, Default)]
struct Fake {
    units: Mutex<Vec<FleetServerUnit>>,
}

#[async_trait]
impl FleetServerComponent for Fake {
    async fn run(&self, unit: FleetServerUnit, reporter: Reporter, stop: CancellationToken) {
        self.units.lock().unwrap().push(unit);
        reporter.report(UnitState::Healthy, "Running on policy");
        stop.cancelled().await;
    }
}

#[tokio::test]
async fn it_gets_the_policy_s_output_and_what_the_enrolment_said() {
    let server = Server::start();
    let folder = folder();
    let mut options = server.enroll_options(&folder.paths);
    options.server = Some(json!({
        "host": "0.0.0.0", "port": 8220, "policy": {"id": "fs"},
        "output": {"elasticsearch": {"hosts": ["es:9200"], "service_token": "t"}},
    }));
    enroll(options).await.unwrap();
    let fake = Arc::new(Fake::default());
    let running = Running::start_with(&folder.paths, Some(fake.clone()));
    server.send_policy(
        1,
        json!({
            "outputs": {"default": {"type": "elasticsearch", "hosts": ["https://es:9200"], "api_key": "a:b"}},
            "fleet": {"hosts": [server.url]},
            "inputs": [{"id": "fs-1", "type": "fleet-server"}],
        }),
    );
    server.acknowledged("policy:p:1").await;
    let component = |report: &agent::status::StatusReport| {
        report
            .components
            .iter()
            .any(|component| component.id == "fleet-server-default" && component.message.contains("1 input"))
    };
    status_becomes(&folder.paths, component).await;
    running.stop().await;
    let units = fake.units.lock().unwrap();
    let [first, unit] = units.as_slice() else {
        panic!("one run before there is a policy and one with it, not {}", units.len())
    };
    assert_eq!(first.output["bootstrap"]["service_token"], "t");
    assert_eq!(
        (unit.agent_id.as_str(), &unit.input["policy"]["id"]),
        ("agent-1", &json!("fs"))
    );
    assert_eq!(unit.output["bootstrap"]["service_token"], "t");
    assert!(unit.output.get("api_key").is_none());
}

#[tokio::test]
async fn an_agent_that_was_not_enrolled_for_it_says_so() {
    let server = Server::start();
    let folder = folder();
    enroll(server.enroll_options(&folder.paths)).await.unwrap();
    let running = Running::start(&folder.paths);
    let policy = json!({
        "outputs": {"default": {"type": "elasticsearch", "hosts": ["https://es:9200"]}},
        "inputs": [{"id": "fs-1", "type": "fleet-server"}],
    });
    server.send_policy(1, policy);
    server.acknowledged("policy:p:1").await;
    let report = status_becomes(&folder.paths, |report| !report.components.is_empty()).await;
    assert!(
        report.components[0].message.contains("--fleet-server-es"),
        "{:?}",
        report.components
    );
    running.stop().await;
}
