//! What a fleet does, seen in a real browser: search, hosts, the TLS map, certificates, the audit log, live parts.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use serde_json::Value;
use testkit::{Browser, Flotilla, eventually};

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");
const SOON: Duration = Duration::from_mins(1);

#[test]
fn people_see_what_their_fleet_does() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let flotilla = Flotilla::start(FLOTILLA, &[]);
    let site = Site {
        base: flotilla.text("/urls/console"),
    };
    log_in(&mut browser, &site, &flotilla.text("/password"));
    ship(&flotilla);
    measurements_arrive(&mut browser, &site);
    a_search_is_narrowed_and_opened(&mut browser, &site);
    a_mistake_is_told_where_it_is(&mut browser, &site);
    the_search_bar_suggests(&mut browser, &site);
    a_search_is_saved_and_found_again(&mut browser, &site);
    older_documents_are_a_page_away(&mut browser, &site);
    new_documents_come_by_themselves(&mut browser, &site, &flotilla);
    a_host_is_shown_over_time(&mut browser, &site);
    a_connection_is_tried_on_the_map(&mut browser, &site);
    certificates_are_listed(&mut browser, &site);
    changes_are_in_the_audit_log(&mut browser, &site);
    the_keyboard_leads_everywhere(&mut browser, &site);
}

struct Site {
    base: String,
}

