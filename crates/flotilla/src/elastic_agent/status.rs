//! `elastic-agent status`.

use agent::control::Client;
use agent::status::{Health, StatusReport};
use anyhow::Result;
use serde_json::Value;

use super::arguments::{CommonArguments, StatusOutput};
use crate::printer;

/// Prints the health; 0 only when all is well.
pub(super) fn run(common: &CommonArguments, output: StatusOutput) -> Result<i32> {
    let report = super::block_on(async { Ok(Client::new(common.paths().socket()).status().await?) })?;
    match output {
        StatusOutput::Human => printer::text(tree(&report, false)),
        StatusOutput::Full => printer::text(tree(&report, true)),
        StatusOutput::Json => printer::line(serde_json::to_string_pretty(&report)?),
        StatusOutput::Yaml => printer::text(settings::to_yaml(&yaml(&report)?)),
    }
    let well = report.state == Health::Healthy && matches!(report.fleet_state, Health::Healthy | Health::Stopped);
    Ok(i32::from(!well))
}

/// The YAML form has small letters where the JSON form has capitals. Source: the stock program's output.
fn yaml(report: &StatusReport) -> Result<Value> {
    let mut value = serde_json::to_value(report)?;
    if let Value::Object(map) = &mut value {
        for (from, to) in [("FleetState", "fleet_state"), ("FleetMessage", "fleet_message")] {
            if let Some(moved) = map.shift_remove(from) {
                map.insert(to.to_owned(), moved);
            }
        }
    }
    Ok(value)
}

/// A tree of what is not well, or of everything.
fn tree(report: &StatusReport, full: bool) -> String {
    let mut fleet = Node::new("fleet".to_owned());
    fleet.children.push(status(report.fleet_state, &report.fleet_message));
    let mut agent = Node::new("elastic-agent".to_owned());
    agent.children.push(status(report.state, &report.message));
    if full {
        let info = &report.info;
        agent.children.push(Node::new(format!(
            "info: id {}, version {}, pid {}",
            info.id, info.version, info.pid
        )));
    }
    for component in &report.components {
        if !full && component.state == Health::Healthy {
            continue;
        }
        let mut node = Node::new(component.id.clone());
        node.children.push(status(component.state, &component.message));
        for unit in component
            .units
            .iter()
            .filter(|unit| full || unit.state != Health::Healthy)
        {
            let mut child = Node::new(unit.unit_id.clone());
            let kind = if unit.unit_type == 1 { "output" } else { "input" };
            child.children.push(status(unit.state, &unit.message));
            child.children.push(Node::new(format!("type: {kind}")));
            node.children.push(child);
        }
        agent.children.push(node);
    }
    if let Some(upgrade) = &report.upgrade_details {
        let mut node = Node::new("upgrade_details".to_owned());
        let details = serde_json::to_value(upgrade).unwrap_or_default();
        for (key, value) in details.as_object().into_iter().flatten() {
            node.children.push(Node::new(format!("{key}: {value}")));
        }
        agent.children.push(node);
    }
    let mut text = String::new();
    fleet.write(&mut text, "", "┌─ ", "│  ");
    agent.write(&mut text, "", "└─ ", "   ");
    text
}

fn status(health: Health, message: &str) -> Node {
    Node::new(format!("status: ({}) {message}", health.as_str()))
}

struct Node {
    text: String,
    children: Vec<Node>,
}

impl Node {
    fn new(text: String) -> Self {
        Self {
            text,
            children: Vec::new(),
        }
    }

    fn write(&self, into: &mut String, indent: &str, branch: &str, below: &str) {
        let mut lines = self.text.lines();
        into.extend([indent, branch, lines.next().unwrap_or_default(), "\n"]);
        let indent = format!("{indent}{below}");
        for line in lines {
            into.extend([&indent, "     ", line, "\n"]);
        }
        for (number, child) in self.children.iter().enumerate() {
            let last = number + 1 == self.children.len();
            let (branch, below) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            child.write(into, &indent, branch, below);
        }
    }
}

#[cfg(test)]
mod tests {
    use agent::status::ComponentStatus;

    use super::*;

    #[test]
    fn the_tree_shows_only_what_is_not_well() {
        let component = |id: &str, state: Health| ComponentStatus {
            id: id.to_owned(),
            state,
            message: "why".to_owned(),
            ..ComponentStatus::default()
        };
        let report = StatusReport {
            state: Health::Degraded,
            message: "1 component is DEGRADED".to_owned(),
            fleet_state: Health::Healthy,
            fleet_message: "Connected".to_owned(),
            components: vec![
                component("a-default", Health::Healthy),
                component("b-default", Health::Degraded),
            ],
            ..StatusReport::default()
        };
        let expected = "┌─ fleet\n│  └─ status: (HEALTHY) Connected\n└─ elastic-agent\n   ├─ status: (DEGRADED) 1 component is DEGRADED\n   └─ b-default\n      └─ status: (DEGRADED) why\n";
        assert_eq!(tree(&report, false), expected);
        assert!(tree(&report, true).contains("a-default"));
    }

    #[test]
    fn yaml_has_small_letters() {
        let value = yaml(&StatusReport::default()).unwrap();
        assert!(value.get("fleet_state").is_some() && value.get("FleetState").is_none());
    }
}
