//! One host: how it is, over time, and what runs and happens there.

use askama::Template;
use axum::extract::{Path, Query as UrlQuery};
use axum::response::Html;
use query::{Query, SearchRequest, SortOrder};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::list::status;
use super::measures::{
    CHARTED, FILESYSTEMS, METRICS, Values, counters, highest, is_disk, is_wire, last, mean, of_host, rate, values,
};
use crate::Console;
use crate::domain::error::FleetError;
use crate::pages::chart::{self, Chart, Curve, Series, short};
use crate::pages::explore::documents::field;
use crate::pages::explore::state::State;
use crate::pages::frame::Frame;
use crate::pages::log_line::LogLine;
use crate::pages::look::{Look, Segment, bytes, url_part};
use crate::pages::problem::{Problem, show};
use crate::pages::session::SignedIn;
use crate::pages::timeline::{RANGES, Range, Span, Timeline};

/// Processes that are shown.
const PROCESSES: usize = 10;
/// Newest measurements of processes that are looked through for them.
const READINGS: usize = 200;
/// Lines of the log that are shown.
const LINES: usize = 12;
const GIGA: f64 = 1e9;

#[derive(Template)]
#[template(path = "host.html")]
struct Page {
    frame: Frame,
    name: String,
    facts: String,
    look: Option<Look>,
    agent: Option<String>,
    ranges: Vec<(&'static str, String, bool)>,
    figures: Vec<Figure>,
    charts: Vec<(&'static str, Chart)>,
    filesystems: Vec<Filesystem>,
    processes: Vec<Process>,
    log: Vec<LogLine>,
    explore: String,
    live_url: String,
}

/// A key figure with a meter.
struct Figure {
    name: &'static str,
    value: String,
    unit: &'static str,
    meter: Vec<Segment>,
    note: String,
    is_high: bool,
}

struct Filesystem {
    mount: String,
    note: String,
    percent: String,
    meter: Vec<Segment>,
    curve: Curve,
    is_high: bool,
}

struct Process {
    name: String,
    command: String,
    user: String,
    pid: String,
    cpu: f64,
    meter: Vec<Segment>,
    memory: String,
}

impl Process {
    fn percent(&self) -> String {
        format!("{:.1}%", self.cpu)
    }
}

#[derive(Deserialize)]
pub(in crate::pages) struct Wanted {
    #[serde(default)]
    range: String,
}

pub(in crate::pages) async fn page(
    reader: SignedIn,
    Path(name): Path<String>,
    UrlQuery(wanted): UrlQuery<Wanted>,
) -> Result<Html<String>, Problem> {
    let console = &reader.console;
    let newest = newest(console, &name, None).await?;
    let Some(newest) = newest else {
        return Err(FleetError::NotFound(format!("No measurement of a host {name} is here.")).into());
    };
    let range = RANGES
        .into_iter()
        .find(|range| range.key == wanted.range)
        .unwrap_or(RANGES[1]);
    let timeline = Timeline::ending(console.clock.now(), range);
    let measured = Measured::of(console, &name, &timeline).await?;
    let agent = field(&newest, "agent.id");
    let look = match &agent {
        Some(id) => status(console, id).await?,
        None => None,
    };
    let explore = State::of_host(&name);
    let buckets = timeline.buckets(|from, to| {
        let mut state = explore.clone();
        state.span = Span::Between(from, to);
        Some(state.href())
    });
    let href = |range: Range| format!("/app/hosts/{}?range={}", url_part(&name), range.key);
    let page = Page {
        frame: Frame::new(&reader, "Hosts", format!("Host {name}")),
        facts: facts(console, &name, &newest, &measured).await?,
        figures: measured.figures(),
        charts: measured.charts(&buckets),
        filesystems: filesystems(console, &name, &timeline).await?,
        processes: processes(console, &name).await?,
        log: log(console, &name).await?,
        ranges: RANGES
            .iter()
            .map(|one| (one.name(), href(*one), *one == range))
            .collect(),
        agent: agent.filter(|_| look.is_some()),
        look,
        explore: explore.href(),
        live_url: href(range),
        name,
    };
    show(&page)
}

/// The newest measurement of a host, of one dataset if given.
async fn newest(console: &Console, host: &str, dataset: Option<&str>) -> Result<Option<Value>, FleetError> {
    let index = dataset.map_or_else(|| METRICS.to_owned(), |dataset| format!("metrics-{dataset}-*"));
    let request = SearchRequest {
        indices: index.split(',').map(str::to_owned).collect(),
        ignore_unavailable: true,
        track_total_hits: 0,
        ..SearchRequest::default()
    };
    let request = request.query(Query::term("host.name", host)).size(1);
    let found = console
        .store
        .search(request.sort_by("@timestamp", SortOrder::Descending))
        .await?;
    Ok(found.hits.first().map(|hit| hit.document.source.to_value()))
}

/// All values that the charts and figures show.
struct Measured {
    cores: Option<f64>,
    memory_total: Option<f64>,
    swap: Option<f64>,
    user: Values,
    system: Values,
    iowait: Values,
    total: Values,
    used: Values,
    cached: Values,
    load: [Values; 3],
    received: Values,
    sent: Values,
    read: Values,
    written: Values,
}

impl Measured {
    async fn of(console: &Console, host: &str, timeline: &Timeline) -> Result<Self, FleetError> {
        let cpu = |part: &str| format!("system.cpu.{part}.norm.pct");
        let load = |minutes: &str| format!("system.load.{minutes}");
        let mut fields: Vec<_> = ["user", "system", "iowait", "total"]
            .map(|part| mean(&cpu(part)))
            .into();
        fields.extend(["1", "5", "15"].map(|minutes| mean(&load(minutes))));
        fields.extend(["system.memory.actual.used.bytes", "system.memory.cached"].map(mean));
        fields.extend(
            [
                "system.memory.total",
                "system.memory.swap.used.bytes",
                "system.cpu.cores",
            ]
            .map(highest),
        );
        fields.push(counters(
            "system.network.name",
            &["system.network.in.bytes", "system.network.out.bytes"],
        ));
        fields.push(counters(
            "system.diskio.name",
            &["system.diskio.read.bytes", "system.diskio.write.bytes"],
        ));
        let answer = of_host(console, CHARTED, host, timeline, fields).await?;
        let of = |field: &str, factor: f64| values(timeline, &answer, field, factor);
        let network = |field: &str| rate(timeline, &answer, ("system.network.name", field), 8e-6, is_wire);
        let disk = |field: &str| rate(timeline, &answer, ("system.diskio.name", field), 1e-6, is_disk);
        Ok(Self {
            cores: last(&of("system.cpu.cores", 1.0)),
            memory_total: last(&of("system.memory.total", 1.0 / GIGA)),
            swap: last(&of("system.memory.swap.used.bytes", 1.0 / GIGA)),
            user: of(&cpu("user"), 100.0),
            system: of(&cpu("system"), 100.0),
            iowait: of(&cpu("iowait"), 100.0),
            total: of(&cpu("total"), 100.0),
            used: of("system.memory.actual.used.bytes", 1.0 / GIGA),
            cached: of("system.memory.cached", 1.0 / GIGA),
            load: ["1", "5", "15"].map(|minutes| of(&load(minutes), 1.0)),
            received: network("system.network.in.bytes"),
            sent: network("system.network.out.bytes"),
            read: disk("system.diskio.read.bytes"),
            written: disk("system.diskio.write.bytes"),
        })
    }

    fn charts(&self, buckets: &[chart::Bucket]) -> Vec<(&'static str, Chart)> {
        let lines = |title: &'static str, unit, series: &[(&'static str, &'static str, &Values)]| {
            let series: Vec<Series> = series
                .iter()
                .map(|(name, tone, values)| Series {
                    name,
                    tone,
                    values: (*values).clone(),
                })
                .collect();
            (title, chart::lines(title, unit, buckets, &series))
        };
        let [one, five, fifteen] = &self.load;
        vec![
            lines(
                "CPU",
                "%",
                &[
                    ("user", "c1", &self.user),
                    ("system", "c2", &self.system),
                    ("iowait", "c3", &self.iowait),
                ],
            ),
            lines(
                "Memory",
                "GB",
                &[("used", "c1", &self.used), ("cache", "c6", &self.cached)],
            ),
            lines(
                "Load",
                "processes",
                &[("1 min", "c1", one), ("5 min", "c2", five), ("15 min", "c4", fifteen)],
            ),
            lines(
                "Network",
                "Mb/s",
                &[("in", "c1", &self.received), ("out", "c4", &self.sent)],
            ),
            lines(
                "Disk",
                "MB/s",
                &[("read", "c2", &self.read), ("write", "c3", &self.written)],
            ),
        ]
    }

    fn figures(&self) -> Vec<Figure> {
        let text = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), short);
        let cpu = last(&self.total);
        let used = last(&self.used);
        let share = used
            .zip(self.memory_total)
            .map(|(used, total)| used * 100.0 / total.max(0.001));
        let load = self
            .load
            .iter()
            .map(|values| text(last(values)))
            .collect::<Vec<_>>()
            .join(", ");
        let network = last(&self.received).zip(last(&self.sent));
        let disk = last(&self.read).zip(last(&self.written));
        vec![
            Figure::of(
                "CPU",
                cpu.map(|cpu| format!("{cpu:.0}")),
                "%",
                cpu,
                format!("load {load}"),
            ),
            Figure::of(
                "Memory",
                used.map(short),
                "GB",
                share,
                format!("of {} GB, swap {}", text(self.memory_total), text(self.swap)),
            ),
            Figure::of(
                "Disk",
                disk.map(|(read, written)| short(read + written)),
                "MB/s",
                None,
                disk.map_or_else(String::new, |(read, written)| {
                    format!("read {}, write {}", short(read), short(written))
                }),
            ),
            Figure::of(
                "Network",
                network.map(|(received, sent)| short(received + sent)),
                "Mb/s",
                None,
                network.map_or_else(String::new, |(received, sent)| {
                    format!("in {}, out {}", short(received), short(sent))
                }),
            ),
        ]
    }
}

