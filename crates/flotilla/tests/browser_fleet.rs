//! Fleet in a real browser: what people do on its pages, from a fresh store to what the local agent gets.
//!
//! Pictures are kept in `artefacts/pages`.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use pki::{Authority, AuthorityRequest, KeyType, LeafRequest};
use serde_json::{Value, json};
use testkit::{Browser, Flotilla, eventually};

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");
const SOON: Duration = Duration::from_mins(1);
#[test]
fn a_fleet_is_run_from_its_pages() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let flotilla = Flotilla::start(FLOTILLA, &[]);
    let mut user = User {
        browser,
        flotilla: &flotilla,
    };
    user.log_in();
    user.every_tls_field_is_there_with_its_labels();
    user.a_wrong_pair_is_refused_with_its_field();
    user.a_p12_is_read_with_its_password();
    user.an_output_reaches_the_agent();
    user.an_output_is_made_and_deleted();
    user.a_policy_is_copied_changed_and_deleted();
    user.an_integration_is_added_and_removed();
    user.an_agent_gets_a_tag();
    user.the_local_agent_is_led();
    user.a_fleet_server_gets_its_command();
    user.a_proxy_is_made_with_the_keyboard_alone();
    user.browser.step("the end");
}

/// Somebody in front of the browser.
struct User<'a> {
    browser: Browser,
    flotilla: &'a Flotilla,
}

/// The TLS fields of a Fleet Server host: name, newest label, label of older consoles. Source: fleet-ui, section 4.1.
const HOST_FIELDS: [(&str, &str, &str); 10] = [
    (
        "certificate_authorities",
        "Elastic Agents certificate authorities",
        "Server SSL certificate authorities",
    ),
    ("certificate", "SSL server certificate", "Client SSL certificate"),
    ("key", "SSL server private key", "Client SSL certificate key"),
    (
        "es_certificate_authorities",
        "Elasticsearch certificate authorities",
        "Elasticsearch certificate authorities",
    ),
    (
        "es_certificate",
        "SSL client certificate for Elasticsearch",
        "SSL certificate for Elasticsearch",
    ),
    (
        "es_key",
        "SSL private key for Elasticsearch",
        "SSL certificate key for Elasticsearch",
    ),
    (
        "agent_certificate_authorities",
        "Fleet Server certificate authorities",
        "",
    ),
    ("agent_certificate", "SSL client certificate for Fleet Server", ""),
    ("agent_key", "SSL private key for Fleet Server", ""),
    ("client_auth", "Client auth", "Enable client authentication"),
];

