//! The pages in a real browser: every page at three widths in both themes, what it weighs, what axe says, where its links lead.
//!
//! Pictures are kept in `artefacts/pages`; with `FLOTILLA_README_PICTURES` set, the README's are made anew.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Browser, Flotilla, Loaded, artefacts, eventually, skip};

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");
const SOON: Duration = Duration::from_mins(1);
const WIDTHS: [(u32, u32); 3] = [(1440, 900), (1024, 800), (390, 844)];
const THEMES: [&str; 2] = ["light", "dark"];

/// Bytes that somebody who comes for the first time may load for a page, all of its files included, as they go over the wire.
const HEAVIEST: u64 = 200_000;

/// Requests for a page, its files included: the page, one style sheet, two scripts, two fonts, the icons, what is live.
const MOST_REQUESTS: usize = 10;

/// What makes a page another page, so that it needs a title of its own; filters and order do not.
const PARTS: [&str; 7] = [
    "tab=",
    "flyout=",
    "delete=",
    "action=",
    "revision=",
    "package=",
    "edge=",
];

/// Every page that a reader can open without knowing an id.
const PAGES: &[&str] = &[
    "/",
    "/app/fleet/agents",
    "/app/fleet/agents?status=offline",
    "/app/fleet/agents?q=not%20%28kql",
    "/app/fleet/agents?status=online&status=offline&rows=20",
    "/app/fleet/agents/activity",
    "/app/fleet/agents/add",
    "/app/fleet/agents/add?platform=linux",
    "/app/fleet/agents/add?platform=packages",
    "/app/fleet/agents/add?platform=macos",
    "/app/fleet/agents/add?platform=windows",
    "/app/fleet/agents/add?platform=container",
    "/app/fleet/agents/add?platform=kubernetes",
    "/app/fleet/agents/add-fleet-server",
    "/app/fleet/policies",
    "/app/fleet/policies?sort=-agents",
    "/app/fleet/policies/default-policy",
    "/app/fleet/policies/default-policy?tab=settings",
    "/app/fleet/policies/default-policy?tab=yaml",
    "/app/fleet/policies/default-policy?tab=history",
    "/app/fleet/policies/default-policy/integrations?package=system",
    "/app/fleet/enrollment-tokens",
    "/app/fleet/enrollment-tokens?q=nothing-has-this-name",
    "/app/fleet/uninstall-tokens",
    "/app/fleet/packages",
    "/app/fleet/packages?q=nothing-has-this-name",
    "/app/fleet/data-streams",
    "/app/fleet/data-streams?type=logs&sort=-size",
    "/app/fleet/data-streams/metrics-system.cpu-default",
    "/app/fleet/settings",
    "/app/fleet/settings?flyout=host-new",
    "/app/fleet/settings?flyout=host-fleet-default-fleet-server-host",
    "/app/fleet/settings?flyout=output-new",
    "/app/fleet/settings?flyout=output-new&type=remote_elasticsearch",
    "/app/fleet/settings?flyout=output-new&type=logstash",
    "/app/fleet/settings?flyout=output-new&type=kafka",
    "/app/fleet/settings?flyout=output-fleet-default-output",
    "/app/fleet/settings?flyout=proxy-new",
    "/app/fleet/settings?flyout=proxy-harbour",
    "/app/fleet/settings?delete=proxy-harbour",
    "/app/fleet/settings?flyout=source-new",
    "/app/trust/map",
    "/app/trust/map?only=problems",
    "/app/trust/certificates",
    "/app/trust/certificates?sort=name",
    "/app/explore",
    "/app/explore?index=metrics-*&field=host.name",
    "/app/explore?q=no%20%28kql",
    "/app/hosts",
    "/app/audit",
    "/app/audit?q=nobody-did-this",
];

