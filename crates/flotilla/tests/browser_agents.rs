//! The life of an agent in a real browser: from the line that the pages show to the unenrolment, each step from a page to what the
//! agent does then.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Browser, Flotilla, User, eventually, run};

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");
const SOON: Duration = Duration::from_mins(1);

#[test]
fn an_agent_is_led_from_its_pages() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let flotilla = Flotilla::start(FLOTILLA, &[]);
    let mut user = User::log_in(browser, &flotilla, "/app/fleet/enrollment-tokens");
    a_revoked_token_lets_nobody_in(&mut user);
    let agent = an_agent_arrives_in_the_open_page(&mut user);
    a_ca_that_is_dropped_reaches_it(&mut user, &agent);
    lists_show_what_is_chosen(&mut user, &agent);
    its_logging_level_is_set(&mut user, &agent);
    its_diagnostics_are_fetched(&mut user, &agent);
    what_it_cannot_do_is_told(&mut user, &agent);
    it_gets_another_policy(&mut user, &agent);
    a_package_is_uploaded_and_used(&mut user);
    it_is_unenrolled(&mut user, &agent);
}

/// An agent beside the one of `up`.
struct Agent {
    id: String,
    child: Child,
    _home: tempfile::TempDir,
}

impl Agent {
    /// Enrolled with the join string, and running.
    fn join(string: &str) -> (Child, tempfile::TempDir) {
        let home = tempfile::tempdir().unwrap();
        let path = format!("--path.home={}", home.path().display());
        let enrolled = run(FLOTILLA, ["agent", &path, "enroll", "--force", "--join", string]);
        assert!(
            enrolled.status.success(),
            "{}",
            String::from_utf8_lossy(&enrolled.stderr)
        );
        let child = Command::new(FLOTILLA)
            .args(["agent", &path, "run"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        (child, home)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _already_waited = self.child.wait();
    }
}

fn a_revoked_token_lets_nobody_in(user: &mut User<'_>) {
    user.browser.step("a revoked token lets nobody in");
    user.browser.fill("#name", "for one day");
    user.browser
        .leave_by("document.querySelector('#create form').requestSubmit()");
    let row = "[...document.querySelectorAll('tbody tr')].find(row => row.innerText.includes('for one day'))";
    let token = user
        .browser
        .evaluate(&format!("{row}.querySelector('[data-copy-source]').textContent"));
    let token = token.as_str().unwrap().to_owned();
    user.browser.evaluate(&format!(
        "{row}.querySelector('form[action$=\"/revoke\"]').requestSubmit(), 0"
    ));
    user.browser
        .leave_by("document.querySelector('dialog[open] button[value=confirm]').click()");
    assert!(user.browser.toast().contains("was revoked"));
    let row = user.browser.evaluate(&format!("{row}.innerText"));
    assert!(row.as_str().unwrap().contains("Revoked"), "{row}");
    let home = tempfile::tempdir().unwrap();
    let path = format!("--path.home={}", home.path().display());
    let (url, authority) = (user.flotilla.text("/urls/fleet_server"), user.flotilla.text("/ca/path"));
    let refused = run(
        FLOTILLA,
        [
            "agent",
            &path,
            "enroll",
            "--force",
            &format!("--url={url}"),
            &format!("--enrollment-token={token}"),
            &format!("--certificate-authorities={authority}"),
        ],
    );
    assert!(!refused.status.success(), "a revoked token enrols nobody");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("it was revoked"), "{said}");
    user.browser.open("/app/audit");
    user.browser.sees("tbody", "revoked enrollment token for one day");
}

/// The page that shows the line turns green by itself when the agent is there, and again with its first data.
fn an_agent_arrives_in_the_open_page(user: &mut User<'_>) -> Agent {
    user.browser.step("an agent arrives in the open page");
    // The page shows who enrols from the second on in which it is opened: the agent of `up` has to be earlier.
    eventually("the local agent, enrolled before this second", SOON, || {
        let agents = user.flotilla.console().get("/api/fleet/agents");
        let enrolled = agents["items"][0]["enrolled_at"].as_str()?.get(..19)?.to_owned();
        let now = clock::rfc3339_seconds(clock::system().now());
        (now.get(..19)? > enrolled.as_str()).then_some(())
    });
    user.browser.open("/app/fleet/agents/add");
    assert!(user.browser.text("#arrived").contains("No agent has enrolled"));
    let command = user.browser.text(".command pre");
    let words: Vec<&str> = command.split_whitespace().collect();
    let join = words.iter().position(|word| *word == "--join").unwrap();
    user.browser.evaluate("window.same = true");
    let (child, home) = Agent::join(words[join + 1]);
    user.browser.until(
        "the agent",
        "document.querySelector('#arrived a[href*=\"/agents/\"]') !== null",
    );
    user.browser.until(
        "its first data",
        "document.querySelector('#arrived .ball.done') && document.querySelector('#arrived').innerText.includes('Its first data is here')",
    );
    user.browser.until(
        "that it is said",
        "document.querySelector('#announce').textContent.includes('its first data is here')",
    );
    assert_eq!(user.browser.evaluate("window.same"), true, "nothing was reloaded");
    user.browser.picture("add-agent-arrived-1440-light");
    let href = user
        .browser
        .evaluate("document.querySelector('#arrived a[href*=\"/agents/\"]').getAttribute('href')");
    let id = href.as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    Agent { id, child, _home: home }
}

/// A file is dropped on the field of a Fleet Server host; what it holds is in the next revision that the agent runs.
fn a_ca_that_is_dropped_reaches_it(user: &mut User<'_>, agent: &Agent) {
    user.browser.step("a ca that is dropped reaches it");
    let before = shown(user, agent)["policy_revision"].as_i64().unwrap();
    user.browser
        .open("/app/fleet/settings?flyout=host-fleet-default-fleet-server-host");
    let save = "document.querySelector('button[value=save]').disabled";
    assert_eq!(user.browser.evaluate(save), true, "nothing was changed yet");
    let pem = fs_err::read_to_string(user.flotilla.text("/ca/path")).unwrap();
    user.browser.evaluate(&format!(
        "{{ const files = new DataTransfer(); files.items.add(new File([{}], 'ca.pem')); \
         const place = document.querySelector('[name=\"ssl.agent_certificate_authorities\"]'); \
         for (const kind of ['dragover', 'drop']) \
         place.dispatchEvent(new DragEvent(kind, {{ bubbles: true, cancelable: true, dataTransfer: files }})); 0 }}",
        Value::from(pem.as_str())
    ));
    user.browser.until(
        "the card of the CA",
        "document.querySelector('#about-ssl-agent_certificate_authorities')?.innerText.includes('Flotilla Root CA')",
    );
    assert_eq!(user.browser.evaluate(save), false, "there is something to save");
    user.browser.picture("settings-host-dropped-1440-light");
    user.browser
        .leave_by("document.querySelector('button[value=save]').click()");
    user.browser
        .leave_by("document.querySelector('button[value=deploy]').click()");
    assert_eq!(user.browser.toast(), "Fleet Server host saved");
    eventually("the agent with the CA", SOON, || {
        let agent = shown(user, agent);
        (agent["policy_revision"].as_i64()? > before && agent["status"] == "online").then_some(())
    });
    let full = user
        .flotilla
        .console()
        .get("/api/fleet/agent_policies/default-policy/full");
    let authorities = full["item"]["fleet"]["ssl"]["certificate_authorities"].to_string();
    assert!(authorities.contains("BEGIN CERTIFICATE"), "{full}");
}

fn lists_show_what_is_chosen(user: &mut User<'_>, agent: &Agent) {
    user.browser.step("lists show what is chosen");
    let tags = json!({"agents": [agent.id], "tagsToAdd": ["quay", "crane"]});
    user.flotilla
        .console()
        .post("/api/fleet/agents/bulk_update_agent_tags", &tags);
    user.browser.open("/app/fleet/agents");
    let rows = "document.querySelectorAll('#agent-list tbody tr').length";
    assert_eq!(user.browser.evaluate(rows), 2);
    // A menu of several choices applies them when it closes.
    user.browser.evaluate(
        "{ const menu = document.querySelectorAll('.picker')[1]; menu.open = true; \
         menu.querySelector('[value=quay]').click(); 0 }",
    );
    user.browser
        .leave_by("document.querySelectorAll('.picker')[1].open = false");
    assert_eq!(user.browser.evaluate(rows), 1);
    assert!(user.browser.address().contains("tag=quay"));
    user.browser.leave_by(
        "[...document.querySelectorAll('.counts a')].find(link => link.innerText.includes('Healthy')).click()",
    );
    user.browser.leave_by(
        "[...document.querySelectorAll('.counts a')].find(link => link.innerText.includes('Offline')).click()",
    );
    let address = user.browser.address();
    for part in ["tag=quay", "status=online", "status=offline"] {
        assert!(address.contains(part), "{part} in {address}");
    }
    assert_eq!(user.browser.evaluate(rows), 1);
    user.browser.picture("agents-filtered-1440-light");
    user.browser.leave_by("{ const rows = document.querySelector('#rows'); rows.value = '20'; rows.dispatchEvent(new Event('change', { bubbles: true })); }");
    assert!(user.browser.address().contains("rows=20"));
    user.browser.leave_by("document.querySelector('[role=switch]').click()");
    assert!(
        user.browser.text("#agent-list").contains("No agent matches"),
        "all have the newest version"
    );
    user.browser.open("/app/fleet/agents?tag=crane");
    user.browser
        .evaluate("document.querySelector('[data-select-all]').click()");
    assert_eq!(user.browser.text("[data-bulk-count]"), "1");
    assert!(user.browser.messages().is_empty());
}

fn its_logging_level_is_set(user: &mut User<'_>, agent: &Agent) {
    user.browser.step("its logging level is set");
    user.browser.open(&format!("/app/fleet/agents/{}/settings", agent.id));
    user.browser.fill("#log_level", "debug");
    user.browser
        .leave_by("document.querySelector('.panel-foot .primary').click()");
    eventually("the level that the agent reports", SOON, || {
        let level = shown(user, agent)["local_metadata"]["elastic"]["agent"]["log_level"].clone();
        (level == "debug").then_some(())
    });
}

fn its_diagnostics_are_fetched(user: &mut User<'_>, agent: &Agent) {
    user.browser.step("its diagnostics are fetched");
    user.browser.open(&format!(
        "/app/fleet/agents/actions?action=diagnostics&agent={}",
        agent.id
    ));
    user.browser
        .leave_by("document.querySelector('.panel-foot .primary').click()");
    assert!(
        user.browser
            .evaluate("location.pathname")
            .as_str()
            .unwrap()
            .ends_with("/diagnostics")
    );
    user.browser
        .until("the zip", "document.querySelector('#diagnostics a[download]') !== null");
    let start = user.browser.evaluate(
        "fetch(document.querySelector('#diagnostics a[download]').href).then(answer => answer.arrayBuffer()) \
         .then(bytes => String.fromCharCode(...new Uint8Array(bytes, 0, 2)))",
    );
    assert_eq!(start, "PK", "it is a zip");
    user.browser.picture("agent-diagnostics-1440-light");
}

/// An agent that no package installed cannot be upgraded: it says so itself, and nothing is asked of it.
fn what_it_cannot_do_is_told(user: &mut User<'_>, agent: &Agent) {
    user.browser.step("what it cannot do is told");
    user.browser
        .open(&format!("/app/fleet/agents/actions?action=upgrade&agent={}", agent.id));
    user.browser
        .leave_by("document.querySelector('.panel-foot .primary').click()");
    assert!(
        user.browser.text("main").contains("cannot be upgraded through Fleet"),
        "{}",
        user.browser.text("main")
    );
    user.browser.open("/app/fleet/agents/activity");
    user.browser.until(
        "what was asked of it before",
        "['Request diagnostics', 'Set the logging level', 'Revision'].every(words => document.querySelector('#activity').innerText.includes(words))",
    );
    user.browser.picture("activity-1440-light");
}

fn it_gets_another_policy(user: &mut User<'_>, agent: &Agent) {
    user.browser.step("it gets another policy");
    user.browser.open("/app/fleet/policies");
    user.browser.fill("#name", "Quay");
    user.browser
        .leave_by("document.querySelector('#create form').requestSubmit()");
    user.browser
        .open(&format!("/app/fleet/agents/actions?action=reassign&agent={}", agent.id));
    user.browser
        .evaluate("{ const choice = document.querySelector('#policy_id'); choice.value = [...choice.options].find(one => one.text === 'Quay').value; 0 }");
    user.browser
        .leave_by("document.querySelector('.panel-foot .primary').click()");
    eventually("the agent with the policy", SOON, || {
        let now = shown(user, agent);
        (now["policy_id"] != "default-policy" && now["policy_revision"].as_i64()? > 0 && now["status"] == "online")
            .then_some(())
    });
}

fn a_package_is_uploaded_and_used(user: &mut User<'_>) {
    user.browser.step("a package is uploaded and used");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("quay.zip");
    fs_err::write(&file, quay_package()).unwrap();
    user.browser.open("/app/fleet/packages");
    let root = user.browser.call("DOM.getDocument", json!({}));
    let field = user.browser.call(
        "DOM.querySelector",
        json!({"nodeId": root["root"]["nodeId"], "selector": "#package"}),
    );
    user.browser.call(
        "DOM.setFileInputFiles",
        json!({"nodeId": field["nodeId"], "files": [file.display().to_string()]}),
    );
    user.browser
        .leave_by("document.querySelector('form[enctype]').requestSubmit()");
    assert!(
        user.browser.toast().contains("installed"),
        "{}",
        user.browser.text("main")
    );
    assert!(user.browser.text("main table").contains("Quay logs"));
    user.browser.picture("packages-1440-light");
    user.browser.open("/app/fleet/policies/default-policy");
    user.browser.fill("#package", "quay");
    user.browser
        .leave_by("document.querySelector('#package').form.requestSubmit()");
    user.browser
        .leave_by("document.querySelector('.panel-foot .primary').click()");
    user.browser.open("/app/fleet/policies/default-policy?tab=yaml");
    assert!(
        user.browser.text("main").contains("/var/log/quay.log"),
        "{}",
        user.browser.text("main")
    );
    // What is in use stays.
    user.browser.open("/app/fleet/packages");
    user.browser
        .evaluate("document.querySelector('form[action$=\"/quay/delete\"]').requestSubmit(), 0");
    user.browser
        .leave_by("document.querySelector('#remove-quay button[value=confirm]').click()");
    assert!(
        user.browser.text("main").contains("in use"),
        "{}",
        user.browser.text("main")
    );
}

fn it_is_unenrolled(user: &mut User<'_>, agent: &Agent) {
    user.browser.step("it is unenrolled");
    user.browser
        .open(&format!("/app/fleet/agents/actions?action=unenroll&agent={}", agent.id));
    user.browser.picture("agent-unenroll-1440-light");
    user.browser
        .leave_by("document.querySelector('.panel-foot .danger').click()");
    eventually("the agent unenrolled", SOON, || {
        (shown(user, agent)["status"] == "unenrolled").then_some(())
    });
    user.browser.open("/app/fleet/agents?status=unenrolled");
    assert!(user.browser.text("#agent-list tbody").contains("Unenrolled"));
    user.browser.open("/app/audit?kind=agent");
    assert!(user.browser.text("#audit-list").contains("elastic"));
    assert!(user.browser.messages().is_empty());
}

fn shown(user: &User<'_>, agent: &Agent) -> Value {
    let found = user.flotilla.console().get(&format!("/api/fleet/agents/{}", agent.id));
    found["item"].clone()
}

/// A package with one data stream, as others publish them.
fn quay_package() -> Vec<u8> {
    let files = [
        (
            "manifest.yml",
            "format_version: 3.0.0\nname: quay\ntitle: Quay logs\ndescription: What happens at the quay.\nversion: 1.0.0\ntype: integration\n\
             owner: {github: example/quay, type: community}\npolicy_templates:\n- name: quay\n  title: Quay\n  description: Quay\n  inputs:\n  - type: logfile\n    title: Logs\n    description: Logs\n",
        ),
        (
            "data_stream/log/manifest.yml",
            "title: Quay log\ntype: logs\nstreams:\n- input: logfile\n  title: Log\n  description: Log\n  template_path: stream.yml.hbs\n  vars:\n\
             \x20 - name: paths\n    type: text\n    title: Paths\n    multi: true\n    required: true\n    default: [/var/log/quay.log]\n",
        ),
        (
            "data_stream/log/agent/stream/stream.yml.hbs",
            "paths:\n{{#each paths as |path i|}}\n  - {{path}}\n{{/each}}\n",
        ),
        ("data_stream/log/fields/base.yml", "- name: message\n  type: text\n"),
    ];
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        let options = zip::write::SimpleFileOptions::default();
        zip.start_file(format!("quay-1.0.0/{name}"), options).unwrap();
        zip.write_all(content.as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}
