//! Fleet in a real browser: what people do on its pages, from a fresh store to what the local agent gets.
//!
//! Pictures are kept in `artefacts/pages`.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use pki::{Authority, AuthorityRequest, KeyType, LeafRequest};
use serde_json::Value;
use testkit::{Browser, Flotilla, eventually};

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");
const SOON: Duration = Duration::from_mins(1);
const SIZES: [(u32, u32, &str); 4] = [
    (1440, 900, "light"),
    (1440, 900, "dark"),
    (1024, 800, "light"),
    (390, 844, "light"),
];

#[test]
fn a_fleet_is_run_from_its_pages() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let flotilla = Flotilla::start(FLOTILLA, &[]);
    let mut user = User {
        browser,
        base: flotilla.text("/urls/console"),
    };
    user.log_in(&flotilla.text("/password"));
    user.settings_are_shown_in_full();
    user.a_wrong_pair_is_refused_with_its_field();
    user.an_output_reaches_the_agent();
    user.an_output_is_made_and_deleted();
    user.a_policy_is_copied_changed_and_deleted();
    user.an_integration_is_added_and_removed();
    user.an_agent_gets_a_tag();
    user.a_fleet_server_gets_its_command();
    user.a_proxy_is_made_with_the_keyboard_alone();
    for (path, name) in [
        ("/app/fleet/policies/default-policy", "policy"),
        ("/app/fleet/policies/default-policy?tab=settings", "policy-settings"),
        ("/app/fleet/policies/default-policy?tab=history", "policy-history"),
        ("/app/fleet/uninstall-tokens", "uninstall-tokens"),
        ("/app/fleet/agents", "agents"),
        ("/app/fleet/agents/add", "add-agent"),
    ] {
        user.look_at(path, name);
    }
}

/// Somebody in front of the browser.
struct User {
    browser: Browser,
    base: String,
}

impl User {
    fn log_in(&mut self, password: &str) {
        self.browser.resize(1440, 900);
        self.go("/app/fleet/settings");
        self.browser.log_in("elastic", password);
        assert_eq!(self.browser.evaluate("location.pathname"), "/app/fleet/settings");
    }

    fn settings_are_shown_in_full(&mut self) {
        for (path, name) in [
            ("/app/fleet/settings", "settings"),
            (
                "/app/fleet/settings?flyout=host-fleet-default-fleet-server-host",
                "settings-host",
            ),
            (
                "/app/fleet/settings?flyout=output-fleet-default-output",
                "settings-output",
            ),
            ("/app/fleet/settings?flyout=output-new&type=kafka", "settings-kafka"),
            ("/app/fleet/settings?flyout=proxy-new", "settings-proxy"),
            ("/app/fleet/settings?flyout=source-new", "settings-source"),
        ] {
            self.look_at(path, name);
        }
        self.go("/app/fleet/settings?flyout=host-fleet-default-fleet-server-host");
        for field in [
            "certificate_authorities",
            "certificate",
            "key",
            "es_certificate_authorities",
            "es_certificate",
            "es_key",
            "agent_certificate_authorities",
            "agent_certificate",
            "agent_key",
            "client_auth",
        ] {
            let there = self
                .browser
                .evaluate(&format!("document.querySelector('[name=\"ssl.{field}\"]') !== null"));
            assert_eq!(there, true, "ssl.{field}");
        }
    }

    /// Before it is saved, as soon as the field is left.
    fn a_wrong_pair_is_refused_with_its_field(&mut self) {
        let (certificate, _) = pair("fleet.example");
        let (_, foreign_key) = pair("other.example");
        self.go("/app/fleet/settings?flyout=host-fleet-default-fleet-server-host");
        self.type_into("ssl.certificate", &certificate);
        self.type_into("ssl.key", &foreign_key);
        self.wait_for(
            "the card of the certificate",
            "document.querySelector('#about-ssl-certificate').innerText",
            "fleet.example",
        );
        self.wait_for(
            "the verdict on the key",
            "document.querySelector('#about-ssl-key').innerText",
            "does not belong",
        );
        self.picture("settings-host-wrong-1440-light");
        self.browser
            .evaluate("document.querySelector('form[data-form]').dataset.sent = '1'");
    }

