//! Joining a fleet: what is sent, what is stored, and what each failure says.

use crate::support::{Server, TOKEN, folder};
use agent::state::StateStore;
use agent::{EnrollError, enroll};
use pki::{Authority, AuthorityRequest};
use serde_json::json;

#[tokio::test]
async fn an_enrolment_sends_what_the_recorded_ones_do_and_is_stored() {
    let server = Server::start();
    let folder = folder();
    let mut options = server.enroll_options(&folder.paths);
    options.tags = vec![" a ".to_owned(), "b".to_owned(), "a".to_owned()];
    options
        .connection
        .headers
        .insert("x-extra".to_owned(), "yes".to_owned());
    let enrolled = enroll(options).await.unwrap();
    assert_eq!(
        (
            enrolled.agent_id.as_str(),
            enrolled.policy_id.as_str(),
            enrolled.kept_id
        ),
        ("agent-1", "p", false)
    );

    let seen = server.wait_for("enroll", |_| true).await;
    let header = |name: &str| seen.headers.get(name).unwrap().to_str().unwrap().to_owned();
    assert_eq!(header("user-agent"), "Elastic Agent v9.6.0");
    assert_eq!(header("authorization"), format!("ApiKey {TOKEN}"));
    assert_eq!(
        (header("elastic-api-version"), header("kbn-xsrf"), header("x-extra")),
        ("2023-06-01".to_owned(), "1".to_owned(), "yes".to_owned())
    );
    assert!(!header("x-request-id").is_empty());
    assert_eq!(
        (&seen.body["type"], &seen.body["id"]),
        (&json!("PERMANENT"), &json!(""))
    );
    assert_eq!(seen.body["metadata"]["tags"], json!(["a", "b"]));
    assert_eq!(seen.body["metadata"]["local"]["elastic"]["agent"]["version"], "9.6.0");

    let stored = StateStore::open(&folder.paths).unwrap().enrollment().unwrap().unwrap();
    assert_eq!(stored.agent_id.as_str(), "agent-1");
    let sealed = fs_err::read(folder.path.join("fleet.enc")).unwrap();
    assert!(!String::from_utf8_lossy(&sealed).contains("agent-1"));
}

#[tokio::test]
async fn enrolling_again_keeps_the_id() {
    let server = Server::start();
    let folder = folder();
    enroll(server.enroll_options(&folder.paths)).await.unwrap();
    let again = enroll(server.enroll_options(&folder.paths)).await.unwrap();
    assert_eq!((again.agent_id.as_str(), again.kept_id), ("agent-1", true));
}

#[tokio::test]
async fn an_id_that_cannot_be_kept_is_given_up_and_the_old_entry_told() {
    let server = Server::start();
    let folder = folder();
    enroll(server.enroll_options(&folder.paths)).await.unwrap();
    server.answer_enroll([(403, json!({"statusCode": 403, "error": "AgentNotReplaceable"}))]);
    let again = enroll(server.enroll_options(&folder.paths)).await.unwrap();
    assert_eq!((again.agent_id.as_str(), again.kept_id), ("agent-2", false));
    assert_eq!(again.replaced_id.unwrap().as_str(), "agent-1");
    server
        .wait_for("audit", |seen| seen.body["reason"] == "uninstall")
        .await;
}

#[tokio::test]
async fn a_busy_server_is_asked_again() {
    let server = Server::start();
    let folder = folder();
    server.answer_enroll([(503, json!({}))]);
    enroll(server.enroll_options(&folder.paths)).await.unwrap();
    assert_eq!(server.count("enroll"), 2);
}

