//! Who may ask what: every route with no, wrong, foreign and valid credentials.

use base64::Engine;
use http::{Method, Request};
use serde_json::json;

use crate::harness::{Fleet, PASSWORD, basic};

/// A route, and what its callers need: `none`, `login`, `fleet-read` or `fleet-all`.
struct Route {
    method: Method,
    path: String,
    needs: String,
}

/// All of them: the description leaves out only what belongs to the log-in, and a test beside it looks at that.
async fn routes(fleet: &Fleet) -> Vec<Route> {
    let described = fleet.get("/api/fleet/openapi.json").await.ok();
    let mut routes = vec![Route {
        method: Method::GET,
        path: "/internal/security/me".into(),
        needs: "login".into(),
    }];
    for (path, methods) in described["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            routes.push(Route {
                method: method.to_uppercase().parse().unwrap(),
                path: path.replace(['{', '}'], "x"),
                needs: operation["x-required-privilege"].as_str().unwrap().to_owned(),
            });
        }
    }
    assert!(routes.len() > 100, "{}", routes.len());
    routes
}

/// Every route with a credential: whether it may be refused as one.
async fn walk(fleet: &Fleet, credential: Option<&str>, expected: impl Fn(&Route) -> Option<u16>) {
    for route in routes(fleet).await {
        for space in ["", "/s/team"] {
            let path = format!("{space}{}", route.path);
            let answer = fleet
                .ask_as(credential, route.method.clone(), &path, Some(json!({})))
                .await;
            let status = answer.status.as_u16();
            match expected(&route) {
                Some(refused) => assert_eq!(
                    status, refused,
                    "{} {path} {credential:?}: {}",
                    route.method, answer.body
                ),
                None => assert!(
                    ![401, 403, 405, 500].contains(&status),
                    "{} {path} {credential:?}: {status} {}",
                    route.method,
                    answer.body
                ),
            }
            if status == 401 {
                let challenge = answer.headers["www-authenticate"].to_str().unwrap();
                assert!(challenge.starts_with("Basic"), "{challenge}");
            }
        }
    }
}

#[tokio::test]
async fn every_route_refuses_strangers() {
    let fleet = Fleet::start().await;
    for credential in [
        None,
        Some("Basic ???"),
        Some("Bearer nope"),
        Some("ApiKey bm86cGU="),
        Some("Digest a"),
    ] {
        walk(&fleet, credential, |route| (route.needs != "none").then_some(401)).await;
    }
}

/// Credentials that are good, for something else.
#[tokio::test]
async fn every_route_refuses_who_is_known_for_something_else() {
    let fleet = Fleet::start().await;
    let without_roles = basic("nobody", PASSWORD);
    let enrollment = format!("ApiKey {}", fleet.setup.enrollment_token.expose());
    let service = fleet.post("/api/fleet/service_tokens", json!({})).await.ok();
    let service = format!("Bearer {}", service["value"].as_str().unwrap());
    let shipper = fleet.post("/api/fleet/logstash_api_keys", json!({})).await.ok();
    let shipper = base64::engine::general_purpose::STANDARD.encode(shipper["api_key"].as_str().unwrap());
    for credential in [without_roles, enrollment, service, format!("ApiKey {shipper}")] {
        walk(&fleet, Some(&credential), |route| {
            route.needs.starts_with("fleet-").then_some(403)
        })
        .await;
    }
}

#[tokio::test]
async fn every_route_takes_readers_as_far_as_they_may_go() {
    let fleet = Fleet::start().await;
    let reader = basic("reader", PASSWORD);
    walk(&fleet, Some(&reader), |route| {
        (route.needs == "fleet-all").then_some(403)
    })
    .await;
}

#[tokio::test]
async fn every_route_knows_who_may_do_all_and_never_blames_itself() {
    let fleet = Fleet::start().await;
    walk(&fleet, Some(&basic("elastic", PASSWORD)), |_| None).await;
}

#[tokio::test]
async fn writes_need_the_xsrf_header_and_the_right_version() {
    let fleet = Fleet::start().await;
    let request = |xsrf: bool, version: Option<&str>| {
        let mut request = Request::post("/api/fleet/setup").header("authorization", basic("elastic", PASSWORD));
        if xsrf {
            request = request.header("kbn-xsrf", "1");
        }
        if let Some(version) = version {
            request = request.header("elastic-api-version", version);
        }
        request.body(axum::body::Body::empty()).unwrap()
    };
    assert_eq!(
        fleet.send(request(false, None)).await.refused(400),
        "Request must contain a kbn-xsrf header."
    );
    assert_eq!(fleet.send(request(true, Some("2023-10-31"))).await.status, 200);
    assert_eq!(
        fleet.send(request(true, None)).await.headers["elastic-api-version"],
        "2023-10-31"
    );
    assert_eq!(fleet.send(request(true, Some("1999-01-01"))).await.status, 400);
}

