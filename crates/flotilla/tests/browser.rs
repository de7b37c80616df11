//! The pages in a real browser: every page at three widths in both themes, and the flows that people click through.
//!
//! Pictures are kept in `artefacts/pages`; with `FLOTILLA_README_PICTURES` set, the README's are made anew.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use testkit::{Browser, Flotilla, eventually, skip};

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");
const SOON: Duration = Duration::from_mins(1);
const WIDTHS: [(u32, u32); 3] = [(1440, 900), (1024, 800), (390, 844)];
const THEMES: [&str; 2] = ["light", "dark"];

/// Bytes that a page may load, all files included, as they go over the wire.
const HEAVIEST: u64 = 200_000;

/// Every page that a reader can open without knowing an id.
const PAGES: &[&str] = &[
    "/",
    "/app/fleet/agents",
    "/app/fleet/agents?status=offline",
    "/app/fleet/agents?q=not%20%28kql",
    "/app/fleet/agents?status=online&status=offline&rows=20",
    "/app/fleet/agents/activity",
    "/app/fleet/agents/add",
    "/app/fleet/agents/add?platform=packages",
    "/app/fleet/agents/add?platform=windows",
    "/app/fleet/agents/add?platform=kubernetes",
    "/app/fleet/agents/add-fleet-server",
    "/app/fleet/policies",
    "/app/fleet/policies/default-policy",
    "/app/fleet/policies/default-policy?tab=settings",
    "/app/fleet/policies/default-policy?tab=yaml",
    "/app/fleet/policies/default-policy?tab=history",
    "/app/fleet/policies/default-policy/integrations?package=system",
    "/app/fleet/enrollment-tokens",
    "/app/fleet/enrollment-tokens?q=nothing-has-this-name",
    "/app/fleet/uninstall-tokens",
    "/app/fleet/packages",
    "/app/fleet/data-streams",
    "/app/fleet/data-streams?type=logs",
    "/app/fleet/data-streams/metrics-system.cpu-default",
    "/app/fleet/settings",
    "/app/fleet/settings?flyout=host-new",
    "/app/fleet/settings?flyout=output-new",
    "/app/fleet/settings?flyout=output-new&type=remote_elasticsearch",
    "/app/fleet/settings?flyout=output-new&type=logstash",
    "/app/fleet/settings?flyout=output-new&type=kafka",
    "/app/fleet/settings?flyout=proxy-new",
    "/app/fleet/settings?flyout=source-new",
    "/app/trust/map",
    "/app/trust/certificates",
    "/app/explore",
    "/app/explore?q=no%20%28kql",
    "/app/hosts",
    "/app/audit",
];

/// Parts of an agent's page.
const AGENT_PARTS: [&str; 4] = ["", "/logs", "/diagnostics", "/settings"];

/// What this page and its files weigh, in bytes on the wire.
const WEIGHT: &str = "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]\
    .filter(entry => !entry.name.includes('/events')).reduce((sum, entry) => sum + entry.encodedBodySize, 0)";

/// Names of icons that the page uses and the sprite does not have.
const MISSING_ICONS: &str = "fetch('/assets/icons.svg').then(answer => answer.text()).then(sprite => \
    [...document.querySelectorAll('use')].map(use => use.getAttribute('href').split('#')[1]).filter(name => !sprite.includes(`id=\"${name}\"`)).join(', '))";

/// Where this page's links lead, without their fragments; what changes or downloads something is left out.
const LINKS: &str = "[...new Set([...document.querySelectorAll('main a[href^=\"/\"], nav a[href^=\"/\"]')]\
    .filter(link => !link.hasAttribute('download')).map(link => link.getAttribute('href').split('#')[0]))]";

