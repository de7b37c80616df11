//! Fleet in a real browser: what people do on its pages, from a fresh store to what the local agent gets.
//!
//! Pictures are kept in `artefacts/pages`.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pki::{Authority, AuthorityRequest, KeyType, LeafRequest};
use serde_json::Value;
use testkit::{Browser, Flotilla, User, eventually, free_ports, run};

const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");
const SOON: Duration = Duration::from_mins(1);

#[test]
fn a_fleet_is_run_from_its_pages() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let flotilla = Flotilla::start(FLOTILLA, &[]);
    let mut user = User::log_in(browser, &flotilla, "/app/fleet/settings");
    every_tls_field_is_there_with_its_labels(&mut user);
    a_wrong_pair_is_refused_with_its_field(&mut user);
    a_p12_is_read_with_its_password(&mut user);
    an_output_reaches_the_agent(&mut user);
    an_output_is_made_and_deleted(&mut user);
    a_policy_is_copied_changed_and_deleted(&mut user);
    an_integration_is_added_and_removed(&mut user);
    an_agent_gets_a_tag(&mut user);
    the_local_agent_is_led(&mut user);
    a_proxy_is_made_with_the_keyboard_alone(&mut user);
    a_second_fleet_server_is_added(&mut user);
    user.browser.step("the end");
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

fn every_tls_field_is_there_with_its_labels(user: &mut User<'_>) {
    user.browser.step("TLS fields of a Fleet Server host");
    user.browser
        .open("/app/fleet/settings?flyout=host-fleet-default-fleet-server-host");
    for (field, label, older) in HOST_FIELDS {
        let of_field = user.browser.evaluate(&format!(
            "document.querySelector('[name=\"ssl.{field}\"]')?.closest('.field').innerText ?? ''"
        ));
        let of_field = of_field.as_str().unwrap();
        assert!(of_field.contains(label), "ssl.{field}: {label} in {of_field}");
        assert!(of_field.contains(older), "ssl.{field}: {older} in {of_field}");
    }
}

/// Before it is saved, as soon as the field is left.
fn a_wrong_pair_is_refused_with_its_field(user: &mut User<'_>) {
    user.browser.step("a wrong pair");
    let (certificate, _) = pair("fleet.example");
    let (_, foreign_key) = pair("other.example");
    user.browser
        .open("/app/fleet/settings?flyout=host-fleet-default-fleet-server-host");
    user.browser.type_into("ssl.certificate", &certificate);
    user.browser.type_into("ssl.key", &foreign_key);
    user.browser.until(
        "the card of the certificate",
        "document.querySelector('#about-ssl-certificate').innerText.includes('fleet.example')",
    );
    user.browser.until(
        "the verdict on the key",
        "document.querySelector('#about-ssl-key').innerText.includes('does not belong')",
    );
    user.browser
        .evaluate("document.querySelector('#about-ssl-key').scrollIntoView({ block: 'center' })");
    user.browser.picture("settings-host-wrong-1440-light");
    user.browser.forget_changes();
}

fn a_p12_is_read_with_its_password(user: &mut User<'_>) {
    user.browser.step("a p12");
    user.browser
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
    user.browser.evaluate(&format!(
        "{{ const files = new DataTransfer(); files.items.add(new File([new Uint8Array({bytes})], 'agent.p12')); \
         const chooser = document.querySelector('[name=\"ssl.certificate.file\"]'); chooser.files = files.files; \
         chooser.dispatchEvent(new Event('change', {{ bubbles: true }})); 0 }}"
    ));
    user.browser.until(
        "what is missing",
        "document.querySelector('#about-ssl-certificate').innerText.includes('type its password')",
    );
    // The file is still there.
    user.browser.fill("[name='ssl.certificate.passphrase']", "secret");
    user.browser.until(
        "the card of the certificate",
        "document.querySelector('#about-ssl-certificate').innerText.includes('agent.example')",
    );
    user.browser
        .evaluate("document.querySelector('#about-ssl-certificate').scrollIntoView({ block: 'center' })");
    user.browser.picture("settings-output-p12-1440-light");
    user.browser.forget_changes();
}