    /// A TLS field of the default output: saved, asked about, and in the next revision of the local agent's policy.
    fn an_output_reaches_the_agent(&mut self) {
        let before = self.agent_revision();
        self.go("/app/fleet/settings?flyout=output-fleet-default-output");
        let save = "document.querySelector('button[value=save]').disabled";
        assert_eq!(self.browser.evaluate(save), true, "what is unchanged cannot be saved");
        self.type_into("ssl.verification_mode", "certificate");
        assert_eq!(self.browser.evaluate(save), false);
        self.submit("save");
        self.wait_for(
            "the question",
            "document.querySelector('[data-asks]').innerText",
            "new revision",
        );
        self.picture("settings-output-asks-1440-light");
        self.submit("deploy");
        assert_eq!(self.text("[data-toast]").trim(), "Output saved");
        eventually("the agent with a newer revision", SOON, || {
            (self.agent_revision() > before).then_some(())
        });
        self.go("/app/fleet/policies/default-policy?tab=yaml");
        let yaml = self.browser.evaluate("document.querySelector('main').textContent");
        assert!(yaml.as_str().unwrap().contains("verification_mode: certificate"));
    }

    fn an_output_is_made_and_deleted(&mut self) {
        self.go("/app/fleet/settings?flyout=output-new&type=logstash");
        let (certificate, key) = pair("agent.example");
        self.type_into("name", "archive");
        self.type_into("hosts", "logstash.example:5044");
        self.type_into("ssl.certificate", &certificate);
        self.type_into("ssl.key", &key);
        self.submit("save");
        if self.browser.evaluate("document.querySelector('[data-asks]') !== null") == true {
            self.submit("deploy");
        }
        assert!(
            self.text("main").contains("logstash.example:5044"),
            "{}",
            self.text("body")
        );
        // The key is stored: nothing of it comes back.
        self.browser
            .leave_by("[...document.querySelectorAll('a')].find(a => a.textContent === 'archive').click(), 0");
        let key_line = key.lines().nth(1).unwrap();
        let html = self.browser.evaluate("document.documentElement.innerHTML");
        assert!(!html.as_str().unwrap().contains(key_line));
        assert!(self.text(".secret").contains("Nobody can read it back"));
        self.browser
            .leave_by("document.querySelector('.flyout .actions a').click(), 0");
        self.browser
            .leave_by("document.querySelector('[aria-label=\"Delete archive\"]').click(), 0");
        self.browser
            .leave_by("document.querySelector('.modal form').requestSubmit(), 0");
        assert_eq!(self.text("[data-toast]").trim(), "Output deleted");
        assert!(!self.text("main").contains("archive"));
    }

    fn a_policy_is_copied_changed_and_deleted(&mut self) {
        self.go("/app/fleet/policies/default-policy?tab=settings");
        self.browser
            .evaluate("document.querySelector('#copy-name').value = 'edge'");
        self.browser
            .leave_by("document.querySelector('form[action$=\"/copy\"]').requestSubmit(), 0");
        assert_eq!(self.text("h1"), "edge");
        let path = self.browser.evaluate("location.pathname");
        let path = path.as_str().unwrap().to_owned();
        self.go(&format!("{path}?tab=settings"));
        self.type_into("namespace", "Not Allowed");
        self.browser
            .leave_by("document.querySelector('.panel-foot .primary').click(), 0");
        assert!(
            self.text("#about-namespace").contains("lowercase"),
            "{}",
            self.text("main")
        );
        self.type_into("namespace", "edge");
        self.browser
            .leave_by("document.querySelector('.panel-foot .primary').click(), 0");
        self.go(&format!("{path}?tab=yaml"));
        assert!(self.text("main").contains("namespace: edge"), "{}", self.text("main"));
        self.go(&format!("{path}?tab=settings"));
        self.browser
            .evaluate("document.querySelector('form[action$=\"/delete\"]').requestSubmit(), 0");
        self.picture("policy-delete-1440-light");
        self.browser
            .leave_by("document.querySelector('#delete-policy button[value=confirm]').click(), 0");
        assert_eq!(self.text("[data-toast]").trim(), "The agent policy was deleted.");
    }