#[test]
fn people_find_their_way_in_a_browser() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let flotilla = Flotilla::start(FLOTILLA, &[]);
    let site = Site {
        base: flotilla.text("/urls/console"),
    };
    a_wrong_password_is_refused(&mut browser, &site);
    the_right_one_leads_to_the_page_that_was_asked_for(&mut browser, &site, &flotilla.text("/password"));
    the_local_agent_turns_healthy_by_itself(&mut browser);
    the_theme_is_remembered(&mut browser, &site);
    let agent = agent_page(&mut browser);
    every_page_fits_and_is_silent(&mut browser, &site, &agent);
    no_link_leads_nowhere(&mut browser, &site, &agent);
    axe_finds_nothing_serious(&mut browser, &site, &agent);
    the_phone_menu_opens_without_leaving(&mut browser, &site);
}

struct Site {
    base: String,
}

impl Site {
    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

fn a_wrong_password_is_refused(browser: &mut Browser, site: &Site) {
    browser.resize(1440, 900);
    browser.go(&site.url("/app/fleet/agents"));
    picture(browser, "login-1440-light");
    browser.log_in("elastic", "not this");
    let said = browser.evaluate("document.querySelector('[role=alert]').innerText");
    assert_eq!(said.as_str().map(str::trim), Some("User name or password is wrong."));
    // The browser itself notes the status 401.
    browser.messages();
}

fn the_right_one_leads_to_the_page_that_was_asked_for(browser: &mut Browser, site: &Site, password: &str) {
    browser.go(&site.url("/app/fleet/agents"));
    browser.log_in("elastic", password);
    assert_eq!(browser.evaluate("location.pathname"), "/app/fleet/agents");
}

/// Without a reload: the list is live.
fn the_local_agent_turns_healthy_by_itself(browser: &mut Browser) {
    browser.evaluate("window.same_page = true");
    eventually("the local agent healthy in the open page", SOON, || {
        let rows = browser.evaluate("document.querySelector('#agent-list tbody')?.innerText ?? ''");
        rows.as_str()?.contains("Healthy").then_some(())
    });
    assert_eq!(browser.evaluate("window.same_page === true"), true);
}

fn the_theme_is_remembered(browser: &mut Browser, site: &Site) {
    browser.leave_by("document.querySelector('form[action=\"/theme\"] button').click(), 0");
    assert_eq!(
        browser.evaluate("location.pathname"),
        "/app/fleet/agents",
        "back where it was"
    );
    assert_eq!(browser.evaluate("document.documentElement.dataset.theme"), "dark");
    browser.leave_by("document.querySelector('form[action=\"/theme\"] button').click(), 0");
    assert_eq!(browser.evaluate("document.documentElement.dataset.theme"), "light");
    browser.leave_by("document.querySelector('form[action=\"/theme\"] button').click(), 0");
    assert_eq!(
        browser.evaluate("document.documentElement.dataset.theme ?? 'none'"),
        "none"
    );
    browser.go(&site.url("/app/fleet/agents"));
}

fn agent_page(browser: &mut Browser) -> String {
    let path = browser.evaluate("document.querySelector('#agent-list tbody .name a').getAttribute('href')");
    path.as_str().unwrap().to_owned()
}

fn all_pages(agent: &str) -> Vec<String> {
    let of_agent = AGENT_PARTS.iter().map(|part| format!("{agent}{part}"));
    PAGES.iter().map(|page| (*page).to_owned()).chain(of_agent).collect()
}

fn every_page_fits_and_is_silent(browser: &mut Browser, site: &Site, agent: &str) {
    let mut wrong = Vec::new();
    for path in all_pages(agent) {
        for (width, height) in WIDTHS {
            for theme in THEMES {
                browser.resize(width, height);
                browser.prefer(theme);
                browser.go(&site.url(&path));
                let found = faults(browser).into_iter();
                wrong.extend(found.map(|fault| format!("{path} at {width}, {theme}: {fault}")));
                let name = file_name(&path.replace(agent, "agent"));
                whole_picture(browser, &format!("{name}-{width}-{theme}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong with the page that is shown.
fn faults(browser: &mut Browser) -> Vec<String> {
    let mut faults = Vec::new();
    let overflow = browser.overflow();
    if !overflow.is_empty() {
        faults.push(format!("too wide: {overflow}"));
    }
    // Violations of the policy are said here, too.
    faults.extend(browser.messages());
    let weight = browser.evaluate(WEIGHT).as_u64().unwrap();
    if weight > HEAVIEST {
        faults.push(format!("weighs {weight} bytes"));
    }
    let icons = browser.evaluate(MISSING_ICONS);
    if icons != "" {
        faults.push(format!("no such icon: {icons}"));
    }
    faults
}

fn no_link_leads_nowhere(browser: &mut Browser, site: &Site, agent: &str) {
    let mut links = BTreeSet::new();
    for path in all_pages(agent) {
        browser.go(&site.url(&path));
        let found = browser.evaluate(LINKS);
        links.extend(
            found
                .as_array()
                .unwrap()
                .iter()
                .map(|link| link.as_str().unwrap().to_owned()),
        );
    }
    assert!(links.len() > 40, "{links:?}");
    let dead = links.iter().filter(|link| {
        let status = browser.evaluate(&format!(
            "fetch({}).then(answer => answer.status)",
            Value::from(link.as_str())
        ));
        status != 200
    });
    let dead: Vec<_> = dead.collect();
    browser.messages();
    assert!(dead.is_empty(), "{dead:?}");
}

fn axe_finds_nothing_serious(browser: &mut Browser, site: &Site, agent: &str) {
    let Some(axe) = Browser::axe() else {
        skip("axe is not there: `cargo xtask test` fetches it and names it in FLOTILLA_AXE");
        return;
    };
    let mut wrong = Vec::new();
    for path in all_pages(agent) {
        for (width, theme) in [(1440, "dark"), (390, "light")] {
            browser.resize(width, 900);
            browser.prefer(theme);
            browser.go(&site.url(&path));
            let found = browser.serious(&axe).into_iter();
            wrong.extend(found.map(|fault| format!("{path} at {width}, {theme}: {fault}")));
        }
    }
    browser.messages();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn file_name(path: &str) -> String {
    let name = path
        .trim_start_matches("/app/")
        .trim_matches('/')
        .replace(['/', '?', '=', '&', '%'], "-");
    if name.is_empty() { "home".to_owned() } else { name }
}

fn picture(browser: &mut Browser, name: &str) {
    let png = browser.screenshot();
    keep(&png, name);
    readme_picture(&png, name);
}

/// Of the page as long as it is, for people to look at.
fn whole_picture(browser: &mut Browser, name: &str) {
    let png = browser.whole_screenshot();
    keep(&png, name);
    if name == "fleet-agents-1440-light" {
        readme_picture(&browser.screenshot(), name);
    }
}

fn keep(png: &[u8], name: &str) {
    assert!(png.len() > 1_000, "{name} is empty");
    fs_err::write(testkit::artefacts("pages").join(format!("{name}.png")), png).unwrap();
}

fn readme_picture(png: &[u8], name: &str) {
    let wanted = std::env::var_os("FLOTILLA_README_PICTURES").is_some();
    if wanted && name == "fleet-agents-1440-light" {
        fs_err::write(root().join("docs/images/agents.png"), png).unwrap();
    }
}

fn the_phone_menu_opens_without_leaving(browser: &mut Browser, site: &Site) {
    browser.resize(390, 844);
    browser.go(&site.url("/"));
    let shown = "document.querySelector('#sidebar').checkVisibility()";
    assert_eq!(browser.evaluate(shown), false);
    browser.evaluate("document.querySelector('[popovertarget=sidebar]').click()");
    assert_eq!(browser.evaluate(shown), true);
    picture(browser, "menu-390-light");
    assert!(browser.messages().is_empty());
}
