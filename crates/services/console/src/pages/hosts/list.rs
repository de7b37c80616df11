//! All hosts that report measurements, with a small curve of each.

use askama::Template;
use axum::extract::Query as UrlQuery;
use axum::response::Html;
use query::{Aggregation, Query};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::measures::{CHARTED, FILESYSTEMS, METRICS, Values, counters, highest, is_wire, last, mean, rate, values};
use crate::Console;
use crate::domain::agents;
use crate::domain::error::FleetError;
use crate::domain::page::{Page as Listed, PageRequest};
use crate::pages::chart::{Curve, short, spark};
use crate::pages::frame::Frame;
use crate::pages::look::{Look, Moment, Paging, url_part};
use crate::pages::problem::{Problem, show};
use crate::pages::session::SignedIn;
use crate::pages::timeline::{RANGES, Timeline, aggregate, aggregation};

/// Hosts of one page.
const ROWS: usize = 25;
/// More hosts than this are found by the search field.
const MOST: usize = 10_000;
/// From here on a filesystem or memory is nearly full, in per cent.
const NEARLY_FULL: f64 = 80.0;

#[derive(Template)]
#[template(path = "hosts.html")]
struct Page {
    frame: Frame,
    rows: Vec<Row>,
    query: String,
    orders: Vec<(&'static str, String, Option<&'static str>)>,
    paging: Paging,
    live_url: String,
}

struct Row {
    name: String,
    href: String,
    look: Option<Look>,
    system: String,
    measures: Vec<Measure>,
    seen: Moment,
}

/// A figure with its curve.
struct Measure {
    text: String,
    curve: Curve,
    is_high: bool,
    priority: &'static str,
}

/// What stands in the URL.
#[derive(Deserialize)]
pub(in crate::pages) struct Wanted {
    #[serde(default)]
    q: String,
    #[serde(default)]
    sort: String,
    #[serde(default = "first")]
    page: usize,
}

fn first() -> usize {
    1
}

impl Wanted {
    fn href(&self, sort: &str, page: usize) -> String {
        format!("/app/hosts?q={}&sort={sort}&page={page}", url_part(&self.q))
    }
}

/// A host's name and when it was last heard of, in milliseconds since 1970.
type Seen = (String, i64);

pub(in crate::pages) async fn page(
    reader: SignedIn,
    UrlQuery(wanted): UrlQuery<Wanted>,
) -> Result<Html<String>, Problem> {
    let console = &reader.console;
    let mut hosts = hosts(console).await?;
    let part = wanted.q.trim().to_lowercase();
    hosts.retain(|(name, _)| name.to_lowercase().contains(&part));
    if wanted.sort == "seen" {
        hosts.sort_by_key(|(_, seen)| std::cmp::Reverse(*seen));
    } else {
        hosts.sort();
    }
    let request = PageRequest {
        page: wanted.page.max(1),
        per_page: ROWS,
    };
    let total = hosts.len() as u64;
    let shown: Vec<Seen> = hosts.into_iter().skip(request.offset()).take(ROWS).collect();
    let listed = Listed {
        items: rows(console, &shown).await?,
        total,
        request,
    };
    let order = |name: &'static str, key: &str, direction: &'static str| {
        let is_it = wanted.sort == key;
        (name, wanted.href(key, 1), is_it.then_some(direction))
    };
    let page = Page {
        frame: Frame::new(&reader, "Hosts", "Hosts"),
        paging: Paging::of(&listed, |page| wanted.href(&wanted.sort, page)),
        rows: listed.items,
        orders: vec![order("Host", "", "ascending"), order("Last seen", "seen", "descending")],
        live_url: wanted.href(&wanted.sort, wanted.page.max(1)),
        query: wanted.q,
    };
    show(&page)
}

/// Every host of the last day.
async fn hosts(console: &Console) -> Result<Vec<Seen>, FleetError> {
    let day = Timeline::ending(console.clock.now(), RANGES[2]);
    let names = Aggregation {
        children: vec![highest("@timestamp")],
        ..aggregation("hosts", "terms", json!({"field": "host.name", "size": MOST}))
    };
    let answer = aggregate(console, METRICS, day.filter(), vec![names]).await?;
    let seen = |bucket: &Value| {
        let time = bucket["@timestamp"]["value"].as_f64().unwrap_or(0.0) as i64;
        Some((bucket["key"].as_str()?.to_owned(), time))
    };
    let buckets = answer.get("hosts").and_then(|hosts| hosts["buckets"].as_array());
    Ok(buckets.into_iter().flatten().filter_map(seen).collect())
}