impl Figure {
    fn of(name: &'static str, value: Option<String>, unit: &'static str, share: Option<f64>, note: String) -> Self {
        Self {
            name,
            value: value.unwrap_or_else(|| "–".to_owned()),
            unit,
            meter: share.map(meter).unwrap_or_default(),
            note,
            is_high: share.is_some_and(is_high),
        }
    }
}

/// Amber from here on.
fn is_high(percent: f64) -> bool {
    percent >= 80.0
}

fn meter(percent: f64) -> Vec<Segment> {
    vec![Segment {
        tone: if is_high(percent) { "warn" } else { "c6" },
        start: 0.0,
        width: (percent.clamp(0.0, 100.0) * 100.0).round() / 100.0,
    }]
}

async fn facts(
    console: &Console,
    host: &str,
    newest_of_all: &Value,
    measured: &Measured,
) -> Result<String, FleetError> {
    let of = |name: &str| field(newest_of_all, name);
    let uptime = newest(console, host, Some("system.uptime")).await?;
    let up = uptime.and_then(|uptime| uptime.pointer("/system/uptime/duration/ms")?.as_f64());
    let facts = [
        of("host.os.name").map(|name| format!("{name} {}", of("host.os.version").unwrap_or_default())),
        measured.cores.map(|cores| format!("{cores:.0} cores")),
        measured.memory_total.map(|total| format!("{} GB", short(total))),
        of("host.os.kernel").map(|kernel| format!("kernel {kernel}")),
        up.map(|up| match up / 3_600_000.0 {
            hours if hours < 48.0 => format!("up {hours:.0} h"),
            hours => format!("up {:.0} days", hours / 24.0),
        }),
    ];
    Ok(facts.into_iter().flatten().collect::<Vec<_>>().join(" · "))
}

