//! What people do in a page: go, click, write, press keys, wait.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Browser, LIMIT};
use crate::eventually;

/// Nothing that a page waits for takes longer, even on a busy machine.
const SOON: Duration = Duration::from_mins(2);

impl Browser {
    /// From now on paths are those of `site`.
    pub fn visit(&mut self, site: &str) {
        site.clone_into(&mut self.site);
        self.resize(1440, 900);
    }

    /// Goes to a page of the site.
    pub fn open(&mut self, path: &str) {
        self.go(&format!("{}{path}", self.site));
    }

    /// Path and query of the page that is shown.
    pub fn address(&mut self) -> String {
        let address = self.evaluate("location.pathname + location.search");
        address.as_str().unwrap_or_default().to_owned()
    }

    /// Goes to `url` and waits until it has loaded.
    pub fn go(&mut self, url: &str) {
        let answer = self.call("Page.navigate", json!({"url": url}));
        assert!(answer["errorText"].is_null(), "{url}: {answer}");
        // A fragment of the same page loads nothing.
        if let Some(loader) = answer["loaderId"].as_str() {
            self.wait_for(url, |event| (*loader_of(event)? == *loader).then_some(()));
        }
        self.forget_loads();
    }

    /// Runs `script`, which leaves the page, and waits until the next has loaded.
    pub fn leave_by(&mut self, script: &str) {
        let frames = self.call("Page.getFrameTree", json!({}));
        let before = frames["frameTree"]["frame"]["loaderId"].clone();
        // The page may be gone before it can answer.
        let _left = self.try_call("Runtime.evaluate", json!({"expression": format!("{script}; 0")}), LIMIT);
        self.wait_for(script, |event| (*loader_of(event)? != before).then_some(()));
        self.forget_loads();
    }

    /// The value of an expression in the page; promises are awaited.
    ///
    /// # Panics
    /// It throws.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        self.try_evaluate(expression)
            .unwrap_or_else(|error| panic!("{expression}: {error}, in the step `{}`", self.step))
    }

    fn try_evaluate(&mut self, expression: &str) -> Result<Value, String> {
        let parameters = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.try_call("Runtime.evaluate", parameters, LIMIT)?;
        match &answer["exceptionDetails"] {
            Value::Null => Ok(answer["result"]["value"].clone()),
            thrown => Err(thrown.to_string()),
        }
    }

    /// Waits until `expression` is true. A page that goes or is not complete yet, so that it throws, is asked again.
    ///
    /// # Panics
    /// It does not come true.
    pub fn until(&mut self, what: &str, expression: &str) {
        eventually(what, SOON, || {
            (self.try_evaluate(expression).ok()? == true).then_some(())
        });
    }

    /// The text that `selector` finds, as it is shown; empty when there is none.
    pub fn text(&mut self, selector: &str) -> String {
        let expression = format!("document.querySelector({})?.innerText ?? ''", json!(selector));
        self.evaluate(&expression).as_str().unwrap_or_default().to_owned()
    }

    /// What this page said about what was done before, even when it is no longer shown.
    pub fn toast(&mut self) -> String {
        let said = self.evaluate("window.toastOfThisPage ?? ''");
        said.as_str().unwrap_or_default().to_owned()
    }

    /// Puts `text` into the field that `selector` finds.
    pub fn fill(&mut self, selector: &str, text: &str) {
        let (selector, text) = (json!(selector), json!(text));
        self.evaluate(&format!(
            "{{ const field = document.querySelector({selector}); field.value = {text}; \
             for (const kind of ['input', 'change']) field.dispatchEvent(new Event(kind, {{ bubbles: true }})); 0 }}"
        ));
    }

    /// Clicks what `selector` finds.
    pub fn click(&mut self, selector: &str) {
        self.evaluate(&format!("document.querySelector({}).click()", json!(selector)));
    }

    /// Clicks what `selector` finds, which leaves the page, and waits for the next.
    pub fn follow(&mut self, selector: &str) {
        let found = format!("document.querySelector({})", json!(selector));
        let is_there = self.evaluate(&format!("{found} !== null"));
        assert!(is_there == true, "there is no {selector}, in the step `{}`", self.step);
        self.leave_by(&format!("{found}.click()"));
    }

    /// What `selector` finds shows that text.
    ///
    /// # Panics
    /// It does not.
    #[track_caller]
    pub fn sees(&mut self, selector: &str, expected: &str) {
        let shown = self.text(selector);
        assert!(
            shown.contains(expected),
            "{expected} in {selector}: {shown}, in the step `{}`",
            self.step
        );
    }

    /// Puts `text` into the field of that name.
    pub fn type_into(&mut self, name: &str, text: &str) {
        self.fill(&format!(":is(input, select, textarea)[name={}]", json!(name)), text);
    }

    /// Sends the form that `selector` finds, as Enter in one of its fields does, and waits for the next page.
    pub fn submit(&mut self, form: &str) {
        self.leave_by(&format!("document.querySelector({}).requestSubmit()", json!(form)));
    }

    /// Clicks the link of the page's content that reads so, and waits for the next page.
    pub fn follow_text(&mut self, text: &str) {
        self.leave_by(&format!(
            "[...document.querySelectorAll('main a')].find(link => link.innerText.trim() === {}).click()",
            json!(text)
        ));
    }

    /// Leaves what was written into the forms of the page behind, so that the page lets go.
    pub fn forget_changes(&mut self) {
        self.evaluate("for (const form of document.querySelectorAll('form')) form.dataset.sent = '1'; 0");
    }

    /// Clicks the link that `selector` finds, which leads to a file, and waits until it is there.
    pub fn download(&mut self, selector: &str) -> Vec<u8> {
        let folder = self.profile.path().join("downloads");
        let parameters = json!({"behavior": "allow", "downloadPath": folder.display().to_string()});
        self.call("Page.setDownloadBehavior", parameters);
        self.click(selector);
        let complete = || {
            let mut files = std::fs::read_dir(&folder)
                .ok()?
                .filter_map(Result::ok)
                .map(|entry| entry.path());
            files.find(|path| path.extension().is_none_or(|kind| kind != "crdownload"))
        };
        let file = eventually("the file that was downloaded", SOON, complete);
        let content = fs_err::read(&file).expect("a file that was downloaded can be read");
        fs_err::remove_file(&file).expect("a file of our own can be removed");
        content
    }

    /// Writes `text` where the focus is.
    pub fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text}));
    }

    /// Presses and releases a key.
    pub fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            "ArrowDown" => (40, ""),
            " " => (32, " "),
            other => (0, other),
        };
        for (kind, text) in [("keyDown", text), ("keyUp", "")] {
            let event = json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text});
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Fills in the login form that is shown, and sends it.
    pub fn log_in(&mut self, user: &str, password: &str) {
        self.fill("#username", user);
        self.fill("#password", password);
        self.leave_by("document.querySelector('form').requestSubmit()");
    }

    /// Whether scripts of pages run.
    pub fn run_scripts(&mut self, wanted: bool) {
        self.call("Emulation.setScriptExecutionDisabled", json!({"value": !wanted}));
    }

    fn forget_loads(&mut self) {
        self.events.retain(|event| event["method"] != "Page.lifecycleEvent");
    }
}

/// The page that an event says has loaded.
fn loader_of(event: &Value) -> Option<&Value> {
    let is_load = event["method"] == "Page.lifecycleEvent" && event["params"]["name"] == "load";
    is_load.then(|| &event["params"]["loaderId"])
}
