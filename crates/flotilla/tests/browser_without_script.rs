//! The pages without script, in a real browser that runs none: everything can be read, searched, filtered and sorted by links
//! and forms, forms save, and what hurts asks on a page of its own.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use serde_json::json;
use testkit::{Browser, Flotilla, User, eventually};

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");
const SOON: Duration = Duration::from_mins(1);

#[test]
fn everything_that_is_simple_works_without_script() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let flotilla = Flotilla::start(FLOTILLA, &[]);
    browser.run_scripts(false);
    let mut user = User::log_in(browser, &flotilla, "/app/fleet/agents");
    no_script_has_run(&mut user);
    what_needs_script_is_not_shown(&mut user);
    agents_are_found_by_form_and_link(&mut user);
    lists_are_sorted_by_their_heads(&mut user);
    an_agent_gets_a_tag_from_the_list(&mut user);
    a_token_is_made_and_revoked_after_a_question(&mut user);
    a_policy_is_made_and_deleted_after_a_question(&mut user);
    settings_are_checked_asked_about_and_saved(&mut user);
    documents_are_searched_and_opened(&mut user);
    a_connection_is_tested(&mut user);
    the_command_for_a_host_is_chosen(&mut user);
    the_session_ends(&mut user);
}

fn no_script_has_run(user: &mut User<'_>) {
    let ran = user
        .browser
        .evaluate("document.documentElement.classList.contains('scripted')");
    assert_eq!(ran, false, "no script of the page has run");
    eventually("the local agent and its first lines", SOON, || {
        let agents = user.flotilla.console().get("/api/fleet/agents");
        let streams = user.flotilla.console().get("/api/fleet/data_streams").to_string();
        (agents["items"][0]["status"] == "online" && streams.contains("logs-elastic_agent")).then_some(())
    });
}

fn what_needs_script_is_not_shown(user: &mut User<'_>) {
    user.browser.step("what needs script");
    let shown = "[...document.querySelectorAll('[data-copy], [data-add-row], [data-find], [data-live-state]')]\
        .filter(element => element.checkVisibility()).map(element => element.outerHTML).join()";
    for path in [
        "/app/fleet/agents",
        "/app/fleet/agents/add",
        "/app/explore",
        "/app/fleet/settings?flyout=host-new",
    ] {
        user.browser.open(path);
        assert_eq!(user.browser.evaluate(shown), "", "{path}");
        assert_eq!(user.browser.overflow(), "", "{path}");
    }
}

fn agents_are_found_by_form_and_link(user: &mut User<'_>) {
    user.browser.step("finding agents");
    user.browser.open("/app/fleet/agents");
    user.browser.fill("#q", "policy_id : nothing");
    user.browser.submit("main form[role=search]");
    user.browser.sees("#agent-list", "No agent matches");
    user.browser.follow_text("Clear filters");
    user.browser.fill("#q", "status:(");
    user.browser.submit("main form[role=search]");
    assert_eq!(
        user.browser.evaluate("document.querySelector('#q').ariaInvalid"),
        "true"
    );
    user.browser.open("/app/fleet/agents");
    user.browser.click(".picker summary");
    user.browser.click(".picks [value=online]");
    user.browser.follow(".picks button");
    assert!(user.browser.address().contains("status=online"));
    user.browser.sees("#agent-list tbody", "Healthy");
    user.browser.picture("without-script-agents-1440-light");
}

fn lists_are_sorted_by_their_heads(user: &mut User<'_>) {
    user.browser.step("sorting");
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
        user.browser.open(path);
        let sorted = format!("document.querySelector('th[aria-sort]')?.innerText === {}", json!(head));
        if user.browser.evaluate(&sorted) == false {
            let link = format!(
                "[...document.querySelectorAll('th a')].find(link => link.innerText === {})",
                json!(head)
            );
            user.browser.leave_by(&format!("{link}.click()"));
        }
        assert_eq!(user.browser.evaluate(&sorted), true, "{path} by {head}");
    }
    // The order of the rows follows, both ways.
    let names = "[...document.querySelectorAll('tbody .name a')].map(link => link.innerText)";
    user.browser.open("/app/fleet/policies?sort=name");
    assert_eq!(
        user.browser.evaluate(names),
        json!(["Default policy", "Fleet Server policy"])
    );
    user.browser.follow("th[aria-sort=ascending] a");
    assert_eq!(
        user.browser.evaluate(names),
        json!(["Fleet Server policy", "Default policy"])
    );
}

fn an_agent_gets_a_tag_from_the_list(user: &mut User<'_>) {
    user.browser.step("a tag");
    user.browser.open("/app/fleet/agents");
    user.browser.click("[data-select]");
    user.browser.follow("#bulk [value=tags]");
    user.browser.fill("#add", "quiet");
    user.browser.follow(".panel-foot .primary");
    user.browser.sees(".page-title", "quiet");
}