/// A TLS field of the default output: saved, asked about, and in the next revision of the local agent's policy.
fn an_output_reaches_the_agent(user: &mut User<'_>) {
    user.browser.step("an output that reaches the agent");
    let before = local_agent(user)["policy_revision"].as_i64();
    user.browser
        .open("/app/fleet/settings?flyout=output-fleet-default-output");
    let save = "document.querySelector('button[value=save]').disabled";
    assert_eq!(user.browser.evaluate(save), true, "what is unchanged cannot be saved");
    user.browser.type_into("ssl.verification_mode", "certificate");
    assert_eq!(user.browser.evaluate(save), false);
    user.browser.follow("button[value=save]");
    let question = user.browser.text("[data-asks]");
    assert!(question.contains("new revision"), "{question}");
    user.browser.picture("settings-output-asks-1440-light");
    user.browser.follow("button[value=deploy]");
    assert_eq!(user.browser.toast(), "Output saved");
    eventually("the agent with a newer revision", SOON, || {
        (local_agent(user)["policy_revision"].as_i64() > before).then_some(())
    });
    user.browser.open("/app/fleet/policies/default-policy?tab=yaml");
    user.browser.sees("main", "verification_mode: certificate");
}

fn an_output_is_made_and_deleted(user: &mut User<'_>) {
    user.browser.step("an output made and deleted");
    user.browser.open("/app/fleet/settings?flyout=output-new&type=logstash");
    let (certificate, key) = pair("agent.example");
    user.browser.type_into("name", "archive");
    user.browser.type_into("hosts", "logstash.example:5044");
    user.browser.type_into("ssl.certificate", &certificate);
    user.browser.type_into("ssl.key", &key);
    user.browser.follow("button[value=save]");
    if user.browser.evaluate("document.querySelector('[data-asks]') !== null") == true {
        user.browser.follow("button[value=deploy]");
    }
    user.browser.sees("main", "logstash.example:5044");
    user.browser
        .leave_by("[...document.querySelectorAll('a')].find(a => a.textContent === 'archive').click()");
    // The key is stored: nothing of it comes back.
    let key_line = key.lines().nth(1).unwrap();
    let html = user.browser.evaluate("document.documentElement.innerHTML");
    assert!(!html.as_str().unwrap().contains(key_line));
    user.browser.sees(".secret", "Nobody can read it back");
    user.browser.follow(".flyout .actions a");
    user.browser.follow("[aria-label='Delete archive']");
    user.browser.picture("settings-output-delete-1440-light");
    user.browser.follow(".modal .danger");
    assert_eq!(user.browser.toast(), "Output deleted");
    assert!(!user.browser.text("main").contains("archive"));
}

fn a_policy_is_copied_changed_and_deleted(user: &mut User<'_>) {
    user.browser.step("a policy copied, changed and deleted");
    user.browser.open("/app/fleet/policies/default-policy?tab=settings");
    user.browser.fill("#copy-name", "edge");
    user.browser.follow("form[action$='/copy'] button");
    assert_eq!(user.browser.text("h1"), "edge");
    let path = user.browser.evaluate("location.pathname");
    let path = path.as_str().unwrap().to_owned();
    user.browser.open(&format!("{path}?tab=settings"));
    user.browser.type_into("namespace", "Not Allowed");
    user.browser.follow(".panel-foot .primary");
    user.browser.sees("#about-namespace", "lowercase");
    user.browser.type_into("namespace", "edge");
    user.browser.follow(".panel-foot .primary");
    user.browser.open(&format!("{path}?tab=yaml"));
    user.browser.sees("main", "namespace: edge");
    user.browser.open(&format!("{path}?tab=settings"));
    user.browser.click("form[action$='/delete'] button");
    user.browser.picture("policy-delete-1440-light");
    user.browser.follow("#delete-policy button[value=confirm]");
    assert_eq!(user.browser.toast(), "The agent policy was deleted.");
}

/// The agent gets it, and loses it again.
fn an_integration_is_added_and_removed(user: &mut User<'_>) {
    user.browser.step("an integration added and removed");
    let before = local_agent(user)["policy_revision"].as_i64();
    user.browser.open("/app/fleet/policies/default-policy");
    user.browser.fill("#package", "system");
    user.browser
        .leave_by("document.querySelector('#package').form.requestSubmit()");
    user.browser.picture("integration-1440-light");
    user.browser.type_into("name", "more of the system");
    user.browser.follow(".panel-foot .primary");
    user.browser.sees("main", "more of the system");
    eventually("the agent with the integration", SOON, || {
        (local_agent(user)["policy_revision"].as_i64() > before).then_some(())
    });
    user.browser
        .leave_by("[...document.querySelectorAll('a')].find(a => a.textContent === 'more of the system').click()");
    user.browser.click("form[action$='/delete'] button");
    user.browser.follow("#remove button[value=confirm]");
    assert!(!user.browser.text("main").contains("more of the system"));
}