    /// The agent gets it, and loses it again.
    fn an_integration_is_added_and_removed(&mut self) {
        let before = self.agent_revision();
        self.go("/app/fleet/policies/default-policy");
        self.browser
            .evaluate("document.querySelector('#package').value = 'system'");
        self.browser
            .leave_by("document.querySelector('#package').form.requestSubmit(), 0");
        self.picture("integration-1440-light");
        self.type_into("name", "more of the system");
        self.browser
            .leave_by("document.querySelector('.panel-foot .primary').click(), 0");
        assert!(
            self.text("main").contains("more of the system"),
            "{}",
            self.text("main")
        );
        eventually("the agent with the integration", SOON, || {
            (self.agent_revision() > before).then_some(())
        });
        self.browser.leave_by(
            "[...document.querySelectorAll('a')].find(a => a.textContent === 'more of the system').click(), 0",
        );
        self.browser
            .evaluate("document.querySelector('form[action$=\"/delete\"]').requestSubmit(), 0");
        self.browser
            .leave_by("document.querySelector('#remove button[value=confirm]').click(), 0");
        assert!(!self.text("main").contains("more of the system"));
    }

    fn an_agent_gets_a_tag(&mut self) {
        self.go("/app/fleet/agents");
        self.browser.evaluate("document.querySelector('[data-select]').click()");
        assert_eq!(self.text("[data-bulk-count]"), "1");
        self.picture("agents-selected-1440-light");
        self.browser
            .leave_by("document.querySelector('#bulk [value=tags]').click(), 0");
        self.type_into("add", "harbour");
        self.picture("agents-tags-1440-light");
        self.browser
            .leave_by("document.querySelector('.panel-foot .primary').click(), 0");
        assert!(self.text(".page-title").contains("harbour"), "{}", self.text("main"));
        self.picture("agent-1440-light");
        self.go("/app/fleet/agents?tag=harbour");
        assert!(self.text("#agent-list tbody").contains("harbour"));
    }

    fn a_fleet_server_gets_its_command(&mut self) {
        self.go("/app/fleet/agents/add-fleet-server");
        self.browser
            .leave_by("document.querySelector('main form').requestSubmit(), 0");
        let command = self.text(".command pre");
        for option in [
            "--url=https://",
            "--fleet-server-service-token=AAEAA",
            "--fleet-server-policy=",
            "--fleet-server-es-ca-trusted-fingerprint=",
        ] {
            assert!(command.contains(option), "{option} in {command}");
        }
        self.picture("add-fleet-server-1440-light");
    }

    /// Opened, filled in, saved and closed without a pointer.
    fn a_proxy_is_made_with_the_keyboard_alone(&mut self) {
        self.go("/app/fleet/settings");
        self.browser.evaluate(
            "[...document.querySelectorAll('a.button')].find(link => link.innerText.includes('Add proxy')).focus()",
        );
        self.browser.leave_by("document.activeElement.click(), 0");
        assert_eq!(
            self.browser.evaluate("document.activeElement.name"),
            "name",
            "the first field has the focus"
        );
        self.write("harbour");
        for _ in 0..9 {
            self.press("Tab", 9, "");
            if self.browser.evaluate("document.activeElement.name") == "url" {
                break;
            }
        }
        self.write("http://proxy.example:3128");
        let inside = "document.querySelector('form[data-form]').contains(document.activeElement)";
        for _ in 0..40 {
            self.press("Tab", 9, "");
            assert_eq!(self.browser.evaluate(inside), true, "the focus stays in the flyout");
        }
        self.browser.evaluate("document.querySelector('[name=url]').focus()");
        self.press("Enter", 13, "\r");
        self.wait_for(
            "the toast",
            "document.querySelector('[data-toast]')?.innerText ?? ''",
            "saved",
        );
        assert!(self.text("main").contains("proxy.example:3128"));
        self.go("/app/fleet/settings?flyout=proxy-new");
        self.press("Escape", 27, "");
        self.wait_for(
            "the closed flyout",
            "String(document.querySelector('.flyout') === null)",
            "true",
        );
    }