fn a_token_is_made_and_revoked_after_a_question(user: &mut User<'_>) {
    user.browser.step("a token");
    user.browser.open("/app/fleet/enrollment-tokens");
    user.browser.fill("#name", "for today");
    user.browser.fill("#use_limit", "3");
    user.browser.follow("#create .primary");
    user.browser.open("/app/fleet/enrollment-tokens?q=for%20today");
    user.browser.sees("tbody", "0 of 3");
    // A secret is there, but hidden until it is asked for.
    assert_eq!(user.browser.text("tbody code"), "");
    user.browser.click("tbody summary");
    assert!(user.browser.text("tbody code").len() > 20);
    user.browser.follow("form[action$='/revoke'] button");
    user.browser.sees("h1", "Revoke this token?");
    user.browser.picture("without-script-revoke-1440-light");
    user.browser.follow("main .plain");
    user.browser.open("/app/fleet/enrollment-tokens?q=for%20today");
    user.browser.sees("tbody", "Active");
    user.browser.follow("form[action$='/revoke'] button");
    user.browser.follow("main .danger");
    user.browser.open("/app/fleet/enrollment-tokens?q=for%20today");
    user.browser.sees("tbody", "Revoked");
}

fn a_policy_is_made_and_deleted_after_a_question(user: &mut User<'_>) {
    user.browser.step("a policy");
    user.browser.open("/app/fleet/policies");
    user.browser.fill("#name", "Without script");
    user.browser.follow("#create .primary");
    user.browser.sees("h1", "Without script");
    let path = user.browser.evaluate("location.pathname");
    let path = path.as_str().unwrap().to_owned();
    user.browser.open(&format!("{path}?tab=settings"));
    user.browser.type_into("description", "Read on paper");
    user.browser.follow(".panel-foot .primary");
    user.browser.sees("main .facts", "Read on paper");
    user.browser.open(&format!("{path}?tab=settings"));
    user.browser.follow("form[action$='/delete'] button");
    user.browser.sees("h1", "Delete Without script?");
    user.browser.follow("main .danger");
    assert!(!user.browser.text("tbody").contains("Without script"));
}

fn settings_are_checked_asked_about_and_saved(user: &mut User<'_>) {
    user.browser.step("settings");
    user.browser
        .open("/app/fleet/settings?flyout=output-fleet-default-output");
    let before = user
        .browser
        .evaluate("document.querySelector('[name=\"ssl.certificate\"]').value");
    let root = fs_err::read_to_string(user.flotilla.text("/ca/path")).unwrap();
    user.browser.fill("[name='ssl.certificate']", &root);
    user.browser.follow("button[value=check].only-no-script");
    user.browser.sees("#about-ssl-certificate", "Flotilla Root CA");
    user.browser.fill("[name='ssl.certificate']", before.as_str().unwrap());
    user.browser.fill("[name='ssl.verification_mode']", "certificate");
    user.browser.follow("button[value=save]");
    user.browser.sees("[data-asks]", "new revision");
    user.browser.picture("without-script-settings-1440-light");
    user.browser.follow("button[value=deploy]");
    user.browser.sees("[data-toast]", "Output saved");
    let outputs = user.flotilla.console().get("/api/fleet/outputs/fleet-default-output");
    assert_eq!(outputs["item"]["ssl"]["verification_mode"], "certificate");
}

fn documents_are_searched_and_opened(user: &mut User<'_>) {
    user.browser.step("documents");
    user.browser.open("/app/explore");
    user.browser.fill("#q", "data_stream.dataset : elastic_agent");
    user.browser.submit(".explore-bar");
    user.browser.sees(".documents", "elastic_agent");
    user.browser.follow(".documents [data-row-open]");
    user.browser.sees(".document-fields", "elastic_agent");
    user.browser.follow(".field-list a");
    assert!(
        user.browser
            .evaluate("document.querySelector('.field-list [aria-expanded=true]') !== null")
            == true
    );
    user.browser.picture("without-script-explore-1440-light");
}

fn a_connection_is_tested(user: &mut User<'_>) {
    user.browser.step("a connection");
    user.browser.open("/app/trust/map");
    user.browser.follow("#map table tbody a");
    user.browser.follow("#connection form button");
    user.browser.sees("#connection", "Tested");
}

fn the_command_for_a_host_is_chosen(user: &mut User<'_>) {
    user.browser.step("a command");
    user.browser.open("/app/fleet/agents/add");
    user.browser.fill("#policy", "fleet-server-policy");
    user.browser.follow("main noscript button");
    assert!(user.browser.address().contains("policy=fleet-server-policy"));
    user.browser.follow_text("Windows");
    let commands = user.browser.evaluate("document.querySelector('.stack').innerText");
    assert!(commands.as_str().unwrap().contains("elastic-agent.exe install"));
}

fn the_session_ends(user: &mut User<'_>) {
    user.browser.step("the end");
    user.browser.follow("form[action='/logout'] button");
    user.browser.open("/app/fleet/agents");
    assert!(user.browser.address().starts_with("/login"));
    assert!(user.browser.messages().is_empty());
}
