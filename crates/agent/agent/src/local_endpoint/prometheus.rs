//! Counters as Prometheus text.

use std::fmt::Write;

use serde_json::{Map, Value};

/// The text of `/metrics` from the facts of `/stats`.
pub(super) fn text(facts: &Value) -> String {
    let mut text = String::new();
    let process = |pointer: &str| facts.pointer(pointer).and_then(Value::as_f64);
    let figures = [
        (
            "process_resident_memory_bytes",
            "gauge",
            process("/system/process/memory/size"),
        ),
        ("process_open_fds", "gauge", process("/system/process/fd/open")),
        (
            "process_cpu_seconds_total",
            "counter",
            process("/system/process/cpu/total/value").map(|milliseconds| milliseconds / 1000.0),
        ),
    ];
    for (name, kind, value) in figures {
        if let Some(value) = value {
            let _infallible = write!(text, "# TYPE {name} {kind}\n{name} {value}\n");
        }
    }
    outputs(facts, &mut text);
    inputs(facts, &mut text);
    text
}

fn outputs(facts: &Value, text: &mut String) {
    let outputs = facts.get("outputs").and_then(Value::as_object);
    let mut samples = Vec::new();
    for (output, facts) in outputs.into_iter().flatten() {
        let labels = format!("output=\"{}\"", escaped(output));
        samples.extend(numbers(&facts["counters"]).map(|(name, value)| {
            (
                format!("flotilla_agent_output_{name}_total"),
                "counter",
                labels.clone(),
                value,
            )
        }));
        let queue = [
            ("memory_events", "/queue/memory/events"),
            ("disk_events", "/queue/disk/events"),
            ("disk_bytes", "/queue/disk/bytes"),
        ];
        samples.extend(queue.into_iter().filter_map(|(name, pointer)| {
            let value = facts.pointer(pointer)?.as_f64()?;
            Some((
                format!("flotilla_agent_output_queue_{name}"),
                "gauge",
                labels.clone(),
                value,
            ))
        }));
    }
    write_samples(samples, text);
}

/// Of each stream that counts, under the stock agent's names.
fn inputs(facts: &Value, text: &mut String) {
    let inputs = facts.get("inputs").and_then(Value::as_object);
    let mut samples = Vec::new();
    for (input, streams) in inputs.into_iter().flatten() {
        for (stream, facts) in streams.as_object().into_iter().flatten() {
            let labels = format!("input=\"{}\",stream=\"{}\"", escaped(input), escaped(stream));
            samples.extend(numbers(facts).map(|(name, value)| {
                let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
                (format!("flotilla_agent_input_{name}"), kind, labels.clone(), value)
            }));
        }
    }
    write_samples(samples, text);
}

fn numbers(facts: &Value) -> impl Iterator<Item = (&String, f64)> {
    let entries = facts.as_object().into_iter().flat_map(Map::iter);
    entries.filter_map(|(name, value)| Some((name, value.as_f64()?)))
}

/// Samples of one name stand together, below its type. Source: the text format's rules.
fn write_samples(mut samples: Vec<(String, &str, String, f64)>, text: &mut String) {
    samples.sort_by(|a, b| (&a.0, &a.2).cmp(&(&b.0, &b.2)));
    let mut last = String::new();
    for (name, kind, labels, value) in samples {
        if name != last {
            let _infallible = writeln!(text, "# TYPE {name} {kind}");
            last.clone_from(&name);
        }
        let _infallible = writeln!(text, "{name}{{{labels}}} {value}");
    }
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn samples_of_one_name_stand_together() {
        let facts = json!({
            "system": {"process": {"memory": {"size": 1000}, "fd": {"open": 7}, "cpu": {"total": {"value": 2500}}}},
            "outputs": {
                "default": {"counters": {"acknowledged": 5, "dropped": 0}, "queue": {"memory": {"events": 1}, "disk": {"events": 2, "bytes": 3}}},
                "odd\"name": {"counters": {"acknowledged": 6}},
            },
            "inputs": {"filestream-default": {"s": {"messages_read_total": 9, "files_active": 1, "message": "text"}}},
        });
        insta::assert_snapshot!(text(&facts), @r#"
        # TYPE process_resident_memory_bytes gauge
        process_resident_memory_bytes 1000
        # TYPE process_open_fds gauge
        process_open_fds 7
        # TYPE process_cpu_seconds_total counter
        process_cpu_seconds_total 2.5
        # TYPE flotilla_agent_output_acknowledged_total counter
        flotilla_agent_output_acknowledged_total{output="default"} 5
        flotilla_agent_output_acknowledged_total{output="odd\"name"} 6
        # TYPE flotilla_agent_output_dropped_total counter
        flotilla_agent_output_dropped_total{output="default"} 0
        # TYPE flotilla_agent_output_queue_disk_bytes gauge
        flotilla_agent_output_queue_disk_bytes{output="default"} 3
        # TYPE flotilla_agent_output_queue_disk_events gauge
        flotilla_agent_output_queue_disk_events{output="default"} 2
        # TYPE flotilla_agent_output_queue_memory_events gauge
        flotilla_agent_output_queue_memory_events{output="default"} 1
        # TYPE flotilla_agent_input_files_active gauge
        flotilla_agent_input_files_active{input="filestream-default",stream="s"} 1
        # TYPE flotilla_agent_input_messages_read_total counter
        flotilla_agent_input_messages_read_total{input="filestream-default",stream="s"} 9
        "#);
    }
}