/// Pages that are found by a link on another: where, which link, and what their pictures are called.
const BEHIND: &[(&str, &str, &str)] = &[
    ("/app/hosts", "#host-list .name a", "host"),
    ("/app/explore", ".documents [data-row-open]", "explore-document"),
    ("/app/trust/map", "#map table tbody a", "map-connection"),
    ("/app/fleet/uninstall-tokens", "tbody .button", "uninstall-command"),
    ("/app/fleet/policies/default-policy", "tbody .name a", "integration"),
    (
        "/app/fleet/policies/default-policy?tab=history",
        "tbody a",
        "policy-history-revision",
    ),
];

/// Parts of an agent's page.
const AGENT_PARTS: [&str; 4] = ["", "/logs", "/diagnostics", "/settings"];

/// What can be done with an agent, each on a page that asks.
const ACTIONS: [&str; 5] = ["tags", "reassign", "upgrade", "diagnostics", "unenroll"];

/// Names of icons that the page uses and the sprite does not have.
const MISSING_ICONS: &str = "fetch('/assets/icons.svg').then(answer => answer.text()).then(sprite => \
    [...document.querySelectorAll('use')].map(use => use.getAttribute('href').split('#')[1]).filter(name => !sprite.includes(`id=\"${name}\"`)).join(', '))";

/// Where this page's links lead, without their fragments; what changes or downloads something is left out.
const LINKS: &str = "[...new Set([...document.querySelectorAll('main a[href^=\"/\"], nav a[href^=\"/\"]')]\
    .filter(link => !link.hasAttribute('download')).map(link => link.getAttribute('href').split('#')[0]))]";

#[test]
fn people_find_their_way_in_a_browser() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let flotilla = Flotilla::start(FLOTILLA, &[]);
    // Ends before the server does, so that a step that fails can still be looked at.
    let mut browser = browser;
    browser.visit(&flotilla.text("/urls/console"));
    let proxy = json!({"id": "harbour", "name": "harbour", "url": "http://proxy.example:3128"});
    flotilla.console().post("/api/fleet/proxies", &proxy);
    a_wrong_password_is_refused(&mut browser);
    the_right_one_leads_to_the_page_that_was_asked_for(&mut browser, &flotilla.text("/password"));
    the_local_agent_turns_healthy_by_itself(&mut browser);
    the_theme_is_remembered(&mut browser);
    let pages = all_pages(&mut browser);
    let mut survey = Survey::start();
    for (path, name) in &pages {
        survey.look_at(&mut browser, path, name);
    }
    survey.end(&mut browser);
    the_phone_menu_opens_without_leaving(&mut browser);
}

fn a_wrong_password_is_refused(browser: &mut Browser) {
    browser.step("a wrong password");
    browser.open("/app/fleet/agents");
    let address = browser.evaluate("document.querySelector('.login .foot').innerText.includes(location.host)");
    assert_eq!(address, true, "the address to compare with");
    browser.picture("login-1440-light");
    browser.log_in("elastic", "not this");
    let said = browser.text("[role=alert]");
    assert_eq!(said.trim(), "User name or password is wrong.");
    // The browser itself notes the status 401.
    browser.messages();
}

fn the_right_one_leads_to_the_page_that_was_asked_for(browser: &mut Browser, password: &str) {
    browser.step("the right password");
    browser.open("/app/fleet/agents");
    browser.log_in("elastic", password);
    assert_eq!(browser.address(), "/app/fleet/agents");
}

/// Without a reload: the list is live.
fn the_local_agent_turns_healthy_by_itself(browser: &mut Browser) {
    browser.step("a healthy agent");
    browser.evaluate("window.same_page = true");
    browser.until(
        "the local agent healthy in the open page",
        "document.querySelector('#agent-list tbody').innerText.includes('Healthy')",
    );
    assert_eq!(browser.evaluate("window.same_page === true"), true);
}

fn the_theme_is_remembered(browser: &mut Browser) {
    browser.step("the theme");
    for expected in ["dark", "light", "none"] {
        browser.follow("form[action='/theme'] button");
        assert_eq!(browser.address(), "/app/fleet/agents", "back where it was");
        assert_eq!(
            browser.evaluate("document.documentElement.dataset.theme ?? 'none'"),
            expected
        );
    }
}