#[tokio::test]
async fn what_does_not_pass_by_itself_fails_at_once_and_says_what_to_do() {
    let server = Server::start();
    let folder = folder();

    let mut wrong_token = server.enroll_options(&folder.paths);
    wrong_token.enrollment_token = "d3Jvbmc6eA==".into();
    let error = enroll(wrong_token).await.unwrap_err().to_string();
    assert!(
        error.contains("401") && error.contains("enrollment token is not valid"),
        "{error}"
    );
    assert!(!error.contains("d3Jvbmc6eA=="));

    let stranger = Authority::generate(AuthorityRequest {
        subject_cn: "Stranger".to_owned(),
        ..AuthorityRequest::default()
    })
    .unwrap();
    let mut wrong_ca = server.enroll_options(&folder.paths);
    wrong_ca.connection.ssl.insert(
        "certificate_authorities".to_owned(),
        json!([stranger.certificate_pem()]),
    );
    let error = enroll(wrong_ca).await.unwrap_err().to_string();
    assert!(error.contains("presented") && error.contains("Stranger"), "{error}");

    let mut no_trust = server.enroll_options(&folder.paths);
    no_trust.connection.ssl.clear();
    let error = enroll(no_trust).await.unwrap_err().to_string();
    assert!(error.contains("presented"), "{error}");

    let mut no_file = server.enroll_options(&folder.paths);
    no_file
        .connection
        .ssl
        .insert("certificate_authorities".to_owned(), json!(["/no/such/ca.crt"]));
    let error = enroll(no_file).await.unwrap_err().to_string();
    assert!(error.contains("/no/such/ca.crt"), "{error}");

    let mut plain = server.enroll_options(&folder.paths);
    plain.connection.hosts = vec!["http://127.0.0.1:1".to_owned()];
    assert!(matches!(enroll(plain).await, Err(EnrollError::Plain { .. })));

    assert_eq!(
        server.count("enroll"),
        1,
        "only the wrong token got as far as a request"
    );
    assert!(!folder.path.join("fleet.enc").exists());
}

#[tokio::test]
async fn a_failed_enrolment_leaves_the_one_before() {
    let server = Server::start();
    let folder = folder();
    enroll(server.enroll_options(&folder.paths)).await.unwrap();
    server.answer_enroll([(401, json!({}))]);
    enroll(server.enroll_options(&folder.paths)).await.unwrap_err();
    let stored = StateStore::open(&folder.paths).unwrap().enrollment().unwrap().unwrap();
    assert_eq!(stored.agent_id.as_str(), "agent-1");
}

#[tokio::test]
async fn a_closed_port_is_tried_until_the_timeout() {
    let [port] = testkit::free_ports();
    let server = Server::start();
    let folder = folder();
    let mut options = server.enroll_options(&folder.paths);
    options.connection.hosts = vec![format!("https://127.0.0.1:{port}")];
    options.timeout = Some(std::time::Duration::from_millis(100));
    let error = enroll(options).await.unwrap_err();
    assert!(matches!(error, EnrollError::TimedOut { .. }), "{error}");
    assert!(error.to_string().contains(&port.to_string()), "{error}");
}

#[tokio::test]
async fn a_fingerprint_brings_the_ca_and_a_wrong_one_is_refused() {
    let server = Server::start();
    let folder = folder();
    let mut options = server.enroll_options(&folder.paths);
    options.connection.ssl.clear();
    options.ca_fingerprint = Some(server.ca.fingerprint().to_string());
    enroll(options.clone()).await.unwrap();
    let stored = StateStore::open(&folder.paths).unwrap().enrollment().unwrap().unwrap();
    assert_eq!(
        stored.connection.ssl["certificate_authorities"],
        json!([server.ca.certificate_pem()])
    );

    options.ca_fingerprint = Some("ab".repeat(32));
    let error = enroll(options).await.unwrap_err().to_string();
    assert!(
        error.contains("presented") && error.contains(&server.ca.fingerprint().to_string()),
        "{error}"
    );
    assert_eq!(server.count("enroll"), 1);
}

#[tokio::test]
async fn insecure_is_said() {
    let server = Server::start();
    let folder = folder();
    let mut options = server.enroll_options(&folder.paths);
    options.connection.ssl.clear();
    options
        .connection
        .ssl
        .insert("verification_mode".to_owned(), json!("none"));
    options.insecure = true;
    let enrolled = enroll(options).await.unwrap();
    assert!(
        enrolled.warnings.iter().any(|warning| warning.contains("not verified")),
        "{:?}",
        enrolled.warnings
    );
}
