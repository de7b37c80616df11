//! What people see in a page: pictures, what sticks out, what it complains about.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Browser;

/// A test that fails waits no longer than this for its last picture.
const EVIDENCE: Duration = Duration::from_secs(10);

/// An expression whose value is what sticks out, in words.
const OVERFLOW: &str = "(() => { const width = document.documentElement.clientWidth; \
    const wide = [...document.querySelectorAll('main *')].filter(element => { \
        const box = element.getBoundingClientRect(); \
        return box.width > 0 && box.right > width + 1 && !element.closest('.hidden-text'); }); \
    const names = wide.slice(0, 5).map(element => element.outerHTML.slice(0, 120)); \
    if (document.documentElement.scrollWidth > width) names.push('the page is ' + document.documentElement.scrollWidth + ' wide'); \
    return names.join('\\n'); })()";

/// An expression whose value is what axe holds against the page, a text for each.
const SERIOUS: &str = "axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] }).then(found => found.violations \
    .filter(one => ['serious', 'critical'].includes(one.impact)) \
    .map(one => `${one.id}: ${one.help}: ${one.nodes.slice(0, 3).map(node => node.html.slice(0, 160)).join(' | ')}`))";

/// An expression whose value is the place of the whole page; no picture is longer than people scroll.
const WHOLE: &str = "(() => { const root = document.documentElement; \
    return { x: 0, y: 0, scale: 1, width: root.clientWidth, height: Math.min(root.scrollHeight, 4000) }; })()";

impl Browser {
    /// What sticks out of the window on the right, in words; empty when nothing does.
    pub fn overflow(&mut self) -> String {
        let found = self.evaluate(OVERFLOW);
        found.as_str().unwrap_or_default().to_owned()
    }

    /// The script of axe, which `cargo xtask test` fetches and names in `FLOTILLA_AXE`.
    pub fn axe() -> Option<String> {
        fs_err::read_to_string(std::env::var_os("FLOTILLA_AXE")?).ok()
    }

    /// What axe, whose script that is, finds wrong in the page and calls serious or critical: WCAG 2.0 to 2.2, A and AA.
    pub fn serious(&mut self, axe: &str) -> Vec<String> {
        self.evaluate(&format!("window.axe ? 0 : (() => {{ {axe} }})(), 0"));
        let found = self.evaluate(SERIOUS);
        let texts = found.as_array().into_iter().flatten();
        texts.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Gives the page another size, in CSS pixels.
    pub fn resize(&mut self, width: u32, height: u32) {
        let parameters = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 720});
        self.call("Emulation.setDeviceMetricsOverride", parameters);
    }

    /// Lets the system prefer `light` or `dark`; it never likes what moves.
    pub fn prefer(&mut self, theme: &str) {
        let features = json!([
            {"name": "prefers-color-scheme", "value": theme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// The visible part of the page as PNG.
    pub fn screenshot(&mut self) -> Vec<u8> {
        let answer = self.call(
            "Page.captureScreenshot",
            json!({"format": "png", "optimizeForSpeed": true}),
        );
        png(&answer).expect("a picture is base64")
    }

    /// The page from its top to its end as PNG.
    pub fn whole_screenshot(&mut self) -> Vec<u8> {
        let parameters = json!({"format": "png", "optimizeForSpeed": true, "captureBeyondViewport": true, "clip": self.evaluate(WHOLE)});
        let answer = self.call("Page.captureScreenshot", parameters);
        png(&answer).expect("a picture is base64")
    }

    /// Keeps the visible part of the page in `artefacts/pages`.
    pub fn picture(&mut self, name: &str) {
        let picture = self.screenshot();
        keep("pages", name, &picture);
    }

    /// Keeps the page from its top to its end in `artefacts/pages`.
    pub fn whole_picture(&mut self, name: &str) {
        let picture = self.whole_screenshot();
        keep("pages", name, &picture);
    }

    /// What the page and the browser have said since the last call: console, errors, violations of the policy.
    pub fn messages(&mut self) -> Vec<String> {
        // A round trip, so that everything said before has arrived.
        self.evaluate("0");
        let messages = self.events.iter().filter_map(said).collect();
        self.events.clear();
        messages
    }

    /// For a test that fails: where it was, what the page says, and how it looks.
    pub(super) fn leave_evidence(&mut self) {
        let expression = "location.href + '\\n' + (document.body?.innerText ?? '').slice(0, 2000)";
        let shown = self.try_call("Runtime.evaluate", json!({"expression": expression}), EVIDENCE);
        let shown = shown.map_or_else(
            |error| error,
            |shown| shown["result"]["value"].as_str().unwrap_or_default().to_owned(),
        );
        let said: Vec<String> = self.events.iter().filter_map(said).collect();
        eprintln!("failed in the step `{}`\nconsole: {said:?}\npage: {shown}", self.step);
        let picture = self.try_call(
            "Page.captureScreenshot",
            json!({"format": "png", "optimizeForSpeed": true}),
            EVIDENCE,
        );
        if let Some(picture) = picture.ok().as_ref().and_then(png) {
            let thread = std::thread::current();
            let name = format!("{} {}", thread.name().unwrap_or("test"), self.step)
                .replace(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_', "-");
            let name = name.chars().take(120).collect::<String>();
            keep("failures", &name, &picture);
            eprintln!("picture: artefacts/failures/{name}.png");
        }
    }
}

fn keep(folder: &str, name: &str, picture: &[u8]) {
    let kept = fs_err::write(crate::artefacts(folder).join(format!("{name}.png")), picture);
    if let Err(error) = kept {
        eprintln!("{name} was not kept: {error}");
    }
}

fn png(answer: &Value) -> Option<Vec<u8>> {
    STANDARD.decode(answer["data"].as_str()?).ok()
}

/// What an event says to whoever looks at the console.
fn said(event: &Value) -> Option<String> {
    match event["method"].as_str()? {
        "Runtime.consoleAPICalled" => Some(event["params"]["args"].to_string()),
        "Runtime.exceptionThrown" => Some(event["params"]["exceptionDetails"].to_string()),
        "Log.entryAdded" => {
            let entry = &event["params"]["entry"];
            Some(format!("{} {}", entry["text"], entry["url"]))
        }
        _ => None,
    }
}
