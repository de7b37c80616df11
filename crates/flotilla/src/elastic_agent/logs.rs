//! `elastic-agent logs`: the last lines of the agent's own log files, and the new ones with `--follow`.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::time::Duration;

use agent::logs::log_files;
use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use serde_json::Value;

use super::arguments::{CommonArguments, LogsArguments};
use crate::printer;

const FOLLOW_PERIOD: Duration = Duration::from_millis(500);

pub(super) fn run(common: &CommonArguments, arguments: &LogsArguments) -> Result<i32> {
    let directory = common.paths().log_files();
    let files = log_files(&directory).with_context(|| format!("there are no logs in `{directory}`"))?;
    let mut last = VecDeque::new();
    for file in &files {
        for line in BufReader::new(fs::File::open(file)?).lines().map_while(Result::ok) {
            if !is_wanted(&line, arguments) {
                continue;
            }
            last.push_back(line);
            if last.len() > arguments.number {
                last.pop_front();
            }
        }
    }
    last.iter().for_each(printer::line);
    if arguments.follow {
        follow(&directory, files.last(), arguments)?;
    }
    Ok(0)
}

fn is_wanted(line: &str, arguments: &LogsArguments) -> bool {
    let Some(component) = &arguments.component else {
        return true;
    };
    let value: Value = serde_json::from_str(line).unwrap_or_default();
    let of_line = value.get("component.id").or_else(|| value.pointer("/component/id"));
    of_line.and_then(Value::as_str) == Some(component)
}

/// Prints what is appended, file after file, until the process is ended.
fn follow(directory: &Utf8Path, newest: Option<&Utf8PathBuf>, arguments: &LogsArguments) -> Result<()> {
    let mut current = newest.cloned();
    let mut offset = match &current {
        Some(path) => fs::metadata(path)?.len(),
        None => 0,
    };
    loop {
        if let Some(path) = &current {
            offset = print_from(path, offset, arguments)?;
        }
        let newest = log_files(directory)?.last().cloned();
        if newest != current {
            (current, offset) = (newest, 0);
            continue;
        }
        std::thread::sleep(FOLLOW_PERIOD);
    }
}

/// Prints the whole lines from `offset` on; the offset behind them.
fn print_from(path: &Utf8Path, mut offset: u64, arguments: &LogsArguments) -> Result<u64> {
    let mut reader = BufReader::new(fs::File::open(path)?);
    reader.seek(SeekFrom::Start(offset))?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 && line.ends_with('\n') {
        offset += line.len() as u64;
        if is_wanted(line.trim_end(), arguments) {
            printer::text(&line);
        }
        line.clear();
    }
    Ok(offset)
}