/// The address that a link on a page leads to; what it is about may still be on its way.
fn href(browser: &mut Browser, page: &str, selector: &str) -> String {
    let script = format!("document.querySelector({})?.getAttribute('href')", json!(selector));
    eventually(selector, SOON, || {
        browser.open(page);
        browser.evaluate(&script).as_str().map(str::to_owned)
    })
}

/// Every page with the name of its pictures.
fn all_pages(browser: &mut Browser) -> Vec<(String, String)> {
    browser.step("finding all pages");
    let agent = href(browser, "/app/fleet/agents", "#agent-list tbody .name a");
    let id = agent.rsplit('/').next().unwrap().to_owned();
    let mut pages: Vec<(String, String)> = PAGES.iter().map(|path| ((*path).to_owned(), file_name(path))).collect();
    pages.extend(
        AGENT_PARTS
            .iter()
            .map(|part| (format!("{agent}{part}"), file_name(&format!("agent{part}")))),
    );
    pages.extend(ACTIONS.iter().map(|action| {
        let path = format!("/app/fleet/agents/actions?action={action}&agent={id}");
        (path, format!("agent-asked-{action}"))
    }));
    for (page, selector, name) in BEHIND {
        let path = href(browser, page, selector).split('#').next().unwrap().to_owned();
        pages.push((path, (*name).to_owned()));
    }
    pages
}

/// What is found wrong on the way through all pages.
struct Survey {
    wrong: Vec<String>,
    links: BTreeSet<String>,
    axe: Option<String>,
    /// Titles, and the pages that have them.
    titles: BTreeMap<String, String>,
}

impl Survey {
    fn start() -> Self {
        let axe = Browser::axe();
        if axe.is_none() {
            skip("axe is not there: `cargo xtask test` fetches it and names it in FLOTILLA_AXE");
        }
        Self {
            wrong: Vec::new(),
            links: BTreeSet::new(),
            axe,
            titles: BTreeMap::new(),
        }
    }

    /// A page at each width in each theme.
    fn look_at(&mut self, browser: &mut Browser, path: &str, name: &str) {
        browser.step(path);
        for (width, height) in WIDTHS {
            browser.resize(width, height);
            browser.open(path);
            self.audit(browser, path, name, width);
            for theme in THEMES {
                browser.prefer(theme);
                let faults = self.faults(browser, (width, theme));
                self.wrong.extend(
                    faults
                        .into_iter()
                        .map(|fault| format!("{path} at {width}, {theme}: {fault}")),
                );
                browser.whole_picture(&format!("{name}-{width}-{theme}"));
                readme_picture(browser, &format!("{name}-{width}-{theme}"));
            }
        }
        let links = browser.evaluate(LINKS);
        let links = links.as_array().into_iter().flatten().filter_map(Value::as_str);
        self.links.extend(links.map(str::to_owned));
        self.load(browser, path);
    }

    /// What an auditor holds against a page that has just been loaded, and what somebody who hears it does.
    fn audit(&mut self, browser: &mut Browser, path: &str, name: &str, width: u32) {
        let mut faults = browser.audit();
        faults.extend(browser.jumped());
        if width != 1024 {
            faults.extend(browser.misheard());
            let heard = browser.heard();
            fs_err::write(artefacts("heard").join(format!("{name}-{width}.txt")), heard).unwrap();
        }
        self.wrong
            .extend(faults.into_iter().map(|fault| format!("{path} at {width}: {fault}")));
        let title = browser.evaluate("document.title");
        let title = title.as_str().unwrap_or_default().to_owned();
        let page = itself(path);
        let same = self.titles.entry(title).or_insert_with(|| page.clone());
        if *same != page {
            self.wrong.push(format!("{page} has the title of {same}"));
        }
    }