async fn filesystems(console: &Console, host: &str, timeline: &Timeline) -> Result<Vec<Filesystem>, FleetError> {
    let by_mount = counters(
        "system.filesystem.mount_point",
        &[
            "system.filesystem.used.pct",
            "system.filesystem.used.bytes",
            "system.filesystem.total",
        ],
    );
    let answer = of_host(console, FILESYSTEMS, host, timeline, vec![by_mount]).await?;
    let mounts: Vec<Option<Map<String, Value>>> = timeline.values(&answer, |bucket| {
        let mounts = bucket["system.filesystem.mount_point"]["buckets"].as_array()?;
        let named = |mount: &Value| Some((mount["key"].as_str()?.to_owned(), mount.clone()));
        Some(mounts.iter().filter_map(named).collect::<Map<_, _>>()).filter(|mounts| !mounts.is_empty())
    });
    let Some(newest) = mounts.iter().rev().flatten().next() else {
        return Ok(Vec::new());
    };
    let filesystem = |(mount, now): (&String, &Value)| {
        let value = |field: &str| now[field]["value"].as_f64().unwrap_or(0.0);
        let percent = value("system.filesystem.used.pct") * 100.0;
        let over_time: Values = mounts
            .iter()
            .map(|mounts| mounts.as_ref()?.get(mount)?["system.filesystem.used.pct"]["value"].as_f64())
            .map(|share| share.map(|share| share * 100.0))
            .collect();
        let (used, total) = (value("system.filesystem.used.bytes"), value("system.filesystem.total"));
        Filesystem {
            mount: mount.clone(),
            note: format!("{} of {}", bytes(used as u64), bytes(total as u64)),
            percent: format!("{percent:.0}%"),
            meter: meter(percent),
            curve: chart::spark(if is_high(percent) { "warn" } else { "c6" }, &over_time, 100.0),
            is_high: is_high(percent),
        }
    };
    Ok(newest.iter().map(filesystem).collect())
}

