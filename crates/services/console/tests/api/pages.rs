//! What holds for every page: the headers, the session, the forms' token, nothing from elsewhere.

use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use serde_json::json;

use crate::harness::{Answer, Fleet, PASSWORD};

/// Every page that a reader can open.
const PAGES: &[&str] = &[
    "/",
    "/app/fleet/agents",
    "/app/fleet/agents/add",
    "/app/fleet/agents/add?platform=windows",
    "/app/fleet/agents/add?platform=kubernetes",
    "/app/fleet/agents/add-fleet-server",
    "/app/fleet/agents/activity",
    "/app/fleet/policies/default-policy?tab=history&revision=2",
    "/app/fleet/uninstall-tokens",
    "/app/fleet/settings?flyout=host-new",
    "/app/fleet/policies",
    "/app/fleet/enrollment-tokens",
    "/app/fleet/data-streams",
    "/app/fleet/settings",
    "/app/trust/map",
    "/app/trust/map?only=problems",
    "/app/trust/certificates",
    "/app/explore",
    "/app/explore?q=not%20(kql",
    "/app/explore?index=.fleet-agents&q=a",
    "/app/hosts",
    "/app/hosts/web-1?range=15m",
    "/app/audit",
];

struct Reader<'a> {
    fleet: &'a Fleet,
    cookie: String,
}

impl Reader<'_> {
    async fn get(&self, path: &str) -> Answer {
        let request = Request::get(path).header(header::COOKIE, &self.cookie);
        self.fleet.send(request.body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, form: &str) -> Answer {
        let request = Request::post(path)
            .header(header::COOKIE, &self.cookie)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.fleet
            .send(request.body(Body::from(form.to_owned())).unwrap())
            .await
    }

    /// The token of a form on a page.
    async fn token(&self, path: &str) -> String {
        let page = text(&self.get(path).await).to_owned();
        let (_, rest) = page.split_once("name=\"csrf_token\" value=\"").unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    }
}

async fn log_in<'a>(fleet: &'a Fleet, user: &str) -> Reader<'a> {
    let form = format!("username={user}&password={}&next=%2F", PASSWORD.replace(' ', "+"));
    let request = Request::post("/login").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let answer = fleet.send(request.body(Body::from(form)).unwrap()).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let cookie = answer.headers[header::SET_COOKIE].to_str().unwrap().to_owned();
    for attribute in ["; HttpOnly", "; Secure", "; SameSite=Lax", "; Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    Reader {
        fleet,
        cookie: cookie.split_once(';').unwrap().0.to_owned(),
    }
}

fn text(answer: &Answer) -> &str {
    answer.body.as_str().unwrap_or_default()
}

fn check_headers(path: &str, answer: &Answer) {
    let header = |name: &str| answer.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let policy = header("content-security-policy").unwrap_or_default();
    assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
    for never in ["unsafe-inline", "unsafe-eval", "http:", "https:", "*"] {
        assert!(!policy.contains(never), "{path}: {policy}");
    }
    for part in ["frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"] {
        assert!(policy.contains(part), "{path}: {policy}");
    }
    let expected = [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("cache-control", "no-store"),
        ("strict-transport-security", "max-age=31536000"),
    ];
    for (name, value) in expected {
        assert_eq!(header(name).as_deref(), Some(value), "{path}: {name}");
    }
}

/// Style and script of a page would be refused by its own policy, and so would anything from elsewhere.
fn check_markup(path: &str, html: &str) {
    assert!(html.starts_with("<!doctype html>"), "{path}");
    for never in [
        " style=\"",
        " onclick=",
        " onload=",
        "<script>",
        "hx-on",
        "src=\"http",
        "href=\"http",
    ] {
        assert!(!html.contains(never), "{path} has {never}");
    }
    for once in ["<h1", "<main "] {
        assert_eq!(html.matches(once).count(), 1, "{path}: {once}");
    }
    assert!(
        html.contains("class=\"skip\" href=\"#main\""),
        "{path} can be skipped into"
    );
}

async fn with_a_host() -> Fleet {
    let fleet = Fleet::start().await;
    let document = json!({"@timestamp": "2026-01-02T11:59:30Z", "host": {"name": "web-1", "os": {"name": "Debian"}},
        "agent": {"id": "gone"}, "event": {"module": "system"}, "data_stream": {"dataset": "system.load"},
        "system": {"load": {"1": 0.5}}});
    let operation = store::Operation::append("metrics-system.load-default", store::Source::of(&document));
    let outcomes = fleet
        .store
        .bulk(vec![operation], store::Refresh::WaitFor)
        .await
        .unwrap();
    assert!(outcomes.into_iter().all(|outcome| outcome.written().is_ok()));
    fleet
}