impl Site {
    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

fn log_in(browser: &mut Browser, site: &Site, password: &str) {
    browser.resize(1440, 900);
    browser.go(&site.url("/login"));
    browser.log_in("elastic", password);
}

/// Lines of a log, as an agent of another make would ship them: more than a page has rows.
fn ship(flotilla: &Flotilla) {
    let line = |number: usize| {
        let level = if number.is_multiple_of(10) { "error" } else { "info" };
        format!(
            "{{\"create\":{{}}}}\n{{\"@timestamp\":\"{}\",\"message\":\"connection {number} refused\",\"log\":{{\"level\":\"{level}\"}},\
             \"host\":{{\"name\":\"harbour-1\"}}}}\n",
            now()
        )
    };
    let lines: String = (0..120).map(line).collect();
    flotilla
        .elasticsearch()
        .bulk(&lines.replace("{\"create\":{}}", "{\"create\":{\"_index\":\"logs-harbour-default\"}}"));
}

fn now() -> String {
    clock::rfc3339_millis(clock::system().now())
}

fn text(browser: &mut Browser, selector: &str) -> String {
    let selector = Value::from(selector);
    let found = browser.evaluate(&format!("document.querySelector({selector})?.innerText ?? ''"));
    found.as_str().unwrap_or_default().to_owned()
}

/// Waits without a reload until `script` is true.
fn until(browser: &mut Browser, what: &str, script: &str) {
    eventually(what, SOON, || (browser.evaluate(script) == true).then_some(()));
}

fn silent(browser: &mut Browser, where_from: &str) {
    let said = browser.messages();
    assert!(said.is_empty(), "{where_from}: {said:?}");
}

fn measurements_arrive(browser: &mut Browser, site: &Site) {
    browser.go(&site.url("/app/hosts"));
    until(
        browser,
        "a host with a curve of its processor, in the open page",
        "[...document.querySelectorAll('#host-list tbody tr')].some(row => row.innerText.includes('%') && row.querySelector('.spark .line').getAttribute('d') !== '')",
    );
    silent(browser, "hosts");
}

fn a_search_is_narrowed_and_opened(browser: &mut Browser, site: &Site) {
    browser.go(&site.url("/app/explore?q=message%20%3A%20refused"));
    assert_eq!(text(browser, "#explore h2"), "120 documents");
    assert!(text(browser, ".documents mark").eq_ignore_ascii_case("refused"));
    assert!(
        text(browser, ".panel-head .legend").contains("error 12"),
        "the histogram knows the levels"
    );
    browser.evaluate("window.same = true; [...document.querySelectorAll('.field-list a')].find(field => field.textContent.includes('log.level')).click()");
    until(
        browser,
        "the top values",
        "document.querySelectorAll('.top-values > li').length === 2",
    );
    assert!(text(browser, ".top-values").contains("90%"));
    browser.evaluate("[...document.querySelectorAll('.top-value')].find(value => value.textContent.includes('error')).querySelector('a').click()");
    until(
        browser,
        "only the errors",
        "document.querySelector('#explore h2')?.innerText === '12 documents'",
    );
    assert_eq!(text(browser, ".chip code"), "log.level : error");
    browser.evaluate("document.querySelector('.documents [data-row-open]').click()");
    until(
        browser,
        "an opened document",
        "document.querySelector('.document-fields') !== null",
    );
    assert!(text(browser, ".document-fields").contains("harbour-1"));
    let address = browser.evaluate("location.href").as_str().unwrap().to_owned();
    assert!(
        address.contains("open=") && address.contains("f=log.level"),
        "{address}"
    );
    assert_eq!(browser.evaluate("window.same === true"), true, "nothing was reloaded");
    browser.go(&address);
    assert!(
        text(browser, ".document-fields").contains("harbour-1"),
        "the URL holds it all"
    );
    silent(browser, "explore");
}

fn a_mistake_is_told_where_it_is(browser: &mut Browser, site: &Site) {
    browser.go(&site.url("/app/explore"));
    browser.fill("#q", "host.name : \"web");
    browser.evaluate("document.querySelector('.explore-bar').requestSubmit()");
    until(
        browser,
        "the error",
        "document.querySelector('#q-wrong [role=alert]') !== null",
    );
    assert!(text(browser, "#q-wrong").contains("quotes do not close, at column"));
    assert_eq!(
        browser.evaluate("document.querySelector('#q').getAttribute('aria-invalid')"),
        "true"
    );
    silent(browser, "a mistake");
}

fn the_search_bar_suggests(browser: &mut Browser, site: &Site) {
    browser.go(&site.url("/app/explore"));
    let write = |text: &str| {
        format!(
            "{{ const field = document.querySelector('#q'); field.focus(); field.value = {}; \
             field.dispatchEvent(new Event('input', {{ bubbles: true }})); 0 }}",
            Value::from(text)
        )
    };
    browser.evaluate(&write("log.le"));
    until(
        browser,
        "a field",
        "document.querySelector('#q-options [role=option]')?.dataset.text === 'log.level : '",
    );
    let key = |key: &str| {
        format!(
            "document.querySelector('#q').dispatchEvent(new KeyboardEvent('keydown', {{ key: '{key}', bubbles: true, cancelable: true }}))"
        )
    };
    browser.evaluate(&key("ArrowDown"));
    browser.evaluate(&key("Enter"));
    assert_eq!(browser.evaluate("document.querySelector('#q').value"), "log.level : ");
    until(
        browser,
        "its values",
        "document.querySelector('#q-options').innerText.includes('error')",
    );
    browser.evaluate(&key("Escape"));
    assert_eq!(browser.evaluate("document.querySelector('#q-options').hidden"), true);
    silent(browser, "suggestions");
}

fn a_search_is_saved_and_found_again(browser: &mut Browser, site: &Site) {
    browser.go(&site.url("/app/explore?q=refused&f=log.level%20%3A%20error"));
    browser.fill("#save-name", "Refused connections");
    browser.leave_by("document.querySelector('.menu-form').requestSubmit(), 0");
    assert_eq!(text(browser, "[data-toast]").trim(), "The search is saved.");
    browser.go(&site.url("/app/explore"));
    browser.evaluate("document.querySelector('.menu summary').click(); [...document.querySelectorAll('.menu-row a')].find(link => link.innerText === 'Refused connections').click()");
    until(
        browser,
        "the saved search",
        "document.querySelector('#explore h2')?.innerText === '12 documents'",
    );
    silent(browser, "saved searches");
}

fn older_documents_are_a_page_away(browser: &mut Browser, site: &Site) {
    browser.go(&site.url("/app/explore?q=refused"));
    let ids = "[...document.querySelectorAll('.documents tbody tr')].map(row => row.id)";
    let mut seen: Vec<Value> = browser.evaluate(ids).as_array().unwrap().clone();
    assert_eq!(seen.len(), 50);
    for expected in [100, 120] {
        browser.leave_by("location.href = document.querySelector('.paging [rel=next]').href, 0");
        seen.extend(browser.evaluate(ids).as_array().unwrap().clone());
        seen.sort_by_key(ToString::to_string);
        seen.dedup();
        assert_eq!(seen.len(), expected, "no document twice, none left out");
    }
    assert_eq!(
        browser.evaluate("document.querySelector('.paging [rel=next]')"),
        Value::Null
    );
}

fn new_documents_come_by_themselves(browser: &mut Browser, site: &Site, flotilla: &Flotilla) {
    browser.go(&site.url("/app/explore?q=lighthouse&live=1"));
    assert!(text(browser, "#explore-results").contains("No document matches"));
    browser.evaluate("window.same = true");
    let line = format!(
        "{{\"create\":{{\"_index\":\"logs-harbour-default\"}}}}\n{{\"@timestamp\":\"{}\",\"message\":\"lighthouse on\"}}\n",
        now()
    );
    flotilla.elasticsearch().bulk(&line);
    until(
        browser,
        "the new document in the open page",
        "document.querySelector('.documents')?.innerText.includes('lighthouse on')",
    );
    assert_eq!(browser.evaluate("window.same === true"), true);
    until(
        browser,
        "the stream",
        "document.querySelector('[data-live-state]').innerText === 'Live'",
    );
    silent(browser, "live");
}

fn a_host_is_shown_over_time(browser: &mut Browser, site: &Site) {
    browser.go(&site.url("/app/hosts"));
    browser.leave_by("document.querySelector('#host-list .name a').click(), 0");
    let titles = browser.evaluate("[...document.querySelectorAll('#host h2')].map(title => title.innerText).join()");
    assert_eq!(
        titles,
        "CPU,Memory,Load,Network,Disk,Filesystems,Top processes,Recent logs"
    );
    until(
        browser,
        "curves of processor, memory and load",
        "[...document.querySelectorAll('#host .line')].filter(line => line.getAttribute('d').length > 8).length >= 6",
    );
    assert!(text(browser, "#host [aria-label='Top processes']").contains('%'));
    browser.leave_by("[...document.querySelectorAll('.actions .button')].find(link => link.innerText.includes('View agent')).click(), 0");
    assert!(
        browser
            .evaluate("location.pathname")
            .as_str()
            .unwrap()
            .starts_with("/app/fleet/agents/")
    );
    silent(browser, "host");
}

fn a_connection_is_tried_on_the_map(browser: &mut Browser, site: &Site) {
    browser.go(&site.url("/app/trust/map"));
    let edges = browser.evaluate("document.querySelectorAll('.map a .edge-hit').length");
    let rows = browser.evaluate("document.querySelectorAll('#map table.table tbody tr').length");
    assert_eq!(edges, rows, "what is drawn is in the table");
    assert!(rows.as_u64().unwrap() >= 4);
    browser.leave_by("[...document.querySelectorAll('#map tbody a')].find(link => link.href.includes('policy%2Ddefault')).click(), 0");
    browser.leave_by("document.querySelector('#connection form').requestSubmit(), 0");
    let panel = text(browser, "#connection");
    for expected in [
        "Healthy",
        "TLS 1.3",
        "Chain leads to",
        "Name matches the URL",
        "Flotilla Root CA",
        "Tested 0 s ago",
    ] {
        assert!(panel.contains(expected), "no {expected} in {panel}");
    }
    assert!(
        browser.evaluate("document.querySelector('.edge-halo')") != Value::Null,
        "it is marked on the map"
    );
    silent(browser, "map");
}

fn certificates_are_listed(browser: &mut Browser, site: &Site) {
    browser.go(&site.url("/app/trust/certificates"));
    let names = text(browser, "main table");
    for expected in [
        "Flotilla Root CA",
        "Intermediate CA",
        "Fleet Server, Default: presents it",
        "Valid",
    ] {
        assert!(names.contains(expected), "no {expected} in {names}");
    }
    browser.go(&site.url("/app/trust/certificates?q=root%20ca"));
    assert!(text(browser, "main table").contains("Flotilla Root CA"));
    silent(browser, "certificates");
}

fn changes_are_in_the_audit_log(browser: &mut Browser, site: &Site) {
    browser.go(&site.url("/app/audit?kind=saved%20search"));
    browser.evaluate("document.querySelector('.change summary').click()");
    let first = text(browser, "#audit-list tbody tr");
    for expected in ["elastic", "created saved search", "Refused connections", "q=refused"] {
        assert!(first.contains(expected), "no {expected} in {first}");
    }
    silent(browser, "audit log");
}

fn the_keyboard_leads_everywhere(browser: &mut Browser, site: &Site) {
    browser.go(&site.url("/app/hosts"));
    press(browser, "Tab");
    assert_eq!(browser.evaluate("document.activeElement.className"), "skip");
    press(browser, "Enter");
    assert_eq!(browser.evaluate("document.activeElement.id"), "main");
    press(browser, "j");
    assert_eq!(
        browser.evaluate("document.activeElement.matches('[data-row-open]')"),
        true
    );
    assert_ne!(
        browser.evaluate("getComputedStyle(document.activeElement).outlineStyle"),
        "none"
    );
    press(browser, "/");
    assert_eq!(browser.evaluate("document.activeElement.id"), "q");
    browser.evaluate("document.activeElement.blur()");
    press(browser, "?");
    assert_eq!(browser.evaluate("document.querySelector('#keys').open"), true);
    press(browser, "Escape");
    assert_eq!(browser.evaluate("document.querySelector('#keys').open"), false);
    press(browser, "g");
    browser.leave_by("document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'm', bubbles: true })), 0");
    assert_eq!(browser.evaluate("location.pathname"), "/app/trust/map");
}

fn press(browser: &mut Browser, key: &str) {
    let code = match key {
        "Tab" => 9,
        "Enter" => 13,
        "Escape" => 27,
        _ => 0,
    };
    let text = match key {
        "Enter" => "\r",
        "Tab" | "Escape" => "",
        other => other,
    };
    for kind in ["keyDown", "keyUp"] {
        let event = serde_json::json!({"type": kind, "key": key, "windowsVirtualKeyCode": code,
            "text": if kind == "keyDown" { text } else { "" }});
        browser.call("Input.dispatchKeyEvent", event);
    }
}
