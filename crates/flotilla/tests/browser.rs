//! The pages in a real browser: every page at three widths in both themes, and the flows that people click through.
//!
//! Pictures are kept in `artefacts/pages`; with `FLOTILLA_README_PICTURES` set, the README's are made anew.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::time::Duration;

use testkit::{Browser, Flotilla, eventually, skip};

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");
const SOON: Duration = Duration::from_mins(1);
const WIDTHS: [(u32, u32); 3] = [(1440, 900), (1024, 800), (390, 844)];
const THEMES: [&str; 2] = ["light", "dark"];

/// Every page that a reader can open without knowing an id.
const PAGES: &[&str] = &[
    "/",
    "/app/fleet/agents",
    "/app/fleet/agents?status=offline",
    "/app/fleet/agents?q=not%20%28kql",
    "/app/fleet/agents/add",
    "/app/fleet/policies",
    "/app/fleet/policies/default-policy",
    "/app/fleet/enrollment-tokens",
    "/app/fleet/data-streams",
    "/app/fleet/data-streams/metrics-system.cpu-default",
    "/app/fleet/settings",
];

#[test]
fn people_find_their_way_in_a_browser() {
    let Some(mut browser) = Browser::start() else {
        skip("chromium is not installed (Debian: apt-get install chromium)");
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

fn every_page_fits_and_is_silent(browser: &mut Browser, site: &Site, agent: &str) {
    let mut wrong = Vec::new();
    for path in PAGES.iter().copied().chain([agent]) {
        for (width, height) in WIDTHS {
            for theme in THEMES {
                browser.resize(width, height);
                browser.prefer(theme);
                browser.go(&site.url(path));
                let overflow = browser.overflow();
                if !overflow.is_empty() {
                    wrong.push(format!("{path} at {width}: too wide: {overflow}"));
                }
                wrong.extend(
                    browser
                        .messages()
                        .into_iter()
                        .map(|said| format!("{path} at {width}: {said}")),
                );
                let name = if path == agent {
                    "agent".to_owned()
                } else {
                    file_name(path)
                };
                picture(browser, &format!("{name}-{width}-{theme}"));
            }
        }
    }
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
    assert!(png.len() > 1_000, "{name} is empty");
    fs_err::write(testkit::artefacts("pages").join(format!("{name}.png")), &png).unwrap();
    let wanted = std::env::var_os("FLOTILLA_README_PICTURES").is_some();
    if wanted && name == "fleet-agents-1440-light" {
        fs_err::write(root().join("docs/images/agents.png"), &png).unwrap();
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