    /// What is wrong with the page that is shown.
    fn faults(&self, browser: &mut Browser, look: (u32, &str)) -> Vec<String> {
        let mut faults = Vec::new();
        let overflow = browser.overflow();
        if !overflow.is_empty() {
            faults.push(format!("too wide: {overflow}"));
        }
        // Violations of the policy are said here, too.
        faults.extend(browser.messages());
        // Once for each theme, and once for each way in which lists are shown.
        if let (Some(axe), (1440, "dark") | (390, "light")) = (&self.axe, look) {
            faults.extend(browser.serious(axe));
        }
        if look == (1440, "light") {
            let icons = browser.evaluate(MISSING_ICONS);
            if icons != "" {
                faults.push(format!("no such icon: {icons}"));
            }
        }
        faults
    }

    fn load(&mut self, browser: &mut Browser, path: &str) {
        let Loaded {
            bytes,
            requests,
            faults,
        } = browser.load_anew(path);
        let mut faults = faults;
        // The two fonts alone weigh more than the least.
        if !(50_000..=HEAVIEST).contains(&bytes) {
            faults.push(format!("it weighs {bytes} bytes"));
        }
        if requests.len() > MOST_REQUESTS {
            faults.push(format!("{} requests: {requests:?}", requests.len()));
        }
        self.wrong
            .extend(faults.into_iter().map(|fault| format!("{path}: {fault}")));
    }

    fn end(self, browser: &mut Browser) {
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
        browser.step("following all links");
        assert!(self.links.len() > 40, "{:?}", self.links);
        // A few at a time, as a person would have open.
        for some in one_of_each_shape(self.links).chunks(8) {
            let dead = browser.evaluate(&format!(
                "Promise.all({}.map(link => fetch(link).then(answer => [link, answer.status])))\
                 .then(all => all.filter(([_, status]) => status !== 200).join())",
                json!(some)
            ));
            assert_eq!(dead, "", "links that lead nowhere");
        }
    }
}

/// Explore offers the same link for each field and each minute: one of them is enough.
fn one_of_each_shape(links: BTreeSet<String>) -> Vec<String> {
    let mut shapes = BTreeSet::new();
    let shape = |link: &str| match link.split_once('?') {
        Some(("/app/explore", query)) => query
            .split('&')
            .map(|pair| pair.split('=').next().unwrap_or_default().to_owned())
            .collect(),
        _ => vec![link.to_owned()],
    };
    links.into_iter().filter(|link| shapes.insert(shape(link))).collect()
}

/// The address of a page without filters and order.
fn itself(path: &str) -> String {
    let (place, query) = path.split_once('?').unwrap_or((path, ""));
    let is_part = |pair: &&str| PARTS.iter().any(|part| pair.starts_with(part));
    let parts: Vec<&str> = query.split('&').filter(is_part).collect();
    format!("{place}?{}", parts.join("&"))
}

fn file_name(path: &str) -> String {
    let name = path
        .trim_start_matches("/app/")
        .trim_matches('/')
        .replace(['/', '?', '=', '&', '%', '*'], "-");
    if name.is_empty() { "home".to_owned() } else { name }
}

/// The README shows the visible part of some pages.
fn readme_picture(browser: &mut Browser, name: &str) {
    let file = match name {
        "home-1440-light" => "home.png",
        "fleet-agents-1440-light" => "agents.png",
        "trust-map-1440-light" => "tls-map.png",
        "explore-1440-light" => "explore.png",
        "host-1440-light" => "host.png",
        _ => return,
    };
    if std::env::var_os("FLOTILLA_README_PICTURES").is_some() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        fs_err::write(root.join("docs/images").join(file), browser.screenshot()).unwrap();
    }
}

fn the_phone_menu_opens_without_leaving(browser: &mut Browser) {
    browser.step("the menu on a phone");
    browser.resize(390, 844);
    browser.open("/");
    let shown = "document.querySelector('#sidebar').checkVisibility()";
    assert_eq!(browser.evaluate(shown), false);
    browser.click("[popovertarget=sidebar]");
    assert_eq!(browser.evaluate(shown), true);
    browser.picture("menu-390-light");
    browser.step("the end");
}