#[tokio::test]
async fn every_page_has_its_headers_and_nothing_from_elsewhere() {
    let fleet = with_a_host().await;
    let reader = log_in(&fleet, "elastic").await;
    for path in PAGES {
        let answer = reader.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", text(&answer));
        check_headers(path, &answer);
        check_markup(path, text(&answer));
    }
    let missing = reader.get("/app/no-such-page").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    check_headers("/app/no-such-page", &missing);
}

#[tokio::test]
async fn without_a_session_every_page_leads_to_the_login() {
    let fleet = with_a_host().await;
    for path in PAGES.iter().copied().chain(["/events", "/app/explore/suggest?q=a"]) {
        let answer = fleet.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{path}");
        let to = answer.headers[header::LOCATION].to_str().unwrap();
        assert!(to.starts_with("/login?next=%2F"), "{path}: {to}");
        check_headers(path, &answer);
    }
}

#[tokio::test]
async fn forms_need_the_token_of_their_own_session() {
    let fleet = Fleet::start().await;
    let reader = log_in(&fleet, "elastic").await;
    let other = log_in(&fleet, "elastic").await;
    let foreign = other.token("/app/explore").await;
    for token in ["", "x", &foreign] {
        for path in ["/app/explore/saved", "/app/trust/map/test", "/app/trust/map/test-all"] {
            let answer = reader.post(path, &format!("csrf_token={token}&name=a&edge=b")).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} with `{token}`");
        }
    }
    let (one, two) = (reader.token("/app/explore").await, reader.token("/app/explore").await);
    assert_ne!(one, two, "compressed pages would give a constant token away");
    for (token, name) in [(one, "first"), (two, "second")] {
        let form = format!("csrf_token={token}&name={name}&url_query=q%3Da");
        let answer = reader.post("/app/explore/saved", &form).await;
        assert_eq!(answer.headers[header::LOCATION], "/app/explore?q=a&done=saved");
    }
}

