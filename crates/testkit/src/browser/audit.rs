//! What an auditor holds against the page that is shown, and what happens while it loads.

use serde_json::{Value, json};

use super::Browser;

/// An expression whose value is a list of faults, in words: what every page says of itself, pictures, targets, letters.
const AUDIT: &str = include_str!("audit.js");

/// An expression whose value is how far things have jumped since the page began to load.
const SHIFT: &str = "new Promise(done => { let sum = 0; const what = []; \
    const add = list => { for (const entry of list) if (!entry.hadRecentInput) { sum += entry.value; \
        for (const source of entry.sources) what.push((source.node?.outerHTML ?? source.node?.nodeValue ?? '').slice(0, 80)); } }; \
    const observer = new PerformanceObserver(list => add(list.getEntries())); \
    observer.observe({ type: 'layout-shift', buffered: true }); \
    requestAnimationFrame(() => requestAnimationFrame(() => { add(observer.takeRecords()); done({ sum, what }); })); })";

/// No more of the page than this may jump while it loads. Source: web vitals, cumulative layout shift.
const LARGEST_SHIFT: f64 = 0.1;

/// A page with everything that it needs, as somebody loads it who comes for the first time.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// As they go over the wire, with their headers.
    pub bytes: u64,
    /// The addresses that were asked for.
    pub requests: Vec<String>,
    /// What went wrong, in words.
    pub faults: Vec<String>,
}

impl Browser {
    /// What is wrong with the page that is shown, in words.
    pub fn audit(&mut self) -> Vec<String> {
        let found = self.evaluate(AUDIT);
        let faults = found.as_array().into_iter().flatten().filter_map(Value::as_str);
        faults.map(str::to_owned).collect()
    }

    /// What jumped while the page loaded, in words; `None` when it is little enough.
    pub fn jumped(&mut self) -> Option<String> {
        let shift = self.evaluate(SHIFT);
        let sum = shift["sum"].as_f64().unwrap_or(f64::INFINITY);
        (sum >= LARGEST_SHIFT).then(|| format!("jumps while it loads, {sum:.3}: {}", shift["what"]))
    }

    /// Loads a page of the site as somebody who comes for the first time, and says what that took.
    pub fn load_anew(&mut self, path: &str) -> Loaded {
        self.call("Network.enable", json!({}));
        self.call("Network.setCacheDisabled", json!({"cacheDisabled": true}));
        self.events.retain(|event| !is_of_network(event));
        self.open(path);
        // A round trip, so that everything that was loaded has been told.
        self.evaluate("document.fonts.ready.then(() => 0)");
        let loaded = self.loaded();
        self.call("Network.setCacheDisabled", json!({"cacheDisabled": false}));
        self.call("Network.disable", json!({}));
        self.events.retain(|event| !is_of_network(event));
        loaded
    }

    fn loaded(&self) -> Loaded {
        let mut loaded = Loaded::default();
        for event in self.events.iter().filter(|event| is_of_network(event)) {
            let about = &event["params"];
            match event["method"].as_str().unwrap_or_default() {
                "Network.loadingFinished" => {
                    loaded.bytes += about["encodedDataLength"].as_f64().unwrap_or_default() as u64;
                }
                "Network.requestWillBeSent" => {
                    let url = about["request"]["url"].as_str().unwrap_or_default();
                    if !url.starts_with(&self.site) && !url.starts_with("data:") {
                        loaded.faults.push(format!("a request leaves the origin: {url}"));
                    }
                    loaded.requests.push(url.trim_start_matches(&self.site).to_owned());
                }
                "Network.responseReceived" if about["response"]["status"].as_u64() >= Some(400) => {
                    let (status, url) = (&about["response"]["status"], &about["response"]["url"]);
                    loaded.faults.push(format!("{url} answers {status}"));
                }
                // What the page that was left had still open is given up.
                "Network.loadingFailed" if about["canceled"] != true => {
                    loaded.faults.push(format!("a request fails: {}", about["errorText"]));
                }
                _ => {}
            }
        }
        loaded
    }
}

fn is_of_network(event: &Value) -> bool {
    event["method"]
        .as_str()
        .is_some_and(|method| method.starts_with("Network."))
}
