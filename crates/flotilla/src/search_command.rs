//! `flotilla search`: finds documents and prints them as lines or JSON, once or as they arrive.
//!
//! It asks over HTTPS like any client: by default the flotilla of the data folder, as `elastic`.

mod arguments;
mod connection;
mod line;
mod pages;

pub(crate) use arguments::SearchArguments;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use query::{Query, RangeBound, kql};
use remote::RemoteStore;
use serde_json::Value;
use store::Hit;

use self::pages::Pages;
use crate::printer::Hint;

/// Between two looks at what has arrived.
const EACH: Duration = Duration::from_secs(1);
/// How far a look goes back behind what was seen: a document is found up to a second after it was stamped, and the stamps
/// of several writers are not in order.
const OVERLAP_MS: i64 = 10_000;

/// Runs until everything is printed, or with `--follow` until Ctrl-C.
pub(crate) fn run(arguments: &SearchArguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let found = runtime.block_on(async {
        tokio::select! {
            found = search(arguments) => found,
            interrupted = tokio::signal::ctrl_c() => interrupted.context("cannot listen for Ctrl-C"),
        }
    });
    runtime.shutdown_background();
    match found {
        // `| head` has seen enough.
        Err(error) if line::is_closed_pipe(&error) => Ok(()),
        other => other,
    }
}

async fn search(arguments: &SearchArguments) -> Result<()> {
    let wanted = wanted(arguments)?;
    let store = connection::open(arguments).await?;
    let newest = Pages::new(&store, &arguments.index, wanted.clone())
        .newest(arguments.limit as usize)
        .await?;
    print(&newest, arguments.json)?;
    if arguments.follow {
        follow(&store, arguments, &newest).await?;
    }
    Ok(())
}

fn wanted(arguments: &SearchArguments) -> Result<Query> {
    let query = kql::parse(&arguments.query).map_err(|error| {
        Hint::error(
            error.to_string(),
            "write KQL, such as 'log.level:error and host.name:web*'",
        )
    })?;
    let bound = |time: &Option<String>, flag: &str| -> Result<Option<RangeBound>> {
        Ok(time
            .as_deref()
            .map(|text| moment(text, flag))
            .transpose()?
            .map(RangeBound::inclusive))
    };
    let (from, to) = (bound(&arguments.since, "--since")?, bound(&arguments.until, "--until")?);
    if from.is_none() && to.is_none() {
        return Ok(query);
    }
    let field = pages::TIMESTAMP.to_owned();
    Ok(Query::all_of(vec![query, Query::Range { field, from, to }]))
}

/// `15m` is that long ago by the store's own clock; anything else is a time.
fn moment(text: &str, flag: &str) -> Result<String> {
    let is_age = text
        .strip_suffix(['s', 'm', 'h', 'd', 'w'])
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
    let moment = if is_age { format!("now-{text}") } else { text.to_owned() };
    query::date_math::resolve(&moment, jiff::Timestamp::now(), false).map_err(|error| {
        Hint::error(
            format!("`{flag}`: {error}"),
            "write `15m`, `1h`, `7d` or 2026-11-25T08:00:00Z",
        )
    })?;
    Ok(moment)
}

/// Prints what arrives. Each document once: looks overlap, and what the one before has shown is left out.
async fn follow(store: &RemoteStore, arguments: &SearchArguments, shown: &[Hit]) -> Result<()> {
    let started = Instant::now();
    let mut seen: HashSet<pages::Key> = shown.iter().map(pages::key).collect();
    let mut ingested = shown.iter().filter_map(ingested_at).max();
    let mut each = tokio::time::interval(EACH);
    loop {
        each.tick().await;
        let query = Query::all_of(vec![wanted(arguments)?, arrived_since(ingested, started.elapsed())]);
        let found = Pages::new(store, &arguments.index, query).oldest_first().await?;
        let new: Vec<Hit> = found
            .iter()
            .filter(|hit| !pages::contains(&seen, hit))
            .cloned()
            .collect();
        print(&new, arguments.json)?;
        ingested = new.iter().filter_map(ingested_at).chain(ingested).max();
        seen = found.iter().map(pages::key).collect();
    }
}

/// What was taken in since the newest document that is known, or since the start. Documents without the stamp go by their
/// own time.
fn arrived_since(ingested: Option<i64>, elapsed: Duration) -> Query {
    let known = ingested.and_then(|time| jiff::Timestamp::from_millisecond(time - OVERLAP_MS).ok());
    let since = known.map_or_else(|| format!("now-{}s", elapsed.as_secs() + 2), clock::rfc3339_millis);
    Query::any_of(vec![
        Query::at_least(INGESTED, since.as_str()),
        Query::all_of(vec![
            Query::none_of(vec![Query::exists(INGESTED)]),
            Query::at_least(pages::TIMESTAMP, since),
        ]),
    ])
}

const INGESTED: &str = "event.ingested";

fn ingested_at(hit: &Hit) -> Option<i64> {
    let source = hit.document.source.to_value();
    let text = line::field(&source, INGESTED)
        .or_else(|| line::field(&source, pages::TIMESTAMP))
        .and_then(Value::as_str)?;
    text.parse::<jiff::Timestamp>()
        .ok()
        .map(jiff::Timestamp::as_millisecond)
}

fn print(hits: &[Hit], json: bool) -> Result<()> {
    let texts = hits
        .iter()
        .map(|hit| if json { line::json(hit) } else { line::text(hit) });
    line::write(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_ages_or_times() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(moment(text, "--since").ok().as_deref(), expected, "{text}");
        };
        check("15m", Some("now-15m"));
        check("7d", Some("now-7d"));
        check("2026-11-25T08:00:00Z", Some("2026-11-25T08:00:00Z"));
        check("now-1h/h", Some("now-1h/h"));
        check("soon", None);
        check("m", None);
    }
}