#[tokio::test]
async fn readers_look_and_change_nothing() {
    let fleet = Fleet::start().await;
    let reader = log_in(&fleet, "reader").await;
    let page = reader.get("/app/explore").await;
    assert!(
        !text(&page).contains("action=\"/app/explore/saved\""),
        "no form to save"
    );
    let token = reader.token("/app/explore").await;
    let answer = reader
        .post("/app/explore/saved", &format!("csrf_token={token}&name=a"))
        .await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(reader.get("/app/audit").await.status, StatusCode::FORBIDDEN);
    assert_eq!(reader.get("/app/trust/map").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_search_shows_what_was_shipped() {
    let fleet = with_a_host().await;
    let reader = log_in(&fleet, "elastic").await;
    let check = |html: &str, expected: &[&str]| {
        for text in expected {
            assert!(html.contains(text), "no {text} in {html}");
        }
    };
    let found = reader.get("/app/explore?index=metrics-*&q=host.name%20:%20web-1").await;
    check(
        text(&found),
        &["1 document", "system.load", "load.1 0.5", "<mark>web-1</mark>"],
    );
    let wrong = reader.get("/app/explore?q=a%20and%20(").await;
    check(text(&wrong), &["aria-invalid=\"true\"", "This is not KQL", "at column"]);
    let nothing = reader.get("/app/explore?index=metrics-*&q=nowhere").await;
    check(text(&nothing), &["No document matches", "Clear search"]);
    let secret = reader.get("/app/explore?index=.flotilla-sessions").await;
    check(text(&secret), &["<option value=\"logs-*\" selected>"]);
    let host = reader.get("/app/hosts/web-1?range=15m").await;
    check(text(&host), &["<h1>web-1</h1>", "Load in processes"]);
    assert_eq!(reader.get("/app/hosts/web-2").await.status, StatusCode::NOT_FOUND);
    let suggested = reader.get("/app/explore/suggest?index=metrics-*&q=host.na").await;
    check(text(&suggested), &["data-text=\"host.name : \""]);
    let values = reader
        .get("/app/explore/suggest?index=metrics-*&q=host.name%20:%20w")
        .await;
    check(text(&values), &["data-text=\"host.name : web-1 \""]);
}

#[tokio::test]
async fn a_text_has_no_list_of_values() {
    let fleet = Fleet::start().await;
    let line =
        json!({"@timestamp": "2026-01-02T11:59:30Z", "message": "disk is full", "data_stream": {"dataset": "app"}});
    let operation = store::Operation::append("logs-app-default", store::Source::of(&line));
    let written = fleet
        .store
        .bulk(vec![operation], store::Refresh::WaitFor)
        .await
        .unwrap();
    assert!(written.into_iter().all(|outcome| outcome.written().is_ok()));
    let reader = log_in(&fleet, "elastic").await;
    let page = reader.get("/app/explore?field=message").await;
    assert_eq!(page.status, StatusCode::OK, "{}", text(&page));
    assert!(text(&page).contains("its values are not counted"), "{}", text(&page));
    let page = reader.get("/app/explore?field=data_stream.dataset").await;
    assert!(text(&page).contains("100%"), "{}", text(&page));
}

#[tokio::test]
async fn what_was_done_is_in_the_audit_log() {
    let fleet = Fleet::start().await;
    let reader = log_in(&fleet, "elastic").await;
    let token = reader.token("/app/explore").await;
    reader
        .post(
            "/app/explore/saved",
            &format!("csrf_token={token}&name=Refused&url_query=q%3Drefused"),
        )
        .await;
    let log = reader.get("/app/audit?kind=saved%20search").await;
    for expected in ["created saved search", "Refused", "q=refused", "elastic"] {
        assert!(text(&log).contains(expected), "no {expected} in {}", text(&log));
    }
    let other = reader.get("/app/audit?q=nobody-did-this").await;
    assert!(text(&other).contains("No change matches"));
    let by_method = fleet.ask(Method::GET, "/app/audit", None).await;
    assert_eq!(
        by_method.status,
        StatusCode::SEE_OTHER,
        "pages take no other credential"
    );
}

async fn agent(fleet: &Fleet, id: &str, tags: &[&str], version: &str) {
    let document = json!({
        "type": "PERMANENT", "active": true, "policy_id": "default-policy", "enrolled_at": "2026-01-02T11:00:00Z",
        "last_checkin": "2026-01-02T11:59:50Z", "last_checkin_status": "online", "policy_revision_idx": 1, "tags": tags,
        "agent": {"id": id, "version": version}, "access_api_key_id": "k", "local_metadata": {"host": {"hostname": format!("host-{id}")}},
    });
    fleet.write(".fleet-agents", id, document).await;
}

#[tokio::test]
async fn whoever_may_only_look_sees_no_enrollment_token() {
    let fleet = Fleet::start().await;
    let token = fleet.setup.enrollment_token.expose().to_owned();
    let of = |user: &'static str| log_in(&fleet, user);
    let (changes, looks) = (of("elastic").await, of("reader").await);
    let manifest = "/app/fleet/agents/add/kubernetes?policy=default-policy";
    assert!(text(&changes.get(manifest).await).contains(&token));
    assert_eq!(looks.get(manifest).await.status, StatusCode::FORBIDDEN);
    for platform in ["linux", "windows", "container"] {
        let path = format!("/app/fleet/agents/add?platform={platform}");
        assert!(text(&changes.get(&path).await).contains(&token), "{platform}");
        let seen = looks.get(&path).await;
        assert!(!text(&seen).contains(&token), "{platform}");
        assert!(text(&seen).contains("do not let you see enrollment tokens"));
    }
    assert!(text(&changes.get("/app/fleet/agents/add").await).contains("flotilla1."));
    assert!(!text(&looks.get("/app/fleet/agents/add").await).contains("flotilla1."));
    assert!(!text(&looks.get("/app/fleet/enrollment-tokens").await).contains(&token));
}

#[tokio::test]
async fn a_token_is_bounded_as_its_form_says() {
    let fleet = Fleet::start().await;
    let reader = log_in(&fleet, "elastic").await;
    let path = "/app/fleet/enrollment-tokens";
    let form = |token: &str, rest: &str| format!("csrf_token={token}&policy_id=default-policy&name=harbour&{rest}");
    let token = reader.token(path).await;
    let wrong = reader.post(path, &form(&token, "allowed_addresses=10.0.0.0/40")).await;
    assert_eq!(wrong.status, StatusCode::OK);
    assert!(text(&wrong).contains("neither an address nor a network"));
    assert!(
        text(&wrong).contains("value=\"harbour\""),
        "what was typed is still there"
    );
    let bounds = "hours=24&use_limit=3&allowed_addresses=10.0.0.0/8,+192.0.2.7";
    let made = reader.post(path, &form(&token, bounds)).await;
    assert_eq!(
        made.headers[header::LOCATION],
        "/app/fleet/enrollment-tokens?done=created"
    );
    let list = fleet.get("/api/fleet/enrollment_api_keys").await.ok();
    let newest = &list["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["use_limit"] == 3)
        .unwrap();
    assert_eq!(newest["allowed_addresses"], json!(["10.0.0.0/8", "192.0.2.7"]));
    assert_eq!(newest["expire_at"], "2026-01-03T12:00:00.000Z");
    let shown = reader.get(&format!("{path}?q=HARB")).await;
    for expected in ["0 of 3", "in 24 h", "only from 10.0.0.0/8, 192.0.2.7"] {
        assert!(text(&shown).contains(expected), "no {expected} in {}", text(&shown));
    }
    assert!(text(&reader.get(&format!("{path}?q=nobody")).await).contains("No token matches"));
}

#[tokio::test]
async fn everything_that_matches_is_what_the_filters_show() {
    let fleet = Fleet::start().await;
    agent(&fleet, "a1", &["edge"], "9.6.0").await;
    agent(&fleet, "a2", &["edge"], "9.5.0").await;
    agent(&fleet, "a3", &["core"], "9.6.0").await;
    let reader = log_in(&fleet, "elastic").await;
    let check = async |filters: &str, expected: &[&str]| {
        let list = reader.get(&format!("/app/fleet/agents?{filters}")).await;
        let asked = reader
            .get(&format!("/app/fleet/agents/actions?action=tags&all=on&{filters}"))
            .await;
        for id in ["a1", "a2", "a3"] {
            let (host, is_expected) = (format!("host-{id}"), expected.contains(&id));
            assert_eq!(text(&list).contains(&host), is_expected, "{id} listed by {filters}");
            assert_eq!(text(&asked).contains(&host), is_expected, "{id} selected by {filters}");
        }
    };
    check("tag=edge", &["a1", "a2"]).await;
    check("tag=edge&version=9.6.0", &["a1"]).await;
    check("version=9.6.0&status=online", &["a1", "a3"]).await;
    check("q=a3", &["a3"]).await;
    check("policy=default-policy", &["a1", "a2", "a3"]).await;
}

#[tokio::test]
async fn an_agent_has_parts_and_no_others() {
    let fleet = Fleet::start().await;
    agent(&fleet, "a1", &[], "9.6.0").await;
    let line = json!({"@timestamp": "2026-01-02T11:59:30Z", "agent": {"id": "a1"}, "log": {"level": "error"}, "message": "disk is full",
        "data_stream": {"dataset": "elastic_agent"}});
    let operation = store::Operation::append("logs-elastic_agent-default", store::Source::of(&line));
    fleet
        .store
        .bulk(vec![operation], store::Refresh::WaitFor)
        .await
        .unwrap();
    let reader = log_in(&fleet, "elastic").await;
    for (part, expected) in [
        ("", "Output for integrations"),
        ("/logs", "disk is full"),
        ("/logs?q=disk&level=error&range=1h", "disk is full"),
        ("/logs?q=nothing", "No line matches"),
        ("/logs?q=a%20(b", "aria-invalid"),
        ("/logs?dataset=system.auth", "No line"),
        ("/diagnostics", "None was requested"),
        ("/settings", "Reset to policy"),
    ] {
        let path = format!("/app/fleet/agents/a1{part}");
        let answer = reader.get(&path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        check_markup(&path, text(&answer));
        assert!(
            text(&answer).contains(expected),
            "{path} has no {expected}: {}",
            text(&answer)
        );
    }
    assert_eq!(
        reader.get("/app/fleet/agents/a1/cellar").await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        reader.get("/app/fleet/agents/a2/logs").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn an_action_is_followed_and_cancelled() {
    let fleet = Fleet::start().await;
    agent(&fleet, "a1", &[], "9.0.0").await;
    let reader = log_in(&fleet, "elastic").await;
    let token = reader.token("/app/fleet/agents/a1/settings").await;
    let form = format!("csrf_token={token}&action=log-level&agent=a1&log_level=debug");
    let answer = reader.post("/app/fleet/agents/actions", &form).await;
    assert_eq!(
        answer.headers[header::LOCATION],
        "/app/fleet/agents/a1/settings?done=log-level"
    );
    let page = reader.get("/app/fleet/agents/activity").await;
    for expected in ["Set the logging level of 1 agent", "0 of 1", "In progress"] {
        assert!(text(&page).contains(expected), "no {expected} in {}", text(&page));
    }
    let (_, rest) = text(&page).split_once("/app/fleet/agents/activity/").unwrap();
    let (id, _) = rest.split_once("/cancel").unwrap();
    let path = format!("/app/fleet/agents/activity/{id}/cancel");
    let answer = reader.post(&path, &format!("csrf_token={token}")).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert!(text(&reader.get("/app/fleet/agents/activity").await).contains("Cancelled"));
}

#[tokio::test]
async fn a_revision_says_what_it_changed() {
    let fleet = Fleet::start().await;
    let before = fleet.get("/api/fleet/agent_policies/default-policy").await.item();
    let body = json!({"name": before["name"], "namespace": "harbour"});
    let after = fleet.put("/api/fleet/agent_policies/default-policy", body).await.item();
    let reader = log_in(&fleet, "elastic").await;
    let path = format!(
        "/app/fleet/policies/default-policy?tab=history&revision={}",
        after["revision"]
    );
    let page = reader.get(&path).await;
    for expected in [
        "<del>default</del>",
        "<ins>harbour</ins>",
        "agent.<wbr>monitoring.<wbr>namespace",
    ] {
        assert!(text(&page).contains(expected), "no {expected} in {}", text(&page));
    }
}
