//! A real browser, driven over the DevTools protocol: Debian's `chromium` without a window.
//!
//! [`Browser`] starts it and speaks the protocol; what people do in a page is in [`hands`], what they see in [`eyes`], what
//! they hear in [`tree`], what an auditor finds in [`audit`], who they are in [`user`]. A test that
//! fails while a browser is open says in which step, and leaves a picture in `artefacts/failures`.
//!
//! The protocol runs over two pipes (`--remote-debugging-pipe`: descriptors 3 and 4, JSON with a NUL after each message), so
//! that no port, web socket or driver program is needed. A shell puts our pipes onto those descriptors.

mod audit;
mod eyes;
mod hands;
mod tree;
mod user;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

pub use audit::Loaded;
pub use user::User;

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

/// Runs in every page before its own scripts: a toast is remembered, so that a slow test can still read it.
const REMEMBER_TOASTS: &str = "document.addEventListener('DOMContentLoaded', () => { \
    window.toastOfThisPage = document.querySelector('[data-toast]')?.textContent.trim() ?? ''; })";

/// One tab of a browser of its own.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    input: ChildStdin,
    answers: Receiver<Value>,
    session: Option<String>,
    last_id: u64,
    events: Vec<Value>,
    /// Where the site is whose pages are opened by their path.
    site: String,
    /// What the test does now, for whoever reads that it failed.
    step: String,
    // The folder lives as long as the process.
    profile: TempDir,
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
            site: String::new(),
            step: "start".to_owned(),
            profile,
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
        self.call("Page.setLifecycleEventsEnabled", json!({"enabled": true}));
        let parameters = json!({"source": REMEMBER_TOASTS});
        self.call("Page.addScriptToEvaluateOnNewDocument", parameters);
        self.prefer("light");
    }

    /// Says what the test does from now on. What earlier steps made the page complain about is not this one's fault, so it is
    /// told now.
    ///
    /// # Panics
    /// The browser's console is not silent.
    pub fn step(&mut self, name: &str) {
        let said = self.messages();
        assert!(said.is_empty(), "the console says: {said:?}");
        name.clone_into(&mut self.step);
    }

    /// Calls a method of the DevTools protocol.
    ///
    /// # Panics
    /// It is refused, or there is no answer.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.try_call(method, parameters, LIMIT)
            .unwrap_or_else(|error| panic!("{error}, in the step `{}`", self.step))
    }

    fn try_call(&mut self, method: &str, parameters: Value, limit: Duration) -> Result<Value, String> {
        let id = self.send(method, parameters);
        loop {
            let answer = self.next(method, limit)?;
            if answer["id"] == id {
                return match &answer["error"] {
                    Value::Null => Ok(answer["result"].clone()),
                    error => Err(format!("{method}: {error}")),
                };
            }
            self.take(answer);
        }
    }

    fn send(&mut self, method: &str, parameters: Value) -> u64 {
        self.last_id += 1;
        let mut message = json!({"id": self.last_id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        // A browser that has gone is noticed when no answer comes.
        let _gone = self.input.write_all(&bytes);
        self.last_id
    }

    /// Keeps an event. A page that asks whether to leave it would wait for ever.
    fn take(&mut self, event: Value) {
        if event["method"] == "Page.javascriptDialogOpening" {
            self.send("Page.handleJavaScriptDialog", json!({"accept": true}));
        }
        if event["id"].is_null() {
            self.events.push(event);
        }
    }

    /// Waits until `is_it` has a value for an event, in the order in which they came.
    fn wait_for<T>(&mut self, what: &str, is_it: impl Fn(&Value) -> Option<T>) -> T {
        let mut seen = 0;
        loop {
            if let Some(found) = self.events[seen..].iter().find_map(&is_it) {
                return found;
            }
            seen = self.events.len();
            match self.next(what, LIMIT) {
                Ok(event) => self.take(event),
                Err(error) => panic!("{error}, in the step `{}`", self.step),
            }
        }
    }

    fn next(&mut self, what_for: &str, limit: Duration) -> Result<Value, String> {
        self.answers.recv_timeout(limit).map_err(|error| match error {
            RecvTimeoutError::Timeout => format!("the browser was silent for {limit:?}, waiting for {what_for}"),
            RecvTimeoutError::Disconnected => format!("the browser ended, waiting for {what_for}"),
        })
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.leave_evidence();
        }
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
