//! The pages without script, in a real browser that runs none: everything can be read, searched, filtered and sorted by links
//! and forms, forms save, and what hurts asks on a page of its own.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Browser, Flotilla, eventually};

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");
const SOON: Duration = Duration::from_mins(1);

#[test]
fn everything_that_is_simple_works_without_script() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let flotilla = Flotilla::start(FLOTILLA, &[]);
    let mut user = User {
        browser,
        flotilla: &flotilla,
    };
    user.log_in();
    user.what_needs_script_is_not_shown();
    user.agents_are_found_by_form_and_link();
    user.lists_are_sorted_by_their_heads();
    user.an_agent_gets_a_tag_from_the_list();
    user.a_token_is_made_and_revoked_after_a_question();
    user.a_policy_is_made_and_deleted_after_a_question();
    user.settings_are_checked_asked_about_and_saved();
    user.documents_are_searched_and_opened();
    user.a_connection_is_tested();
    user.the_command_for_a_host_is_chosen();
    user.the_session_ends();
}

struct User<'a> {
    browser: Browser,
    flotilla: &'a Flotilla,
}

impl User<'_> {
    fn log_in(&mut self) {
        self.browser.run_scripts(false);
        self.browser.visit(&self.flotilla.text("/urls/console"));
        self.browser.open("/app/fleet/agents");
        self.browser.log_in("elastic", &self.flotilla.text("/password"));
        assert_eq!(self.browser.address(), "/app/fleet/agents");
        let ran = self
            .browser
            .evaluate("document.documentElement.classList.contains('scripted')");
        assert_eq!(ran, false, "no script of the page has run");
        eventually("the local agent and its first lines", SOON, || {
            let agents = self.flotilla.console().get("/api/fleet/agents");
            let streams = self.flotilla.console().get("/api/fleet/data_streams").to_string();
            (agents["items"][0]["status"] == "online" && streams.contains("logs-elastic_agent")).then_some(())
        });
    }

    fn what_needs_script_is_not_shown(&mut self) {
        self.browser.step("what needs script");
        let shown = "[...document.querySelectorAll('[data-copy], [data-add-row], [data-find], [data-live-state]')]\
            .filter(element => element.checkVisibility()).map(element => element.outerHTML).join()";
        for path in [
            "/app/fleet/agents",
            "/app/fleet/agents/add",
            "/app/explore",
            "/app/fleet/settings?flyout=host-new",
        ] {
            self.browser.open(path);
            assert_eq!(self.browser.evaluate(shown), "", "{path}");
            assert_eq!(self.browser.overflow(), "", "{path}");
        }
    }

    fn agents_are_found_by_form_and_link(&mut self) {
        self.browser.step("finding agents");
        self.browser.open("/app/fleet/agents");
        self.browser.fill("#q", "policy_id : nothing");
        self.send("main form[role=search]");
        self.sees("#agent-list", "No agent matches");
        self.follow_text("Clear filters");
        self.browser.fill("#q", "status:(");
        self.send("main form[role=search]");
        assert_eq!(
            self.browser.evaluate("document.querySelector('#q').ariaInvalid"),
            "true"
        );
        self.browser.open("/app/fleet/agents");
        self.browser.click(".picker summary");
        self.browser.click(".picks [value=online]");
        self.browser.follow(".picks button");
        assert!(self.browser.address().contains("status=online"));
        self.sees("#agent-list tbody", "Healthy");
        self.browser.picture("without-script-agents-1440-light");
    }

    fn lists_are_sorted_by_their_heads(&mut self) {
        self.browser.step("sorting");
        for (path, head) in [
            ("/app/fleet/agents", "Host"),
            ("/app/fleet/policies", "Name"),
            ("/app/fleet/enrollment-tokens", "Agent policy"),
            ("/app/fleet/uninstall-tokens", "Policy name"),
            ("/app/fleet/packages", "Name"),
            ("/app/fleet/data-streams", "Dataset"),
            ("/app/trust/certificates", "Certificate"),
            ("/app/hosts", "Host"),
        ] {
            self.browser.open(path);
            let sorted = format!("document.querySelector('th[aria-sort]')?.innerText === {}", json!(head));
            if self.browser.evaluate(&sorted) == false {
                let link = format!(
                    "[...document.querySelectorAll('th a')].find(link => link.innerText === {})",
                    json!(head)
                );
                self.browser.leave_by(&format!("{link}.click()"));
            }
            assert_eq!(self.browser.evaluate(&sorted), true, "{path} by {head}");
        }
        // The order of the rows follows, both ways.
        let names = "[...document.querySelectorAll('tbody .name a')].map(link => link.innerText)";
        self.browser.open("/app/fleet/policies?sort=name");
        assert_eq!(
            self.browser.evaluate(names),
            json!(["Default policy", "Fleet Server policy"])
        );
        self.browser.follow("th[aria-sort=ascending] a");
        assert_eq!(
            self.browser.evaluate(names),
            json!(["Fleet Server policy", "Default policy"])
        );
    }

    fn an_agent_gets_a_tag_from_the_list(&mut self) {
        self.browser.step("a tag");
        self.browser.open("/app/fleet/agents");
        self.browser.click("[data-select]");
        self.browser.follow("#bulk [value=tags]");
        self.browser.fill("#add", "quiet");
        self.browser.follow(".panel-foot .primary");
        self.sees(".page-title", "quiet");
    }

    fn a_token_is_made_and_revoked_after_a_question(&mut self) {
        self.browser.step("a token");
        self.browser.open("/app/fleet/enrollment-tokens");
        self.browser.fill("#name", "for today");
        self.browser.fill("#use_limit", "3");
        self.browser.follow("#create .primary");
        self.browser.open("/app/fleet/enrollment-tokens?q=for%20today");
        self.sees("tbody", "0 of 3");
        // A secret is there, but hidden until it is asked for.
        assert_eq!(self.browser.text("tbody code"), "");
        self.browser.click("tbody summary");
        assert!(self.browser.text("tbody code").len() > 20);
        self.browser.follow("form[action$='/revoke'] button");
        self.sees("h1", "Revoke this token?");
        self.browser.picture("without-script-revoke-1440-light");
        self.browser.follow("main .plain");
        self.browser.open("/app/fleet/enrollment-tokens?q=for%20today");
        self.sees("tbody", "Active");
        self.browser.follow("form[action$='/revoke'] button");
        self.browser.follow("main .danger");
        self.browser.open("/app/fleet/enrollment-tokens?q=for%20today");
        self.sees("tbody", "Revoked");
    }

    fn a_policy_is_made_and_deleted_after_a_question(&mut self) {
        self.browser.step("a policy");
        self.browser.open("/app/fleet/policies");
        self.browser.fill("#name", "Without script");
        self.browser.follow("#create .primary");
        self.sees("h1", "Without script");
        let path = self.browser.evaluate("location.pathname");
        let path = path.as_str().unwrap().to_owned();
        self.browser.open(&format!("{path}?tab=settings"));
        self.browser.fill("[name=description]", "Read on paper");
        self.browser.follow(".panel-foot .primary");
        self.sees("main .facts", "Read on paper");
        self.browser.open(&format!("{path}?tab=settings"));
        self.browser.follow("form[action$='/delete'] button");
        self.sees("h1", "Delete Without script?");
        self.browser.follow("main .danger");
        assert!(!self.browser.text("tbody").contains("Without script"));
    }

    fn settings_are_checked_asked_about_and_saved(&mut self) {
        self.browser.step("settings");
        self.browser
            .open("/app/fleet/settings?flyout=output-fleet-default-output");
        let before = self
            .browser
            .evaluate("document.querySelector('[name=\"ssl.certificate\"]').value");
        let root = fs_err::read_to_string(self.flotilla.text("/ca/path")).unwrap();
        self.browser.fill("[name='ssl.certificate']", &root);
        self.browser.follow("button[value=check].only-no-script");
        self.sees("#about-ssl-certificate", "Flotilla Root CA");
        self.browser.fill("[name='ssl.certificate']", before.as_str().unwrap());
        self.browser.fill("[name='ssl.verification_mode']", "certificate");
        self.browser.follow("button[value=save]");
        self.sees("[data-asks]", "new revision");
        self.browser.picture("without-script-settings-1440-light");
        self.browser.follow("button[value=deploy]");
        self.sees("[data-toast]", "Output saved");
        let outputs = self.flotilla.console().get("/api/fleet/outputs/fleet-default-output");
        assert_eq!(outputs["item"]["ssl"]["verification_mode"], "certificate");
    }

    fn documents_are_searched_and_opened(&mut self) {
        self.browser.step("documents");
        self.browser.open("/app/explore");
        self.browser.fill("#q", "data_stream.dataset : elastic_agent");
        self.send(".explore-bar");
        self.sees(".documents", "elastic_agent");
        self.browser.follow(".documents [data-row-open]");
        self.sees(".document-fields", "elastic_agent");
        self.browser.follow(".field-list a");
        assert!(
            self.browser
                .evaluate("document.querySelector('.field-list [aria-expanded=true]') !== null")
                == true
        );
        self.browser.picture("without-script-explore-1440-light");
    }

    fn a_connection_is_tested(&mut self) {
        self.browser.step("a connection");
        self.browser.open("/app/trust/map");
        self.browser.follow("#map table tbody a");
        self.browser.follow("#connection form button");
        self.sees("#connection", "Tested");
    }

    fn the_command_for_a_host_is_chosen(&mut self) {
        self.browser.step("a command");
        self.browser.open("/app/fleet/agents/add");
        self.browser.fill("#policy", "fleet-server-policy");
        self.browser.follow("main noscript button");
        assert!(self.browser.address().contains("policy=fleet-server-policy"));
        self.follow_text("Windows");
        let commands = self.browser.evaluate("document.querySelector('.stack').innerText");
        assert!(commands.as_str().unwrap().contains("elastic-agent.exe install"));
    }

    fn the_session_ends(&mut self) {
        self.browser.step("the end");
        self.browser.follow("form[action='/logout'] button");
        self.browser.open("/app/fleet/agents");
        assert!(self.browser.address().starts_with("/login"));
        assert!(self.browser.messages().is_empty());
    }

    #[track_caller]
    fn sees(&mut self, selector: &str, expected: &str) {
        let shown = self.browser.text(selector);
        assert!(shown.contains(expected), "{expected} in {selector}: {shown}");
    }

    /// As Enter in a field does.
    fn send(&mut self, form: &str) {
        self.browser
            .leave_by(&format!("document.querySelector({}).requestSubmit()", json!(form)));
    }

    fn follow_text(&mut self, text: &str) {
        let links = "[...document.querySelectorAll('main a')]";
        let text = Value::from(text);
        self.browser.leave_by(&format!(
            "{links}.find(link => link.innerText.trim() === {text}).click()"
        ));
    }
}
