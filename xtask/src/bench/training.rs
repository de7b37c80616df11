//! A little of everything that is measured, so that a compiler learns which functions run: no figure of it counts.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::commands::{self, CommandsBench};
use super::fleet_server::{self, FleetServerBench};
use super::process::Up;
use super::shipper;

/// Each is asked for as often.
const TIMES: usize = 15;
const LINES: u64 = 300_000;

const PAGES: [&str; 14] = [
    "/",
    "/app/fleet/agents",
    "/app/fleet/agents?kuery=local_metadata.host.hostname:*1*",
    "/app/fleet/agents/activity",
    "/app/fleet/agents/add",
    "/app/fleet/policies",
    "/app/fleet/data-streams",
    "/app/fleet/settings",
    "/app/hosts",
    "/app/trust/map",
    "/app/explore",
    "/app/explore?query=message:ssh2",
    "/api/fleet/agents?perPage=50&withMetrics=true&getStatusSummary=true&kuery=status:online",
    "/api/fleet/agent_policies?full=true",
];

const SEARCHES: [&str; 5] = [
    r#"{"query":{"match_all":{}},"sort":[{"@timestamp":"desc"}],"size":100}"#,
    r#"{"query":{"term":{"data_stream.dataset":"bench"}},"sort":[{"@timestamp":"desc"}],"size":100}"#,
    r#"{"query":{"query_string":{"query":"message:accepted AND message:publickey"}},"size":20}"#,
    r#"{"size":0,"aggs":{"hosts":{"terms":{"field":"host.name"}},"time":{"date_histogram":{"field":"@timestamp","fixed_interval":"1m"}}}}"#,
    r#"{"size":0,"query":{"range":{"@timestamp":{"gte":"now-1h"}}},"aggs":{"cpu":{"avg":{"field":"system.cpu.total.norm.pct"}}}}"#,
];

/// Where a program that counts writes, by what it did: patterns of file names as the compiler has them (`%p` is a process).
pub(crate) struct Counts {
    /// An agent that has nothing to do.
    pub(crate) resting: PathBuf,
    /// One that ships lines and metrics.
    pub(crate) shipping: PathBuf,
}

/// Lets the program enrol agents, roll a policy out, ship, search, and show its pages.
pub(crate) fn train(binary: &Path, counts: &Counts) -> Result<()> {
    fleet_server::run_and_look(&FleetServerBench::small(binary), look_at_pages)?;
    commands::run(&CommandsBench::short(binary, &counts.resting))?;
    shipper::ship_to_up(binary, LINES, &counts.shipping, search)
}

fn look_at_pages(up: &Up) -> Result<()> {
    let cookies = std::env::temp_dir().join(format!("flotilla-training-{}", std::process::id()));
    let looked = Browser::log_in(up, cookies).and_then(|browser| browser.look());
    looked.context("the pages cannot be looked at")
}

fn search(up: &Up) -> Result<()> {
    let url = format!("{}/logs-*,metrics-*/_search", up.text("/urls/elasticsearch")?);
    let password = format!("elastic:{}", up.text("/password")?);
    for body in SEARCHES.iter().cycle().take(TIMES * SEARCHES.len()) {
        curl(&[
            "-u",
            &password,
            "-H",
            "Content-Type: application/json",
            "-d",
            body,
            &url,
        ])?;
    }
    look_at_pages(up)
}

/// Somebody who has logged in.
struct Browser {
    console: String,
    password: String,
    cookies: PathBuf,
}

impl Browser {
    fn log_in(up: &Up, cookies: PathBuf) -> Result<Self> {
        let browser = Self {
            console: up.text("/urls/console")?.to_owned(),
            password: up.text("/password")?.to_owned(),
            cookies,
        };
        let password = format!("password={}", browser.password);
        browser.curl(&["-d", "username=elastic", "--data-urlencode", &password], "/login")?;
        Ok(browser)
    }

    fn look(&self) -> Result<()> {
        let basic = format!("elastic:{}", self.password);
        for path in PAGES.iter().cycle().take(TIMES * PAGES.len()) {
            let options: &[&str] = if path.starts_with("/api") { &["-u", &basic] } else { &[] };
            self.curl(options, path)?;
        }
        Ok(std::fs::remove_file(&self.cookies)?)
    }

    fn curl(&self, options: &[&str], path: &str) -> Result<()> {
        let cookies = self
            .cookies
            .to_str()
            .context("a temporary folder has a name in UTF-8")?;
        let url = format!("{}{path}", self.console);
        let mut all = vec!["--compressed", "-b", cookies, "-c", cookies, &url];
        all.extend(options);
        curl(&all)
    }
}

/// The certificate is of a moment ago, on this machine.
fn curl(options: &[&str]) -> Result<()> {
    let output = Command::new("curl")
        .args(["-fsSk", "-o", "/dev/null"])
        .args(options)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "curl {options:?}: {said}");
    Ok(())
}
