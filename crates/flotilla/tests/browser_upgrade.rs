//! Upgrades from the pages, in a real browser, of a real agent: asked for, followed to the end, failed with the reason, tried
//! again, scheduled and taken back; of one agent and of many.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Browser, Flotilla, InstalledHost, User, eventually, version_of};

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");
const SOON: Duration = Duration::from_mins(1);
/// Notes every state that the page shows of the upgrade, from now on.
const WATCH: &str = "{ window.seen = []; const note = () => { const word = document.querySelector('#upgrade .pill')?.innerText.trim(); \
    if (word && window.seen.at(-1) !== word) window.seen.push(word); }; \
    new MutationObserver(note).observe(document.querySelector('main'), { childList: true, subtree: true, characterData: true, attributes: true }); note(); 0 }";

#[test]
fn agents_are_upgraded_from_the_pages() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let mut flotilla = Flotilla::start(FLOTILLA, &[]);
    hand_out(&mut flotilla, "#!/bin/sh\nexit 1\n");
    let host = InstalledHost::join(FLOTILLA, &flotilla.text("/join"), 6);
    let id = eventually("the agent in the fleet", SOON, || joined(&flotilla));
    let mut user = User::log_in(browser, &flotilla, "/app/fleet/agents");
    let version = version_of(FLOTILLA);
    one_that_cannot_run_fails_with_its_reason(&mut user, &id, &version);
    it_is_tried_again_and_followed_to_the_end(&mut user, &id, &host, &version);
    one_for_later_is_taken_back(&mut user, &id, &version);
    what_failed_first_is_still_known(&mut user);
    many_are_upgraded_and_the_failed_ones_again(&mut user, &id, &version);
    user.browser.step("the end");
}

/// Lets Fleet Server hand out this program in place of its own.
fn hand_out(flotilla: &mut Flotilla, script: &str) {
    let file = program(flotilla);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs_err::write(file, script).unwrap();
    assert!(flotilla.stop());
    flotilla.start_again();
}

fn program(flotilla: &Flotilla) -> std::path::PathBuf {
    let name = format!("flotilla-linux-{}", std::env::consts::ARCH);
    flotilla.data_dir().join("programs").join(name)
}

/// The one that can be upgraded, once it is healthy.
fn joined(flotilla: &Flotilla) -> Option<String> {
    let agents = flotilla.console().get("/api/fleet/agents");
    let is_it = |agent: &&Value| {
        agent["status"] == "online" && agent["local_metadata"]["elastic"]["agent"]["upgradeable"] == true
    };
    let found = agents["items"].as_array()?.iter().find(is_it)?;
    found["id"].as_str().map(str::to_owned)
}

fn ask(user: &mut User<'_>, id: &str, version: &str) {
    user.browser
        .open(&format!("/app/fleet/agents/actions?action=upgrade&agent={id}"));
    let offered = "[...document.querySelectorAll('#versions option')].map(option => option.value)";
    let offered = user.browser.evaluate(offered);
    assert!(offered.as_array().unwrap().contains(&json!(version)), "{offered}");
    user.browser.fill("#version", version);
    user.browser
        .evaluate("document.querySelector('[name=force]').checked = true");
    user.browser.follow(".panel-foot .primary");
}

/// At each width: nothing sticks out, an auditor finds nothing, and it can be understood by ear.
fn looks_well(user: &mut User<'_>, name: &str) {
    for (width, height) in [(390, 844), (1024, 800), (1440, 900)] {
        user.browser.resize(width, height);
        assert_eq!(user.browser.overflow(), "", "{name} at {width}");
        assert_eq!(user.browser.audit(), Vec::<String>::new(), "{name} at {width}");
        assert_eq!(user.browser.misheard(), Vec::<String>::new(), "{name} at {width}");
        user.browser.picture(&format!("{name}-{width}-light"));
    }
}

fn one_that_cannot_run_fails_with_its_reason(user: &mut User<'_>, id: &str, version: &str) {
    user.browser.step("an upgrade that fails");
    ask(user, id, version);
    assert_eq!(user.browser.toast(), "The upgrade is on its way.");
    user.browser.until(
        "the failure, in the open page",
        "document.querySelector('#upgrade .pill')?.innerText.trim() === 'Failed'",
    );
    user.browser.sees("#upgrade .wrong", "cannot run here");
    let bad = "document.querySelector('#upgrade li.bad').innerText";
    assert!(user.browser.evaluate(bad).as_str().unwrap().contains("Unpacking"));
    looks_well(user, "agent-upgrade-failed");
    user.browser.open("/app/fleet/agents");
    user.browser
        .sees("#agent-list tbody", &format!("Upgrade to {version}: failed"));
    looks_well(user, "agents-upgrade-failed");
}