async fn rows(console: &Console, hosts: &[Seen]) -> Result<Vec<Row>, FleetError> {
    let now = console.clock.now();
    let hour = Timeline::ending(now, RANGES[1]);
    let names = hosts.iter().map(|(name, _)| name.as_str());
    let query = Query::all_of(vec![hour.filter(), Query::terms("host.name", names)]);
    let measured = vec![
        mean("system.cpu.total.norm.pct"),
        mean("system.memory.actual.used.pct"),
        highest("system.filesystem.used.pct"),
        counters(
            "system.network.name",
            &["system.network.in.bytes", "system.network.out.bytes"],
        ),
    ];
    let one = |field: &str| aggregation(field, "terms", json!({"field": field, "size": 1}));
    let by_host = Aggregation {
        children: vec![
            hour.histogram(measured),
            one("agent.id"),
            one("host.os.name"),
            one("host.os.version"),
        ],
        ..aggregation("hosts", "terms", json!({"field": "host.name", "size": ROWS}))
    };
    let answer = aggregate(console, &format!("{CHARTED},{FILESYSTEMS}"), query, vec![by_host]).await?;
    let nothing = Map::new();
    let mut rows = Vec::new();
    for (name, seen) in hosts {
        let buckets = answer.get("hosts").and_then(|hosts| hosts["buckets"].as_array());
        let mut buckets = buckets.into_iter().flatten();
        let measured = buckets
            .find(|bucket| bucket["key"] == name.as_str())
            .and_then(Value::as_object);
        rows.push(row(console, name, *seen, measured.unwrap_or(&nothing), &hour).await?);
    }
    Ok(rows)
}

async fn row(
    console: &Console,
    name: &str,
    seen: i64,
    measured: &Map<String, Value>,
    hour: &Timeline,
) -> Result<Row, FleetError> {
    let most = |field: &str| {
        measured
            .get(field)
            .and_then(|found| found["buckets"][0]["key"].as_str())
    };
    let look = match most("agent.id") {
        Some(id) => status(console, id).await?,
        None => None,
    };
    let network = |direction: &str| {
        let field = format!("system.network.{direction}.bytes");
        rate(hour, measured, ("system.network.name", &field), 8e-6, is_wire)
    };
    let both = network("in")
        .iter()
        .zip(network("out"))
        .map(|(one, other)| Some((*one)? + other?))
        .collect();
    Ok(Row {
        href: format!("/app/hosts/{}", url_part(name)),
        system: [most("host.os.name"), most("host.os.version")]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(" "),
        measures: vec![
            percent(&values(hour, measured, "system.cpu.total.norm.pct", 100.0), "c1", ""),
            percent(
                &values(hour, measured, "system.memory.actual.used.pct", 100.0),
                "c1",
                "p2",
            ),
            percent(&values(hour, measured, "system.filesystem.used.pct", 100.0), "c6", "p2"),
            megabits(&both),
        ],
        seen: jiff::Timestamp::from_millisecond(seen).map_or_else(
            |_| Moment::parse(console.clock.now(), None),
            |seen| Moment::of(console.clock.now(), seen),
        ),
        name: name.to_owned(),
        look,
    })
}

/// The status of the agent that measured; none when it was removed since.
pub(super) async fn status(console: &Console, agent: &str) -> Result<Option<Look>, FleetError> {
    match agents::read(console, agent).await {
        Ok(agent) => Ok(Some(Look::of_agent(agent.status))),
        Err(FleetError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn percent(values: &Values, tone: &'static str, priority: &'static str) -> Measure {
    let now = last(values);
    let is_high = now.is_some_and(|now| now >= NEARLY_FULL);
    Measure {
        text: now.map_or_else(|| "–".to_owned(), |now| format!("{now:.0}%")),
        curve: spark(if is_high { "warn" } else { tone }, values, 100.0),
        is_high,
        priority,
    }
}

fn megabits(values: &Values) -> Measure {
    Measure {
        text: last(values).map_or_else(|| "–".to_owned(), |now| format!("{} Mb/s", short(now))),
        curve: spark("c4", values, 0.1),
        is_high: false,
        priority: "p3",
    }
}
