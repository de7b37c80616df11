//! What agents measure on a host, as values over time.

use query::{Aggregation, Query};
use serde_json::{Map, Value, json};

use crate::Console;
use crate::domain::error::FleetError;
use crate::pages::timeline::{Timeline, aggregate, aggregation};

/// What a host is known by: datasets with one document for each measurement. Those with one for each process or disk would
/// make every question slower.
pub(super) const METRICS: &str =
    "metrics-system.cpu-*,metrics-system.load-*,metrics-system.memory-*,metrics-system.uptime-*";
/// All that the charts show.
pub(super) const CHARTED: &str = "metrics-system.cpu-*,metrics-system.load-*,metrics-system.memory-*,\
     metrics-system.network-*,metrics-system.diskio-*";
/// Filesystems.
pub(super) const FILESYSTEMS: &str = "metrics-system.filesystem-*";
/// Devices of a host that are told apart.
const DEVICES: usize = 64;

/// Values in the buckets of a timeline.
pub(super) type Values = Vec<Option<f64>>;

/// The mean of a field in each bucket, by its name.
pub(super) fn mean(field: &str) -> Aggregation {
    aggregation(field, "avg", json!({"field": field}))
}

/// The highest value of a field in each bucket, by its name.
pub(super) fn highest(field: &str) -> Aggregation {
    aggregation(field, "max", json!({"field": field}))
}

/// Counters of each device: an aggregation named as its first field.
pub(super) fn counters(device: &str, fields: &[&str]) -> Aggregation {
    Aggregation {
        children: fields.iter().map(|field| highest(field)).collect(),
        ..aggregation(device, "terms", json!({"field": device, "size": DEVICES}))
    }
}

/// Everything asked for in each bucket, of one host.
pub(super) async fn of_host(
    console: &Console,
    index: &str,
    host: &str,
    timeline: &Timeline,
    children: Vec<Aggregation>,
) -> Result<Map<String, Value>, FleetError> {
    let query = Query::all_of(vec![Query::term("host.name", host), timeline.filter()]);
    aggregate(console, index, query, vec![timeline.histogram(children)]).await
}

/// A measured field of an answer, multiplied.
pub(super) fn values(timeline: &Timeline, answer: &Map<String, Value>, field: &str, factor: f64) -> Values {
    timeline.values(answer, |bucket| {
        bucket[field]["value"].as_f64().map(|value| value * factor)
    })
}

/// A growing counter per second, all devices together that `counts` accepts, multiplied.
///
/// A bucket without its predecessor, and one in which a counter began anew, is a gap.
pub(super) fn rate(
    timeline: &Timeline,
    answer: &Map<String, Value>,
    (device, field): (&str, &str),
    factor: f64,
    counts: impl Fn(&str, &[String]) -> bool,
) -> Values {
    let counters: Vec<Option<Vec<(String, f64)>>> = timeline.values(answer, |bucket| {
        let devices = bucket[device]["buckets"].as_array()?;
        let reading = |device: &Value| Some((device["key"].as_str()?.to_owned(), device[field]["value"].as_f64()?));
        Some(devices.iter().filter_map(reading).collect::<Vec<_>>()).filter(|devices| !devices.is_empty())
    });
    let mut rates = vec![None; counters.len()];
    for (index, pair) in counters.windows(2).enumerate() {
        if let [Some(before), Some(now)] = pair {
            let growth = growth(before, now, &counts);
            rates[index + 1] = growth.map(|growth| growth / timeline.seconds_per_bucket() * factor);
        }
    }
    rates
}

fn growth(before: &[(String, f64)], now: &[(String, f64)], counts: &impl Fn(&str, &[String]) -> bool) -> Option<f64> {
    let names: Vec<String> = now.iter().map(|(name, _)| name.clone()).collect();
    let mut growth = None;
    for (name, value) in now.iter().filter(|(name, _)| counts(name, &names)) {
        let earlier = before.iter().find(|(other, _)| other == name);
        if let Some((_, earlier)) = earlier.filter(|(_, earlier)| earlier <= value) {
            growth = Some(growth.unwrap_or(0.0) + value - earlier);
        }
    }
    growth
}

/// Every interface but the loop back to the host itself.
pub(super) fn is_wire(name: &str, _: &[String]) -> bool {
    name != "lo" && name != "lo0"
}

/// Whole disks: a partition's bytes are its disk's, too, and loop devices read from files that lie on disks.
pub(super) fn is_disk(name: &str, all: &[String]) -> bool {
    let is_virtual = ["loop", "ram", "dm-", "zram"].iter().any(|kind| name.starts_with(kind));
    let is_part = all
        .iter()
        .any(|other| other != name && name.starts_with(other.as_str()));
    !is_virtual && !is_part
}

/// The last value that is there.
pub(super) fn last(values: &[Option<f64>]) -> Option<f64> {
    values.iter().rev().flatten().next().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::timeline::RANGES;

    #[test]
    fn a_counter_that_begins_anew_is_no_rate() {
        let timeline = Timeline::ending("2026-03-01T12:00:30Z".parse().unwrap(), RANGES[1]);
        let start = timeline.from().as_millisecond();
        let bucket = |index: i64, eth0: u64| {
            json!({"key": start + index * 60_000, "d": {"buckets": [
                {"key": "eth0", "f": {"value": eth0}}, {"key": "lo", "f": {"value": 9_999_999 * index}}]}})
        };
        let buckets = [bucket(0, 600), bucket(1, 1_200), bucket(2, 60), bucket(4, 120)];
        let answer = json!({"time": {"buckets": buckets}});
        let rates = rate(&timeline, answer.as_object().unwrap(), ("d", "f"), 8.0, is_wire);
        assert_eq!(rates[..5], [None, Some(80.0), None, None, None]);
    }

    #[test]
    fn partitions_count_once() {
        let all = ["vda", "vda1", "nvme0n1", "nvme0n1p1", "loop0"].map(str::to_owned);
        let disks: Vec<&String> = all.iter().filter(|name| is_disk(name, &all)).collect();
        assert_eq!(disks, ["vda", "nvme0n1"]);
    }
}