/// Slow enough for each state to be seen.
fn it_is_tried_again_and_followed_to_the_end(user: &mut User<'_>, id: &str, host: &InstalledHost, version: &str) {
    user.browser.step("an upgrade that is followed to its end");
    let works = format!(
        "#!/bin/sh\n[ \"$1\" = version ] && sleep 3\nexec {}/elastic-agent \"$@\"\n",
        host.folder().display()
    );
    fs_err::write(program(user.flotilla), works).unwrap();
    let before = host.home();
    user.browser.open(&format!("/app/fleet/agents/{id}"));
    user.browser.follow("#upgrade .panel-head a");
    let filled = user.browser.evaluate("document.querySelector('#version').value");
    assert_eq!(filled, version, "retry asks for the same version");
    user.browser.follow(".panel-foot .primary");
    user.browser.evaluate(WATCH);
    user.browser.until(
        "the end of the upgrade, in the open page",
        "window.seen.at(-1) === 'Complete'",
    );
    let seen = user.browser.evaluate("window.seen.join()");
    let seen = seen.as_str().unwrap();
    for state in ["Unpacking", "On probation", "Complete"] {
        assert!(seen.contains(state), "{state} in {seen}");
    }
    user.browser.sees("#upgrade", &format!("It runs {version}"));
    assert_ne!(host.home(), before, "the agent feels it");
    assert!(host.marker().is_none(), "the probation is over");
    user.browser.picture("agent-upgrade-complete-1440-light");
}

fn one_for_later_is_taken_back(user: &mut User<'_>, id: &str, version: &str) {
    user.browser.step("an upgrade for later");
    user.browser
        .open(&format!("/app/fleet/agents/actions?action=upgrade&agent={id}"));
    user.browser.fill("#version", version);
    user.browser.fill("#start", "2199-03-01T09:00");
    user.browser
        .evaluate("document.querySelector('[name=force]').checked = true");
    user.browser.follow(".panel-foot .primary");
    user.browser.until(
        "what the agent says of it",
        "document.querySelector('#upgrade .pill')?.innerText.trim() === 'Scheduled'",
    );
    user.browser.sees("#upgrade", "1 Mar 2199, 09:00:00 UTC");
    user.browser.picture("agent-upgrade-scheduled-1440-light");
    user.browser.follow("#upgrade form button");
    assert!(user.browser.toast().starts_with("Aborted"));
    user.browser.until(
        "nothing is scheduled any more",
        "!document.querySelector('#upgrade')?.innerText.includes('Scheduled')",
    );
    let agent = user.flotilla.console().get(&format!("/api/fleet/agents/{id}"));
    assert!(agent["item"]["upgrade_details"].is_null(), "{agent}");
}

/// The agent has had newer upgrades since, and says nothing of the first.
fn what_failed_first_is_still_known(user: &mut User<'_>) {
    user.browser.step("the activity after newer upgrades");
    user.browser.open("/app/fleet/agents/activity");
    let rows = "[...document.querySelectorAll('#activity tbody tr')].map(row => row.innerText.replace(/\\s+/g, ' '))";
    let rows = user.browser.evaluate(rows);
    let upgrades = rows.as_array().unwrap().iter().filter_map(Value::as_str);
    let upgrades: Vec<&str> = upgrades.filter(|row| row.starts_with("Upgrade 1 agent")).collect();
    let [later, second, first] = upgrades[..] else {
        panic!("three upgrades in {rows}");
    };
    assert!(first.contains("Failed") && first.contains("cannot run here"), "{first}");
    assert!(second.contains("Complete"), "{second}");
    assert!(later.contains("Cancelled"), "{later}");
}

/// The agent of `up` cannot be upgraded: it has no service manager.
fn many_are_upgraded_and_the_failed_ones_again(user: &mut User<'_>, id: &str, version: &str) {
    user.browser.step("an upgrade of many");
    fs_err::write(program(user.flotilla), "#!/bin/sh\nexit 1\n").unwrap();
    user.browser.open("/app/fleet/agents");
    user.browser.click("[data-select-all]");
    user.browser.follow("#bulk [value=upgrade]");
    user.browser.fill("#version", version);
    user.browser.fill("#spread", "600");
    user.browser
        .evaluate("document.querySelector('[name=force]').checked = true");
    looks_well(user, "agents-upgrade-asked");
    user.browser.fill("#spread", "");
    user.browser.follow(".panel-foot .primary");
    user.browser.until(
        "both failed, in the open page",
        "document.querySelector('#activity tbody tr').innerText.includes('2 failed')",
    );
    let row = user.browser.text("#activity tbody tr");
    for expected in ["Upgrade 2 agents", "cannot run here", "was not installed as a service"] {
        assert!(row.contains(expected), "{expected} in {row}");
    }
    looks_well(user, "activity-upgrade");
    user.browser.follow("#activity tbody tr a.button");
    user.browser.sees("h1", "Upgrade 2 agents");
    let kuery = user.browser.evaluate("document.querySelector('[name=kuery]').value");
    assert!(kuery.as_str().unwrap().contains("UPG_FAILED"), "{kuery}");
    let agent = user.flotilla.console().get(&format!("/api/fleet/agents/{id}"));
    assert_eq!(agent["item"]["status"], "online", "what ran before goes on");
}