    fn write(&mut self, text: &str) {
        self.browser.call("Input.insertText", serde_json::json!({"text": text}));
    }

    fn press(&mut self, key: &str, code: u32, text: &str) {
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let event =
                serde_json::json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text});
            self.browser.call("Input.dispatchKeyEvent", event);
        }
    }

    fn agent_revision(&mut self) -> i64 {
        let script = "fetch('/app/fleet/agents').then(answer => answer.text()).then(text => \
            Number(new DOMParser().parseFromString(text, 'text/html').querySelector('#agent-list tbody')?.textContent.match(/rev. (\\d+)/)?.[1] ?? 0))";
        self.browser.evaluate(script).as_i64().unwrap_or_default()
    }

    fn go(&mut self, path: &str) {
        self.browser.go(&format!("{}{path}", self.base));
    }

    fn text(&mut self, selector: &str) -> String {
        let found = self
            .browser
            .evaluate(&format!("document.querySelector('{selector}')?.innerText ?? ''"));
        found.as_str().unwrap_or_default().to_owned()
    }

    fn type_into(&mut self, name: &str, text: &str) {
        let (name, text) = (Value::from(format!("[name=\"{name}\"]")), Value::from(text));
        self.browser.evaluate(&format!(
            "(() => {{ const field = document.querySelector({name}); field.value = {text}; \
             field.dispatchEvent(new Event('change', {{ bubbles: true }})); }})()"
        ));
    }

    fn submit(&mut self, step: &str) {
        self.browser.leave_by(&format!(
            "document.querySelector('button[value={step}]:not([data-back])').click(), 0"
        ));
    }

    fn wait_for(&mut self, what: &str, script: &str, wanted: &str) {
        eventually(what, SOON, || {
            let found = self.browser.evaluate(script);
            found.as_str()?.contains(wanted).then_some(())
        });
    }

    /// At each size and theme: nothing sticks out, nothing is said in the browser's console.
    fn look_at(&mut self, path: &str, name: &str) {
        for (width, height, theme) in SIZES {
            self.browser.resize(width, height);
            self.browser.prefer(theme);
            self.go(path);
            assert_eq!(self.browser.overflow(), "", "{path} at {width}");
            let said = self.browser.messages();
            assert!(said.is_empty(), "{path}: {said:?}");
            self.picture(&format!("{name}-{width}-{theme}"));
        }
        self.browser.resize(1440, 900);
        self.browser.prefer("light");
    }

    fn picture(&mut self, name: &str) {
        let png = self.browser.screenshot();
        fs_err::write(testkit::artefacts("pages").join(format!("{name}.png")), png).unwrap();
    }
}

/// A certificate for that name with its key, signed by a CA of its own.
fn pair(name: &str) -> (String, String) {
    let request = AuthorityRequest {
        key_type: KeyType::EcdsaP256,
        ..AuthorityRequest::default()
    };
    let authority = Authority::generate(request).unwrap();
    let request = LeafRequest {
        common_name: name.into(),
        dns: vec![name.into()],
        key_type: KeyType::EcdsaP256,
        ..LeafRequest::default()
    };
    let identity = authority.issue(request).unwrap();
    let key = certs::write_pem_key(&identity.key, certs::KeyFormat::Pkcs8).unwrap();
    (
        certs::write_pem_certificates(&identity.chain[..1]),
        key.expose().to_owned(),
    )
}