#[tokio::test]
async fn a_session_lasts_until_log_out() {
    let fleet = Fleet::start().await;
    let log_in = |password: &str| {
        let body = json!({"providerType": "basic", "providerName": "basic", "currentURL": "/", "params": {"username": "elastic", "password": password}});
        Request::post("/internal/security/login")
            .body(axum::body::Body::from(body.to_string()))
            .unwrap()
    };
    assert_eq!(fleet.send(log_in("wrong")).await.status, 401);
    let answer = fleet.send(log_in(PASSWORD)).await;
    let cookie = answer.headers["set-cookie"].to_str().unwrap().to_owned();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("Secure") && cookie.contains("SameSite=Lax"),
        "{cookie}"
    );
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let me = || {
        Request::get("/internal/security/me")
            .header("cookie", &cookie)
            .body(axum::body::Body::empty())
            .unwrap()
    };
    assert_eq!(fleet.send(me()).await.ok()["username"], "elastic");
    let log_out = Request::post("/internal/security/logout")
        .header("cookie", &cookie)
        .body(axum::body::Body::empty())
        .unwrap();
    fleet.send(log_out).await.ok();
    assert_eq!(fleet.send(me()).await.status, 401);
}

#[tokio::test]
async fn a_session_ends_when_it_is_idle() {
    let fleet = Fleet::start().await;
    let session = fleet_console::domain::sessions::log_in(&fleet.console, "elastic", PASSWORD.into(), None)
        .await
        .unwrap();
    let cookie = session.cookie().split(';').next().unwrap().to_owned();
    let of_cookies = || fleet_console::domain::sessions::of_cookies(&fleet.console, &cookie);
    for _ in 0..2 {
        fleet.clock.step(jiff::SignedDuration::from_hours(7));
        let found = of_cookies().await.unwrap().expect("used within eight hours");
        assert!(found.accepts_csrf(&session.csrf_token()) && !found.accepts_csrf("other"));
    }
    fleet.clock.step(jiff::SignedDuration::from_hours(9));
    assert!(of_cookies().await.unwrap().is_none());
}

#[tokio::test]
async fn guessing_passwords_ends_in_429() {
    let fleet = Fleet::start().await;
    for _ in 0..10 {
        let answer = fleet
            .ask_as(
                Some(&basic("elastic", "guess")),
                Method::GET,
                "/api/fleet/outputs",
                None,
            )
            .await;
        assert_eq!(answer.status, 401);
    }
    let answer = fleet.get("/api/fleet/outputs").await;
    assert!(answer.refused(429).contains("too many failed log-ins"));
    fleet.clock.step(jiff::SignedDuration::from_mins(6));
    assert_eq!(fleet.get("/api/fleet/outputs").await.status, 200);
}

#[tokio::test]
async fn changes_are_in_the_audit_log_without_their_secrets() {
    let fleet = Fleet::start().await;
    let body =
        json!({"id": "h", "name": "h", "host_urls": ["https://h:8220"], "secrets": {"ssl": {"key": "top secret"}}});
    fleet.post("/api/fleet/fleet_server_hosts", body).await.item();
    fleet
        .put("/api/fleet/fleet_server_hosts/h", json!({"name": "renamed"}))
        .await
        .item();
    let log = fleet.get("/api/fleet/audit_log").await.ok();
    let text = log.to_string();
    assert!(!text.contains("top secret"), "{text}");
    let change = log["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|item| item["action"] == "update" && item["object"]["id"] == "h")
        .unwrap();
    assert_eq!(
        (&change["actor"], &change["before"]["name"], &change["after"]["name"]),
        (&json!("elastic"), &json!("h"), &json!("renamed"))
    );
}

#[tokio::test]
async fn a_client_certificate_logs_in_the_user_that_it_names_and_never_the_superuser() {
    let fleet = Fleet::start().await;
    let authority = pki::Authority::generate(pki::AuthorityRequest::default()).unwrap();
    for (name, status, path) in [
        ("reader", 200_u16, "/api/fleet/outputs"),
        ("reader", 403, "/api/fleet/audit_log"),
        ("stranger", 401, "/api/fleet/outputs"),
        ("elastic", 401, "/api/fleet/outputs"),
    ] {
        let leaf = pki::LeafRequest {
            common_name: name.into(),
            usages: pki::Usages::Client,
            ..pki::LeafRequest::default()
        };
        let peer = transport::Peer {
            address: "127.0.0.1:5000".parse().unwrap(),
            tls: true,
            certificates: authority.issue(leaf).unwrap().chain.clone(),
            server_name: None,
        };
        let mut request = Request::get(path).body(axum::body::Body::empty()).unwrap();
        request.extensions_mut().insert(std::sync::Arc::new(peer));
        let answer = fleet.send(request).await;
        assert_eq!(answer.status, status, "{name} {path}: {}", answer.body);
    }
}