impl User<'_> {
    fn log_in(&mut self) {
        self.browser.visit(&self.flotilla.text("/urls/console"));
        self.browser.open("/app/fleet/settings");
        self.browser.log_in("elastic", &self.flotilla.text("/password"));
        assert_eq!(self.browser.address(), "/app/fleet/settings");
    }

    fn every_tls_field_is_there_with_its_labels(&mut self) {
        self.browser.step("TLS fields of a Fleet Server host");
        self.browser
            .open("/app/fleet/settings?flyout=host-fleet-default-fleet-server-host");
        for (field, label, older) in HOST_FIELDS {
            let of_field = self.browser.evaluate(&format!(
                "document.querySelector('[name=\"ssl.{field}\"]')?.closest('.field').innerText ?? ''"
            ));
            let of_field = of_field.as_str().unwrap();
            assert!(of_field.contains(label), "ssl.{field}: {label} in {of_field}");
            assert!(of_field.contains(older), "ssl.{field}: {older} in {of_field}");
        }
    }

    /// Before it is saved, as soon as the field is left.
    fn a_wrong_pair_is_refused_with_its_field(&mut self) {
        self.browser.step("a wrong pair");
        let (certificate, _) = pair("fleet.example");
        let (_, foreign_key) = pair("other.example");
        self.browser
            .open("/app/fleet/settings?flyout=host-fleet-default-fleet-server-host");
        self.type_into("ssl.certificate", &certificate);
        self.type_into("ssl.key", &foreign_key);
        self.browser.until(
            "the card of the certificate",
            "document.querySelector('#about-ssl-certificate').innerText.includes('fleet.example')",
        );
        self.browser.until(
            "the verdict on the key",
            "document.querySelector('#about-ssl-key').innerText.includes('does not belong')",
        );
        self.browser
            .evaluate("document.querySelector('#about-ssl-key').scrollIntoView({ block: 'center' })");
        self.browser.picture("settings-host-wrong-1440-light");
        self.browser.forget_changes();
    }

    fn a_p12_is_read_with_its_password(&mut self) {
        self.browser.step("a p12");
        self.browser
            .open("/app/fleet/settings?flyout=output-fleet-default-output");
        let identity = identity("agent.example");
        let entry = certs::P12Identity {
            alias: "agent",
            key: &identity.key,
            chain: &identity.chain,
            created: clock::system().now(),
        };
        let file = certs::write_p12(Some(&entry), &[], &"secret".into()).unwrap();
        let bytes = Value::from(file);
        self.browser.evaluate(&format!(
            "{{ const files = new DataTransfer(); files.items.add(new File([new Uint8Array({bytes})], 'agent.p12')); \
             document.querySelector('[name=\"ssl.certificate.passphrase\"]').value = 'secret'; \
             const chooser = document.querySelector('[name=\"ssl.certificate.file\"]'); chooser.files = files.files; \
             chooser.dispatchEvent(new Event('change', {{ bubbles: true }})); 0 }}"
        ));
        self.browser.until(
            "the card of the certificate",
            "document.querySelector('#about-ssl-certificate').innerText.includes('agent.example')",
        );
        self.browser
            .evaluate("document.querySelector('#about-ssl-certificate').scrollIntoView({ block: 'center' })");
        self.browser.picture("settings-output-p12-1440-light");
        self.browser.forget_changes();
    }

    /// A TLS field of the default output: saved, asked about, and in the next revision of the local agent's policy.
    fn an_output_reaches_the_agent(&mut self) {
        self.browser.step("an output that reaches the agent");
        let before = self.local_agent()["policy_revision"].as_i64();
        self.browser
            .open("/app/fleet/settings?flyout=output-fleet-default-output");
        let save = "document.querySelector('button[value=save]').disabled";
        assert_eq!(self.browser.evaluate(save), true, "what is unchanged cannot be saved");
        self.type_into("ssl.verification_mode", "certificate");
        assert_eq!(self.browser.evaluate(save), false);
        self.browser.follow("button[value=save]");
        let question = self.browser.text("[data-asks]");
        assert!(question.contains("new revision"), "{question}");
        self.browser.picture("settings-output-asks-1440-light");
        self.browser.follow("button[value=deploy]");
        assert_eq!(self.browser.toast(), "Output saved");
        eventually("the agent with a newer revision", SOON, || {
            (self.local_agent()["policy_revision"].as_i64() > before).then_some(())
        });
        self.browser.open("/app/fleet/policies/default-policy?tab=yaml");
        self.sees("main", "verification_mode: certificate");
    }

    fn an_output_is_made_and_deleted(&mut self) {
        self.browser.step("an output made and deleted");
        self.browser.open("/app/fleet/settings?flyout=output-new&type=logstash");
        let (certificate, key) = pair("agent.example");
        self.type_into("name", "archive");
        self.type_into("hosts", "logstash.example:5044");
        self.type_into("ssl.certificate", &certificate);
        self.type_into("ssl.key", &key);
        self.browser.follow("button[value=save]");
        if self.browser.evaluate("document.querySelector('[data-asks]') !== null") == true {
            self.browser.follow("button[value=deploy]");
        }
        self.sees("main", "logstash.example:5044");
        self.browser
            .leave_by("[...document.querySelectorAll('a')].find(a => a.textContent === 'archive').click()");
        // The key is stored: nothing of it comes back.
        let key_line = key.lines().nth(1).unwrap();
        let html = self.browser.evaluate("document.documentElement.innerHTML");
        assert!(!html.as_str().unwrap().contains(key_line));
        self.sees(".secret", "Nobody can read it back");
        self.browser.follow(".flyout .actions a");
        self.browser.follow("[aria-label='Delete archive']");
        self.browser.picture("settings-output-delete-1440-light");
        self.browser.follow(".modal .danger");
        assert_eq!(self.browser.toast(), "Output deleted");
        assert!(!self.browser.text("main").contains("archive"));
    }

    fn a_policy_is_copied_changed_and_deleted(&mut self) {
        self.browser.step("a policy copied, changed and deleted");
        self.browser.open("/app/fleet/policies/default-policy?tab=settings");
        self.browser.fill("#copy-name", "edge");
        self.browser.follow("form[action$='/copy'] button");
        assert_eq!(self.browser.text("h1"), "edge");
        let path = self.browser.evaluate("location.pathname");
        let path = path.as_str().unwrap().to_owned();
        self.browser.open(&format!("{path}?tab=settings"));
        self.type_into("namespace", "Not Allowed");
        self.browser.follow(".panel-foot .primary");
        self.sees("#about-namespace", "lowercase");
        self.type_into("namespace", "edge");
        self.browser.follow(".panel-foot .primary");
        self.browser.open(&format!("{path}?tab=yaml"));
        self.sees("main", "namespace: edge");
        self.browser.open(&format!("{path}?tab=settings"));
        self.browser.click("form[action$='/delete'] button");
        self.browser.picture("policy-delete-1440-light");
        self.browser.follow("#delete-policy button[value=confirm]");
        assert_eq!(self.browser.toast(), "The agent policy was deleted.");
    }

    /// The agent gets it, and loses it again.
    fn an_integration_is_added_and_removed(&mut self) {
        self.browser.step("an integration added and removed");
        let before = self.local_agent()["policy_revision"].as_i64();
        self.browser.open("/app/fleet/policies/default-policy");
        self.browser.fill("#package", "system");
        self.browser
            .leave_by("document.querySelector('#package').form.requestSubmit()");
        self.browser.picture("integration-1440-light");
        self.type_into("name", "more of the system");
        self.browser.follow(".panel-foot .primary");
        self.sees("main", "more of the system");
        eventually("the agent with the integration", SOON, || {
            (self.local_agent()["policy_revision"].as_i64() > before).then_some(())
        });
        self.browser
            .leave_by("[...document.querySelectorAll('a')].find(a => a.textContent === 'more of the system').click()");
        self.browser.click("form[action$='/delete'] button");
        self.browser.follow("#remove button[value=confirm]");
        assert!(!self.browser.text("main").contains("more of the system"));
    }

    fn an_agent_gets_a_tag(&mut self) {
        self.browser.step("a tag");
        self.browser.open("/app/fleet/agents");
        self.browser.click("[data-select]");
        assert_eq!(self.browser.text("[data-bulk-count]"), "1");
        self.browser.picture("agents-selected-1440-light");
        self.browser.follow("#bulk [value=tags]");
        self.type_into("add", "harbour");
        self.browser.picture("agents-tags-1440-light");
        self.browser.follow(".panel-foot .primary");
        self.sees(".page-title", "harbour");
        self.browser.picture("agent-1440-light");
        self.browser.open("/app/fleet/agents?tag=harbour");
        self.sees("#agent-list tbody", "harbour");
    }

    /// The agent of `up` itself: another policy and back, and what it says about itself as a file.
    fn the_local_agent_is_led(&mut self) {
        self.browser.step("the local agent in another policy");
        let id = self.local_agent()["id"].as_str().unwrap().to_owned();
        self.browser.open("/app/fleet/policies");
        self.browser.fill("#name", "Quay");
        self.browser.follow("#create button.primary");
        let quay = self.browser.evaluate("location.pathname.split('/').pop()");
        for policy in [quay.as_str().unwrap(), "default-policy"] {
            self.browser
                .open(&format!("/app/fleet/agents/actions?action=reassign&agent={id}"));
            self.browser.fill("#policy_id", policy);
            self.browser.follow(".panel-foot .primary");
            eventually("the local agent with its policy", SOON, || {
                let agent = self.local_agent();
                let is_there = agent["policy_id"] == policy && agent["policy_revision"].as_i64()? > 0;
                (is_there && agent["status"] == "online").then_some(())
            });
        }
        self.browser.step("diagnostics of the local agent");
        self.browser.open(&format!("/app/fleet/agents/{id}/diagnostics"));
        self.browser.follow("#diagnostics .panel-head .button");
        self.browser.follow(".panel-foot .primary");
        self.browser
            .until("the zip", "document.querySelector('#diagnostics a[download]') !== null");
        let zip = self.browser.download("#diagnostics a[download]");
        assert_eq!(&zip[..2], b"PK", "it is a zip");
        self.browser.click("#diagnostics form[action$='/delete'] button");
        self.browser.follow("#delete-zip button[value=confirm]");
        self.sees("#diagnostics", "Deleted");
    }

    fn a_fleet_server_gets_its_command(&mut self) {
        self.browser.step("the command of a Fleet Server");
        self.browser.open("/app/fleet/agents/add-fleet-server");
        self.browser
            .leave_by("document.querySelector('main form').requestSubmit()");
        let command = self.browser.evaluate(
            "[...document.querySelectorAll('.command pre')].map(command => command.textContent).find(text => text.includes('install'))",
        );
        let command = command.as_str().unwrap();
        for option in [
            "tar xzvf",
            "--url=https://",
            "--fleet-server-service-token=AAEAA",
            "--fleet-server-policy=",
            "--fleet-server-es-ca-trusted-fingerprint=",
            "--certificate-authorities=/etc/fleet-ca.crt",
        ] {
            assert!(command.contains(option), "{option} in {command}");
        }
        self.sees(".command pre", "BEGIN CERTIFICATE");
        self.browser.picture("add-fleet-server-1440-light");
    }

    /// Opened, filled in, saved and closed without a pointer.
    fn a_proxy_is_made_with_the_keyboard_alone(&mut self) {
        self.browser.step("a proxy by keyboard");
        self.browser.open("/app/fleet/settings");
        self.browser.evaluate(
            "[...document.querySelectorAll('a.button')].find(link => link.innerText.includes('Add proxy')).focus()",
        );
        self.browser.leave_by("document.activeElement.click()");
        self.browser
            .until("the focus in the first field", "document.activeElement.name === 'name'");
        self.browser.write("harbour");
        for _ in 0..9 {
            self.browser.press("Tab");
            if self.browser.evaluate("document.activeElement.name") == "url" {
                break;
            }
        }
        self.browser.write("http://proxy.example:3128");
        let inside = "document.querySelector('form[data-form]').contains(document.activeElement)";
        for _ in 0..40 {
            self.browser.press("Tab");
            assert_eq!(self.browser.evaluate(inside), true, "the focus stays in the flyout");
        }
        self.browser.evaluate("document.querySelector('[name=url]').focus()");
        self.browser.press("Enter");
        self.browser.until(
            "what was said when it was saved",
            "window.toastOfThisPage.includes('saved') && document.querySelector('main').innerText.includes('proxy.example:3128')",
        );
        self.browser.open("/app/fleet/settings?flyout=proxy-new");
        self.browser.press("Escape");
        self.browser.until(
            "the closed flyout",
            "location.search === '' && document.querySelector('.flyout') === null && document.readyState === 'complete'",
        );
    }

    /// As the API shows the only agent.
    fn local_agent(&self) -> Value {
        self.flotilla.console().get("/api/fleet/agents")["items"][0].clone()
    }

    #[track_caller]
    fn sees(&mut self, selector: &str, expected: &str) {
        let shown = self.browser.text(selector);
        assert!(shown.contains(expected), "{expected} in {selector}: {shown}");
    }

    fn type_into(&mut self, name: &str, text: &str) {
        self.browser.fill(&format!("[name={}]", json!(name)), text);
    }
}

/// A certificate for that name with its key, as PEM.
fn pair(name: &str) -> (String, String) {
    let identity = identity(name);
    let key = certs::write_pem_key(&identity.key, certs::KeyFormat::Pkcs8).unwrap();
    (
        certs::write_pem_certificates(&identity.chain[..1]),
        key.expose().to_owned(),
    )
}

/// A certificate for that name with its key, signed by a CA of its own.
fn identity(name: &str) -> certs::Identity {
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
    authority.issue(request).unwrap()
}
