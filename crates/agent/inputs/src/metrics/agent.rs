//! `elastic_agent/metrics`: what this agent's own process uses. The shape is that of `metrics-elastic_agent.*`.

use std::time::Instant;

use event::fields::Fields;
use serde_json::json;

use super::process::OwnProcess;
use super::{Metricset, Proc};

#[derive(Debug)]
pub(super) struct AgentProcess {
    proc: Proc,
    started: Instant,
}

impl AgentProcess {
    /// Always this process, wherever the host's root is mounted.
    pub(super) fn new() -> Self {
        Self {
            proc: Proc::below("/"),
            started: Instant::now(),
        }
    }
}

impl Metricset for AgentProcess {
    fn name(&self) -> &'static str {
        "process"
    }

    fn fetch(&mut self) -> Result<Vec<Fields>, String> {
        let OwnProcess {
            user_ms,
            system_ms,
            resident,
            descriptors,
        } = OwnProcess::read(&self.proc)?;
        let total = user_ms + system_ms;
        let times = |ms: u64| json!({"ticks": ms / 10, "time": {"ms": ms}});
        let mut process = json!({
            "cpu": {"user": times(user_ms), "system": times(system_ms), "total": times(total)},
            "memory": {"size": resident},
        });
        process["cpu"]["total"]["value"] = json!(total);
        if let Some(descriptors) = descriptors {
            process["fd"] = descriptors;
        }
        let uptime = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let event = json!({
            "elastic_agent": {"process": "elastic-agent"},
            "component": {"id": "elastic-agent", "binary": "elastic-agent"},
            "system": {"process": process},
            "beat": {"type": "elastic-agent", "stats": {"uptime": {"ms": uptime}, "memstats": {"rss": resident}}},
        });
        Ok(event.as_object().cloned().into_iter().collect())
    }
}
