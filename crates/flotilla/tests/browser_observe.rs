//! What a fleet does, seen in a real browser: search, hosts, the TLS map, certificates, the audit log, live parts.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use serde_json::Value;
use testkit::{Browser, Flotilla, User};

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");

#[test]
fn people_see_what_their_fleet_does() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let flotilla = Flotilla::start(FLOTILLA, &[]);
    let User { mut browser, .. } = User::log_in(browser, &flotilla, "/app/hosts");
    ship(&flotilla);
    measurements_arrive(&mut browser);
    a_search_is_narrowed_and_opened(&mut browser);
    a_mistake_is_told_where_it_is(&mut browser);
    the_search_bar_suggests(&mut browser);
    a_search_is_saved_and_found_again(&mut browser);
    older_documents_are_a_page_away(&mut browser);
    new_documents_come_by_themselves(&mut browser, &flotilla);
    a_host_is_shown_over_time(&mut browser);
    a_connection_is_tried_on_the_map(&mut browser);
    certificates_are_listed(&mut browser);
    changes_are_in_the_audit_log(&mut browser);
    the_keyboard_leads_everywhere(&mut browser);
    browser.step("the end");
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

fn measurements_arrive(browser: &mut Browser) {
    browser.step("measurements arrive");
    browser.open("/app/hosts");
    browser.until("a host with a curve of its processor, in the open page",
        "[...document.querySelectorAll('#host-list tbody tr')].some(row => row.innerText.includes('%') && row.querySelector('.spark .line').getAttribute('d') !== '')",
    );
}

fn a_search_is_narrowed_and_opened(browser: &mut Browser) {
    browser.step("a search is narrowed and opened");
    browser.open("/app/explore?q=message%20%3A%20refused");
    assert_eq!(browser.text("#explore h2"), "120 documents");
    assert!(browser.text(".documents mark").eq_ignore_ascii_case("refused"));
    assert!(
        browser.text(".panel-head .legend").contains("error 12"),
        "the histogram knows the levels"
    );
    browser.evaluate("window.same = true; [...document.querySelectorAll('.field-list a')].find(field => field.textContent.includes('log.level')).click()");
    browser.until(
        "the top values",
        "document.querySelectorAll('.top-values > li').length === 2",
    );
    assert!(browser.text(".top-values").contains("90%"));
    browser.evaluate("[...document.querySelectorAll('.top-value')].find(value => value.textContent.includes('error')).querySelector('a').click()");
    browser.until(
        "only the errors",
        "document.querySelector('#explore h2')?.innerText === '12 documents'",
    );
    assert_eq!(browser.text(".chip code"), "log.level : error");
    browser.evaluate("document.querySelector('.documents [data-row-open]').click()");
    browser.until(
        "an opened document",
        "document.querySelector('.document-fields') !== null",
    );
    assert!(browser.text(".document-fields").contains("harbour-1"));
    let address = browser.evaluate("location.href").as_str().unwrap().to_owned();
    assert!(
        address.contains("open=") && address.contains("f=log.level"),
        "{address}"
    );
    assert_eq!(browser.evaluate("window.same === true"), true, "nothing was reloaded");
    browser.go(&address);
    assert!(
        browser.text(".document-fields").contains("harbour-1"),
        "the URL holds it all"
    );
}

fn a_mistake_is_told_where_it_is(browser: &mut Browser) {
    browser.step("a mistake is told where it is");
    browser.open("/app/explore");
    browser.fill("#q", "host.name : \"web");
    browser.evaluate("document.querySelector('.explore-bar').requestSubmit()");
    browser.until("the error", "document.querySelector('#q-wrong [role=alert]') !== null");
    assert!(browser.text("#q-wrong").contains("quotes do not close, at column"));
    assert_eq!(
        browser.evaluate("document.querySelector('#q').getAttribute('aria-invalid')"),
        "true"
    );
}