/// The busiest of the newest measurement of each process.
async fn processes(console: &Console, host: &str) -> Result<Vec<Process>, FleetError> {
    let request = SearchRequest::new("metrics-system.process-*")
        .query(Query::term("host.name", host))
        .size(READINGS)
        .sort_by("@timestamp", SortOrder::Descending);
    let found = console.store.search(request).await?;
    let mut processes: Vec<Process> = Vec::new();
    let mut newest = None;
    for hit in &found.hits {
        let source = hit.document.source.to_value();
        // All processes of one measurement have nearly the same time; older ones may have ended.
        let time = source["@timestamp"]
            .as_str()
            .and_then(|time| time.parse::<jiff::Timestamp>().ok());
        let Some(time) = time else { continue };
        let newest = *newest.get_or_insert(time);
        let pid = field(&source, "process.pid").unwrap_or_default();
        if newest.duration_since(time).as_secs() > 5 || processes.iter().any(|process| process.pid == pid) {
            continue;
        }
        let number = |pointer: &str| source.pointer(pointer).and_then(Value::as_f64).unwrap_or(0.0);
        let cpu = number("/system/process/cpu/total/norm/pct") * 100.0;
        processes.push(Process {
            name: field(&source, "process.name").unwrap_or_default(),
            command: field(&source, "process.command_line").unwrap_or_default(),
            user: field(&source, "user.name").unwrap_or_else(|| "–".to_owned()),
            pid,
            meter: meter(cpu),
            cpu,
            memory: bytes(number("/system/process/memory/rss/bytes") as u64),
        });
    }
    processes.sort_by(|one, other| other.cpu.total_cmp(&one.cpu));
    processes.truncate(PROCESSES);
    Ok(processes)
}

async fn log(console: &Console, host: &str) -> Result<Vec<LogLine>, FleetError> {
    let request = SearchRequest::new("logs-*")
        .query(Query::term("host.name", host))
        .size(LINES);
    let found = console
        .store
        .search(request.sort_by("@timestamp", SortOrder::Descending))
        .await?;
    let line = |hit: &store::Hit| LogLine::of(&hit.document.source.to_value());
    Ok(found.hits.iter().map(line).collect())
}