fn an_agent_gets_a_tag(user: &mut User<'_>) {
    user.browser.step("a tag");
    user.browser.open("/app/fleet/agents");
    user.browser.click("[data-select]");
    assert_eq!(user.browser.text("[data-bulk-count]"), "1");
    user.browser.picture("agents-selected-1440-light");
    user.browser.follow("#bulk [value=tags]");
    user.browser.type_into("add", "harbour");
    user.browser.picture("agents-tags-1440-light");
    user.browser.follow(".panel-foot .primary");
    user.browser.sees(".page-title", "harbour");
    user.browser.picture("agent-1440-light");
    user.browser.open("/app/fleet/agents?tag=harbour");
    user.browser.sees("#agent-list tbody", "harbour");
}

/// The agent of `up` itself: another policy and back, and what it says about itself as a file.
fn the_local_agent_is_led(user: &mut User<'_>) {
    user.browser.step("the local agent in another policy");
    let id = local_agent(user)["id"].as_str().unwrap().to_owned();
    user.browser.open("/app/fleet/policies");
    user.browser.fill("#name", "Quay");
    user.browser.follow("#create button.primary");
    let quay = user.browser.evaluate("location.pathname.split('/').pop()");
    for policy in [quay.as_str().unwrap(), "default-policy"] {
        user.browser
            .open(&format!("/app/fleet/agents/actions?action=reassign&agent={id}"));
        user.browser.fill("#policy_id", policy);
        user.browser.follow(".panel-foot .primary");
        eventually("the local agent with its policy", SOON, || {
            let agent = local_agent(user);
            let is_there = agent["policy_id"] == policy && agent["policy_revision"].as_i64()? > 0;
            (is_there && agent["status"] == "online").then_some(())
        });
    }
    user.browser.step("diagnostics of the local agent");
    user.browser.open(&format!("/app/fleet/agents/{id}/diagnostics"));
    user.browser.follow("#diagnostics .panel-head .button");
    user.browser.follow(".panel-foot .primary");
    user.browser
        .until("the zip", "document.querySelector('#diagnostics a[download]') !== null");
    let zip = user.browser.download("#diagnostics a[download]");
    assert_eq!(&zip[..2], b"PK", "it is a zip");
    user.browser.click("#diagnostics form[action$='/delete'] button");
    user.browser.follow("#delete-zip button[value=confirm]");
    user.browser.sees("#diagnostics", "Deleted");
}

/// From its page to agents that enroll through it, by the commands that the page shows; only their paths on the new host are others.
fn a_second_fleet_server_is_added(user: &mut User<'_>) {
    user.browser.step("a second Fleet Server");
    user.browser.open("/app/fleet/agents/add-fleet-server");
    user.browser.sees("main", "answers at");
    user.browser.follow_text("Add another host");
    let [port] = free_ports();
    let url = format!("https://localhost:{port}");
    user.browser.type_into("name", "Quay");
    user.browser.type_into("host_urls", &url);
    user.browser.follow("button[value=save]");
    let proposed = user.browser.evaluate("document.querySelector('#url').value");
    assert_eq!(proposed, url.as_str(), "the new host is chosen");
    user.browser.submit("main form");
    user.browser.sees(".command pre", "certutil cert");
    user.browser.picture("add-fleet-server-1440-light");
    let _server = FleetServer::started_as(&shown_commands(user));
    user.browser.until(
        "the Fleet Server in the open page, its step done",
        "document.querySelector('#arrived .ball.done') && document.querySelector('#arrived').innerText.includes('Healthy')",
    );
    user.browser.picture("add-fleet-server-arrived-1440-light");
    user.browser.follow("#arrived a[href$='tab=settings']");
    user.browser.evaluate(
        "{ const hosts = document.querySelector('[name=fleet_server_host_id]'); \
         hosts.value = [...hosts.options].find(one => one.text.includes('Quay')).value; \
         hosts.dispatchEvent(new Event('change', { bubbles: true })); 0 }",
    );
    user.browser.follow(".panel-foot .primary");
    user.browser.step("an agent through it");
    user.browser.open("/app/fleet/agents/add");
    let command = user.browser.text(".command pre");
    let join = command.split_whitespace().skip_while(|word| *word != "--join").nth(1);
    let home = tempfile::tempdir().unwrap();
    let path = format!("--path.home={}", home.path().display());
    let enrolled = run(FLOTILLA, ["agent", &path, "enroll", "--force", "--join", join.unwrap()]);
    assert!(
        enrolled.status.success(),
        "{}",
        String::from_utf8_lossy(&enrolled.stderr)
    );
    user.browser
        .until("the agent", "document.querySelector('#arrived .ball.done') !== null");
}