fn the_search_bar_suggests(browser: &mut Browser) {
    browser.step("the search bar suggests");
    browser.open("/app/explore");
    let write = |text: &str| {
        format!(
            "{{ const field = document.querySelector('#q'); field.focus(); field.value = {}; \
             field.dispatchEvent(new Event('input', {{ bubbles: true }})); 0 }}",
            Value::from(text)
        )
    };
    browser.evaluate(&write("log.le"));
    browser.until(
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
    browser.until(
        "its values",
        "document.querySelector('#q-options').innerText.includes('error')",
    );
    browser.evaluate(&key("Escape"));
    assert_eq!(browser.evaluate("document.querySelector('#q-options').hidden"), true);
}

fn a_search_is_saved_and_found_again(browser: &mut Browser) {
    browser.step("a search is saved and found again");
    browser.open("/app/explore?q=refused&f=log.level%20%3A%20error");
    browser.fill("#save-name", "Refused connections");
    browser.leave_by("document.querySelector('.menu-form').requestSubmit()");
    assert_eq!(browser.toast(), "The search is saved.");
    browser.open("/app/explore");
    browser.evaluate("document.querySelector('.menu summary').click(); [...document.querySelectorAll('.menu-row a')].find(link => link.innerText === 'Refused connections').click()");
    browser.until(
        "the saved search",
        "document.querySelector('#explore h2')?.innerText === '12 documents'",
    );
}

fn older_documents_are_a_page_away(browser: &mut Browser) {
    browser.step("older documents are a page away");
    browser.open("/app/explore?q=refused");
    let ids = "[...document.querySelectorAll('.documents tbody tr')].map(row => row.id)";
    let mut seen: Vec<Value> = browser.evaluate(ids).as_array().unwrap().clone();
    assert_eq!(seen.len(), 50);
    for expected in [100, 120] {
        browser.leave_by("location.href = document.querySelector('.paging [rel=next]').href");
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

fn new_documents_come_by_themselves(browser: &mut Browser, flotilla: &Flotilla) {
    browser.step("new documents come by themselves");
    browser.open("/app/explore?q=lighthouse");
    browser.evaluate("window.same = true");
    browser.click("[role=switch]");
    browser.until(
        "the search followed, in the open page",
        "document.querySelector('[role=switch]').getAttribute('aria-checked') === 'true'",
    );
    assert!(browser.text("#explore-results").contains("No document matches"));
    let line = format!(
        "{{\"create\":{{\"_index\":\"logs-harbour-default\"}}}}\n{{\"@timestamp\":\"{}\",\"message\":\"lighthouse on\"}}\n",
        now()
    );
    flotilla.elasticsearch().bulk(&line);
    browser.until(
        "the new document in the open page",
        "document.querySelector('.documents')?.innerText.includes('lighthouse on')",
    );
    assert_eq!(browser.evaluate("window.same === true"), true);
    browser.until(
        "the stream",
        "document.querySelector('[data-live-state]').innerText === 'Live'",
    );
}

fn a_host_is_shown_over_time(browser: &mut Browser) {
    browser.step("a host is shown over time");
    browser.open("/app/hosts");
    browser.leave_by("document.querySelector('#host-list .name a').click()");
    let titles = browser.evaluate("[...document.querySelectorAll('#host h2')].map(title => title.innerText).join()");
    assert_eq!(
        titles,
        "CPU,Memory,Load,Network,Disk,Filesystems,Top processes,Recent logs"
    );
    browser.until(
        "curves of processor, memory and load",
        "[...document.querySelectorAll('#host .line')].filter(line => line.getAttribute('d').length > 8).length >= 6",
    );
    assert!(browser.text("#host [aria-label='Top processes']").contains('%'));
    browser.leave_by("[...document.querySelectorAll('.actions .button')].find(link => link.innerText.includes('View agent')).click()");
    assert!(
        browser
            .evaluate("location.pathname")
            .as_str()
            .unwrap()
            .starts_with("/app/fleet/agents/")
    );
}

fn a_connection_is_tried_on_the_map(browser: &mut Browser) {
    browser.step("a connection is tried on the map");
    browser.open("/app/trust/map");
    let edges = browser.evaluate("document.querySelectorAll('.map a .edge-hit').length");
    let rows = browser.evaluate("document.querySelectorAll('#map table.table tbody tr').length");
    assert_eq!(edges, rows, "what is drawn is in the table");
    assert!(rows.as_u64().unwrap() >= 4);
    browser.leave_by(
        "[...document.querySelectorAll('#map tbody a')].find(link => link.href.includes('policy%2Ddefault')).click()",
    );
    browser.leave_by("document.querySelector('#connection form').requestSubmit()");
    let panel = browser.text("#connection");
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
}

fn certificates_are_listed(browser: &mut Browser) {
    browser.step("certificates are listed");
    browser.open("/app/trust/certificates");
    let names = browser.text("main table");
    for expected in [
        "Flotilla Root CA",
        "Intermediate CA",
        "Fleet Server, Default: presents it",
        "Valid",
    ] {
        assert!(names.contains(expected), "no {expected} in {names}");
    }
    browser.open("/app/trust/certificates?q=root%20ca");
    assert!(browser.text("main table").contains("Flotilla Root CA"));
}

fn changes_are_in_the_audit_log(browser: &mut Browser) {
    browser.step("changes are in the audit log");
    browser.open("/app/audit?kind=saved%20search");
    browser.evaluate("document.querySelector('.change summary').click()");
    let first = browser.text("#audit-list tbody tr");
    for expected in ["elastic", "created saved search", "Refused connections", "q=refused"] {
        assert!(first.contains(expected), "no {expected} in {first}");
    }
}

fn the_keyboard_leads_everywhere(browser: &mut Browser) {
    browser.step("the keyboard leads everywhere");
    browser.open("/app/hosts");
    browser.press("Tab");
    assert_eq!(browser.evaluate("document.activeElement.className"), "skip");
    browser.press("Enter");
    assert_eq!(browser.evaluate("document.activeElement.id"), "main");
    browser.press("j");
    assert_eq!(
        browser.evaluate("document.activeElement.matches('[data-row-open]')"),
        true
    );
    assert_ne!(
        browser.evaluate("getComputedStyle(document.activeElement).outlineStyle"),
        "none"
    );
    browser.press("/");
    assert_eq!(browser.evaluate("document.activeElement.id"), "q");
    browser.evaluate("document.activeElement.blur()");
    browser.press("?");
    assert_eq!(browser.evaluate("document.querySelector('#keys').open"), true);
    browser.press("Escape");
    assert_eq!(browser.evaluate("document.querySelector('#keys').open"), false);
    browser.press("g");
    browser.leave_by("document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'm', bubbles: true }))");
    assert_eq!(browser.evaluate("location.pathname"), "/app/trust/map");
}
