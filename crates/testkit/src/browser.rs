//! A real browser, driven over the DevTools protocol: Debian's `chromium` without a window.
//!
//! The protocol runs over two pipes (`--remote-debugging-pipe`: descriptors 3 and 4, JSON with a NUL after each message), so
//! that no port, web socket or driver program is needed. A shell puts our pipes onto those descriptors.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

/// No answer takes longer, even on a busy machine.
const LIMIT: Duration = Duration::from_mins(1);

/// Without these chromium asks the network for updates, models and field trials.
const QUIET: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    // The CA of a test is nobody's; that listeners are verified is tested elsewhere.
    "--ignore-certificate-errors",
];

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

/// One tab of a browser of its own.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    input: ChildStdin,
    answers: Receiver<Value>,
    session: Option<String>,
    last_id: u64,
    events: Vec<Value>,
    // Kept so that the folder lives as long as the process.
    _profile: TempDir,
}

impl Browser {
    /// Starts chromium; `None`, and said aloud, when it is not installed.
    pub fn start() -> Option<Self> {
        if !crate::is_installed("chromium") {
            crate::skip("chromium is not installed (Debian: apt-get install chromium)");
            return None;
        }
        let profile = tempfile::tempdir().expect("a temporary folder can be made");
        let mut child = Command::new("sh")
            .args(["-c", r#"exec "$@" 3<&0 4>&1 1>/dev/null 0</dev/null"#, "sh", "chromium"])
            .args(QUIET)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args(["--remote-debugging-pipe", "about:blank"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell can be started");
        let input = child.stdin.take().expect("stdin is piped");
        let answers = read_in_background(child.stdout.take().expect("stdout is piped"));
        let mut browser = Self {
            child,
            input,
            answers,
            session: None,
            last_id: 0,
            events: Vec::new(),
            _profile: profile,
        };
        browser.attach();
        Some(browser)
    }

    fn attach(&mut self) {
        let target = self.call("Target.createTarget", json!({"url": "about:blank"}));
        let parameters = json!({"targetId": target["targetId"], "flatten": true});
        let attached = self.call("Target.attachToTarget", parameters);
        self.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log"] {
            self.call(&format!("{domain}.enable"), json!({}));
        }
    }

    /// Goes to `url` and waits until it has loaded.
    pub fn go(&mut self, url: &str) {
        self.forget_loads();
        let answer = self.call("Page.navigate", json!({"url": url}));
        assert!(answer["errorText"].is_null(), "{url}: {answer}");
        self.wait_for("Page.loadEventFired");
    }

    /// Runs `script`, which leaves the page, and waits until the next has loaded.
    pub fn leave_by(&mut self, script: &str) {
        self.forget_loads();
        self.evaluate(script);
        self.wait_for("Page.loadEventFired");
    }

    /// The value of an expression in the page; promises are awaited.
    ///
    /// # Panics
    /// It throws.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let parameters = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", parameters);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Puts `text` into the field that `selector` finds.
    pub fn fill(&mut self, selector: &str, text: &str) {
        let (selector, text) = (json!(selector), json!(text));
        self.evaluate(&format!(
            "{{ const field = document.querySelector({selector}); field.value = {text}; \
             for (const kind of ['input', 'change']) field.dispatchEvent(new Event(kind, {{ bubbles: true }})); 0 }}"
        ));
    }

    /// Fills in the login form that is shown, and sends it.
    pub fn log_in(&mut self, user: &str, password: &str) {
        self.fill("#username", user);
        self.fill("#password", password);
        self.leave_by("document.querySelector('form').requestSubmit(), 0");
    }

    /// What sticks out of the window on the right, in words; empty when nothing does.
    pub fn overflow(&mut self) -> String {
        let found = self.evaluate(OVERFLOW);
        found.as_str().unwrap_or_default().to_owned()
    }

    /// The script of axe, which `cargo xtask test` fetches and names in `FLOTILLA_AXE`.
    #[expect(clippy::disallowed_methods, reason = "a test asks its caller")]
    pub fn axe() -> Option<String> {
        std::fs::read_to_string(std::env::var_os("FLOTILLA_AXE")?).ok()
    }

    /// What axe, whose script that is, finds wrong in the page and calls serious or critical: WCAG 2.0 to 2.2, A and AA.
    pub fn serious(&mut self, axe: &str) -> Vec<String> {
        self.evaluate(&format!("{axe}; 0"));
        let found = self.evaluate(SERIOUS);
        let texts = found.as_array().into_iter().flatten();
        texts.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Gives the page another size, in CSS pixels.
    pub fn resize(&mut self, width: u32, height: u32) {
        let parameters = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 720});
        self.call("Emulation.setDeviceMetricsOverride", parameters);
    }

    /// Lets the system prefer `light` or `dark`.
    pub fn prefer(&mut self, theme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": theme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// The visible part of the page as PNG.
    pub fn screenshot(&mut self) -> Vec<u8> {
        let answer = self.call("Page.captureScreenshot", json!({"format": "png"}));
        let data = answer["data"].as_str().expect("a picture is text");
        STANDARD.decode(data).expect("a picture is base64")
    }

    /// The page from its top to its end as PNG.
    pub fn whole_screenshot(&mut self) -> Vec<u8> {
        let parameters = json!({"format": "png", "captureBeyondViewport": true, "clip": self.evaluate(WHOLE)});
        let answer = self.call("Page.captureScreenshot", parameters);
        let data = answer["data"].as_str().expect("a picture is text");
        STANDARD.decode(data).expect("a picture is base64")
    }

    /// What the page and the browser have said since the last call: console, errors, violations of the policy.
    pub fn messages(&mut self) -> Vec<String> {
        // A round trip, so that everything said before has arrived.
        self.evaluate("0");
        let said = |event: &Value| match event["method"].as_str()? {
            "Runtime.consoleAPICalled" => Some(event["params"]["args"].to_string()),
            "Runtime.exceptionThrown" => Some(event["params"]["exceptionDetails"].to_string()),
            "Log.entryAdded" => {
                let entry = &event["params"]["entry"];
                Some(format!("{} {}", entry["text"], entry["url"]))
            }
            _ => None,
        };
        let messages = self.events.iter().filter_map(said).collect();
        self.events.clear();
        messages
    }

    /// Calls a method of the DevTools protocol.
    ///
    /// # Panics
    /// It is refused, or there is no answer.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last_id += 1;
        let id = self.last_id;
        let mut message = json!({"id": id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.input.write_all(&bytes).expect("the browser reads");
        loop {
            let answer = self.next(method);
            if answer["id"] == id {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }

    fn forget_loads(&mut self) {
        self.events.retain(|event| event["method"] != "Page.loadEventFired");
    }

    fn wait_for(&mut self, event: &str) {
        while !self.events.iter().any(|seen| seen["method"] == event) {
            let next = self.next(event);
            self.events.push(next);
        }
    }

    fn next(&mut self, what_for: &str) -> Value {
        match self.answers.recv_timeout(LIMIT) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => panic!("the browser was silent for {LIMIT:?}, waiting for {what_for}"),
            Err(RecvTimeoutError::Disconnected) => panic!("the browser ended, waiting for {what_for}"),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _already_waited = self.child.wait();
    }
}

fn read_in_background(output: ChildStdout) -> Receiver<Value> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut message = Vec::new();
        while output.read_until(0, &mut message).is_ok_and(|length| length > 0) {
            let ends = message.pop() == Some(0);
            let Some(value) = ends.then(|| serde_json::from_slice(&message).ok()).flatten() else {
                return;
            };
            if sender.send(value).is_err() {
                return;
            }
            message.clear();
        }
    });
    receiver
}