/// The commands of the page.
fn shown_commands(user: &mut User<'_>) -> Vec<String> {
    let commands = user
        .browser
        .evaluate("[...document.querySelectorAll('.command pre')].map(command => command.textContent)");
    let commands = commands.as_array().into_iter().flatten();
    commands.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A Fleet Server on a host of its own.
struct FleetServer {
    child: Child,
    _folder: tempfile::TempDir,
}

impl FleetServer {
    /// By what makes its certificate, what writes the CA, and what enrolls it.
    fn started_as(commands: &[String]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().display().to_string();
        let certificate = commands[0].split("\nunzip").next().unwrap();
        let certificate = certificate.replacen("flotilla", FLOTILLA, 1);
        let in_shell = |text: &str| {
            let text = format!("cd {place} && {text}");
            let done = run("sh", ["-c", &text]);
            assert!(
                done.status.success(),
                "{text}: {}",
                String::from_utf8_lossy(&done.stderr)
            );
        };
        in_shell(&certificate);
        let zip = fs_err::File::open(folder.path().join("fleet-server.zip")).unwrap();
        zip::ZipArchive::new(zip).unwrap().extract(folder.path()).unwrap();
        let written = commands[1].replace("sudo ", "").replace("/etc/", &format!("{place}/"));
        in_shell(&written);
        let (_, options) = commands[2].split_once("sh -s --").unwrap();
        let options = options
            .replace("/etc/fleet-ca", &format!("{place}/fleet-ca"))
            .replace("/etc/", &format!("{place}/fleet-server/"));
        in_shell(&format!(
            "{FLOTILLA} agent enroll --path.home={place}/home --force {options}"
        ));
        let child = Command::new(FLOTILLA)
            .args(["agent", &format!("--path.home={place}/home"), "run"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, _folder: folder }
    }
}

impl Drop for FleetServer {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _already_waited = self.child.wait();
    }
}

/// Opened, filled in, saved and closed without a pointer.
fn a_proxy_is_made_with_the_keyboard_alone(user: &mut User<'_>) {
    user.browser.step("a proxy by keyboard");
    user.browser.open("/app/fleet/settings");
    user.browser.evaluate(
        "[...document.querySelectorAll('a.button')].find(link => link.innerText.includes('Add proxy')).focus()",
    );
    user.browser.leave_by("document.activeElement.click()");
    user.browser
        .until("the focus in the first field", "document.activeElement.name === 'name'");
    user.browser.write("harbour");
    for _ in 0..9 {
        user.browser.press("Tab");
        if user.browser.evaluate("document.activeElement.name") == "url" {
            break;
        }
    }
    user.browser.write("http://proxy.example:3128");
    let inside = "document.querySelector('form[data-form]').contains(document.activeElement)";
    for _ in 0..40 {
        user.browser.press("Tab");
        assert_eq!(user.browser.evaluate(inside), true, "the focus stays in the flyout");
    }
    user.browser.evaluate("document.querySelector('[name=url]').focus()");
    user.browser.press("Enter");
    user.browser.until(
        "what was said when it was saved",
        "window.toastOfThisPage.includes('saved') && document.querySelector('main').innerText.includes('proxy.example:3128')",
    );
    user.browser.open("/app/fleet/settings?flyout=proxy-new");
    user.browser.press("Escape");
    user.browser.until(
        "the closed flyout",
        "location.search === '' && document.querySelector('.flyout') === null && document.readyState === 'complete'",
    );
}

/// As the API shows the only agent.
fn local_agent(user: &User<'_>) -> Value {
    user.flotilla.console().get("/api/fleet/agents")["items"][0].clone()
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
