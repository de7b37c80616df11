//! From an HTTP request to a handler: space prefix, limits, xsrf, credential, privilege, tables.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use access::{Credential, FleetPrivilege, Principal, Privilege};
use axum::extract::{RawPathParams, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use axum::{Extension, Router};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use serde_json::{Map, Value};
use tower::ServiceExt;
use transport::Peer;

use super::call::Call;
use super::error::ApiError;
use super::routes::{self, Body, Handler, Needs, Route};
use super::schema;
use crate::Console;
use crate::domain::{installed_packages, sessions, setup};

/// Bytes of a JSON body.
const LARGEST_BODY: usize = 4 << 20;
/// What uploads may be.
const ARCHIVES: [&str; 4] = [
    "application/zip",
    "application/gzip",
    "application/x-gzip",
    "application/octet-stream",
];
/// The only version of public routes.
const API_VERSION: &str = "2023-10-31";
const API_VERSION_HEADER: HeaderName = HeaderName::from_static("elastic-api-version");

/// The space whose prefix the request had.
#[derive(Clone, Debug)]
struct Space(String);

/// All routes, below `/` and `/s/{space}/`.
pub(crate) fn router(console: Arc<Console>) -> Router {
    let mut router: Router<Arc<Console>> = Router::new();
    let paths: BTreeSet<&'static str> = routes::all().iter().map(|route| route.path).collect();
    for path in paths {
        let mut methods = MethodRouter::new();
        let mut allowed = Vec::new();
        for (route, words) in meant_by(path) {
            // Of an object whose id happens to be a word of the API, the description does not know.
            if words.is_empty() {
                allowed.push(route.method.as_str());
            }
            methods = methods.on(route.filter(), move |state, peer, space, path, request| {
                serve(route, words, state, peer, space, path, request)
            });
        }
        let allow = allowed.join(", ");
        let wrong_method = move || std::future::ready(ApiError::WrongMethod { allow: allow.clone() });
        router = router.route(path, methods.fallback(wrong_method));
    }
    let routes = router.fallback(no_route).with_state(Arc::clone(&console));
    Router::new().fallback(move |request: Request| strip_space(routes.clone(), request))
}

/// Parameters whose values are words of a path: their names and values.
type Words = &'static [(&'static str, &'static str)];

/// The routes of a path, one for each method. A method that it has none for is about the object whose id is the word in the path:
/// `POST agent_policies/delete` deletes policies, `GET agent_policies/delete` reads the one of that name.
fn meant_by(path: &'static str) -> Vec<(&'static Route, Words)> {
    let own = routes::all().iter().filter(|route| route.path == path);
    let mut meant: Vec<(&Route, Words)> = own.map(|route| (route, Words::default())).collect();
    for route in routes::all() {
        let is_free = meant.iter().all(|(present, _)| present.method != route.method);
        if let Some(words) = words_in(path, route.path).filter(|_| is_free) {
            meant.push((route, words.leak()));
        }
    }
    meant
}

/// The words of `path` that stand where another path has parameters, when they differ in nothing else.
fn words_in(path: &'static str, other: &'static str) -> Option<Vec<(&'static str, &'static str)>> {
    let (parts, others): (Vec<_>, Vec<_>) = (path.split('/').collect(), other.split('/').collect());
    if parts.len() != others.len() {
        return None;
    }
    let mut words = Vec::new();
    for (part, other) in parts.into_iter().zip(others).filter(|(part, other)| part != other) {
        let name = other.strip_prefix('{')?.strip_suffix('}')?;
        words.push((name, Some(part).filter(|part| !part.starts_with('{'))?));
    }
    Some(words).filter(|words| !words.is_empty())
}

async fn no_route() -> ApiError {
    ApiError::NoRoute
}

/// `/s/{space}/api/..` is `/api/..` in that space.
async fn strip_space(routes: Router, mut request: Request) -> Response {
    let path = request.uri().path();
    let (space, rest) = match path.strip_prefix("/s/").and_then(|rest| rest.split_once('/')) {
        Some((space, rest)) if !space.is_empty() => (space.to_owned(), Some(format!("/{rest}"))),
        _ => ("default".to_owned(), None),
    };
    if let Some(rest) = rest {
        let query = request
            .uri()
            .query()
            .map(|query| format!("?{query}"))
            .unwrap_or_default();
        match format!("{rest}{query}").parse::<Uri>() {
            Ok(uri) => *request.uri_mut() = uri,
            Err(_) => return ApiError::NoRoute.into_response(),
        }
    }
    request.extensions_mut().insert(Space(space));
    match routes.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

async fn serve(
    route: &'static Route,
    words: Words,
    State(console): State<Arc<Console>>,
    peer: Option<Extension<Arc<Peer>>>,
    space: Option<Extension<Space>>,
    path: RawPathParams,
    request: Request,
) -> Response {
    let space = space.map_or_else(|| "default".to_owned(), |Extension(space)| space.0);
    let path = path
        .iter()
        .chain(words.iter().copied())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let address = peer.as_ref().map(|Extension(peer)| peer.address.ip());
    let mut response = match answer(
        route,
        &console,
        peer.map(|Extension(peer)| peer),
        address,
        space,
        path,
        request,
    )
    .await
    {
        Ok(response) => response,
        Err(error) => error.into_response(),
    };
    response
        .headers_mut()
        .insert(API_VERSION_HEADER, HeaderValue::from_static(API_VERSION));
    response.headers_mut().insert(
        "cache-control",
        HeaderValue::from_static("private, no-cache, no-store, must-revalidate"),
    );
    response
        .headers_mut()
        .insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    if let Ok(name) = HeaderValue::from_str(&console.settings.host_name) {
        response.headers_mut().insert("kbn-name", name);
    }
    response
}

async fn answer(
    route: &'static Route,
    console: &Arc<Console>,
    peer: Option<Arc<Peer>>,
    address: Option<IpAddr>,
    space: String,
    path: BTreeMap<String, String>,
    request: Request,
) -> Result<Response, ApiError> {
    check_headers(route, request.method(), request.headers())?;
    let principal = authenticate(console, peer.as_deref(), address, request.headers()).await;
    let (parts, body) = request.into_parts();
    let handler = match &route.handler {
        Handler::Public(handler) => {
            let raw = read_body(body, LARGEST_BODY).await?;
            let principal = match principal {
                Ok(principal) => principal,
                // A route that anybody may use does not fail for a bad credential.
                Err(ApiError::Unauthorized(_)) => None,
                Err(error) => return Err(error),
            };
            let public = routes::PublicCall {
                principal,
                address,
                cookies: cookies(&parts.headers),
                raw,
            };
            return Ok(handler(Arc::clone(console), public).await?.into_response());
        }
        Handler::Checked(handler) => handler,
    };
    let principal = principal?.ok_or_else(|| ApiError::Unauthorized("Unauthorized".to_owned()))?;
    check_privilege(route, &principal)?;
    setup::ensure(console).await?;
    let query = schema::check_query(route.query, parts.uri.query().unwrap_or_default())?;
    let limit = if matches!(route.body, Body::File) {
        installed_packages::LARGEST_UPLOAD
    } else {
        LARGEST_BODY
    };
    let raw = read_body(body, limit).await?;
    let body = parse_body(route, &parts.method, &parts.headers, &raw)?;
    let call = Call {
        principal,
        space,
        path,
        query,
        body,
        raw,
    };
    Ok(handler(Arc::clone(console), call).await?.into_response())
}

fn check_headers(route: &Route, method: &Method, headers: &HeaderMap) -> Result<(), ApiError> {
    let is_write = !matches!(*method, Method::GET | Method::HEAD);
    if is_write && !route.is_form_login() && !headers.contains_key("kbn-xsrf") {
        return Err(ApiError::BadRequest(
            "Request must contain a kbn-xsrf header.".to_owned(),
        ));
    }
    match headers
        .get(API_VERSION_HEADER)
        .map(|value| value.to_str().unwrap_or_default())
    {
        None | Some(API_VERSION) => Ok(()),
        Some("1") if route.path.starts_with("/internal/") => Ok(()),
        Some(other) => Err(ApiError::BadRequest(format!(
            "No version \"{other}\" available for [{method}] [{}]. Available versions are: [{API_VERSION}]",
            route.path
        ))),
    }
}

/// The caller: by header, by session cookie, or by the client certificate that the TLS layer has verified.
async fn authenticate(
    console: &Console,
    peer: Option<&Peer>,
    address: Option<IpAddr>,
    headers: &HeaderMap,
) -> Result<Option<Arc<Principal>>, ApiError> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let text = value
            .to_str()
            .map_err(|_| ApiError::Unauthorized("the authorization header is not text".to_owned()))?;
        let credential = Credential::from_header(text).map_err(|error| ApiError::Unauthorized(error.to_string()))?;
        return Ok(Some(sessions::authenticate(console, &credential, address).await?));
    }
    let cookies = cookies(headers);
    if !cookies.is_empty()
        && let Some(session) = sessions::of_cookies(console, &cookies).await?
    {
        return Ok(Some(session.principal));
    }
    // The built-in superuser has a password only: whoever issues certificates must not be able to become it.
    let Some(common_name) = peer.and_then(common_name).filter(|name| name != "elastic") else {
        return Ok(None);
    };
    match sessions::authenticate(console, &Credential::Certificate { common_name }, address).await {
        Ok(principal) => Ok(Some(principal)),
        // A certificate of an agent, or of nobody that we know, is no credential here.
        Err(sessions::LoginError::Rejected) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn cookies(headers: &HeaderMap) -> String {
    let all = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    all.collect::<Vec<_>>().join("; ")
}

fn common_name(peer: &Peer) -> Option<String> {
    let subject = certs::describe(peer.certificates.first()?).subject;
    subject
        .split(", ")
        .find_map(|part| part.strip_prefix("CN="))
        .map(str::to_owned)
}

fn check_privilege(route: &Route, principal: &Principal) -> Result<(), ApiError> {
    let needed = match route.needs {
        Needs::Login => return Ok(()),
        Needs::Read => FleetPrivilege::Read,
        Needs::All => FleetPrivilege::All,
    };
    let has = |privilege| principal.may(Privilege::Fleet(privilege));
    if has(needed) || (needed == FleetPrivilege::Read && has(FleetPrivilege::All)) {
        return Ok(());
    }
    let name = if needed == FleetPrivilege::All {
        "fleet-all"
    } else {
        "fleet-read"
    };
    Err(ApiError::Forbidden(format!(
        "API [{} {}] is unauthorized for user, this action is granted by the Kibana privileges [{name}]",
        route.method, route.path
    )))
}

async fn read_body(body: axum::body::Body, limit: usize) -> Result<Bytes, ApiError> {
    axum::body::to_bytes(body, limit).await.map_err(|error| {
        let too_large = std::error::Error::source(&error)
            .is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>);
        if too_large {
            ApiError::TooLarge(format!("Payload content length greater than maximum allowed: {limit}"))
        } else {
            ApiError::BadRequest("the request body could not be read to its end".to_owned())
        }
    })
}

fn parse_body(
    route: &Route,
    method: &Method,
    headers: &HeaderMap,
    raw: &Bytes,
) -> Result<Map<String, Value>, ApiError> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    match route.body {
        Body::None => Ok(Map::new()),
        Body::File if essence.is_empty() || ARCHIVES.contains(&essence) => Ok(Map::new()),
        Body::File => Err(ApiError::UnsupportedMediaType(format!(
            "Unsupported Media Type: {essence}; send application/zip or application/gzip"
        ))),
        Body::Json(_) | Body::Optional(_) if raw.is_empty() || *method == Method::GET => match route.body {
            Body::Json(fields) => schema::check_body(fields, Value::Null),
            Body::Optional(fields) => schema::check_body(fields, Value::Object(Map::new())),
            _ => Ok(Map::new()),
        },
        Body::Json(fields) | Body::Optional(fields) => {
            if !essence.is_empty() && essence != "application/json" {
                return Err(ApiError::UnsupportedMediaType(format!(
                    "Unsupported Media Type: {essence}; send application/json"
                )));
            }
            let value: Value = serde_json::from_slice(raw)
                .map_err(|error| ApiError::BadRequest(format!("Invalid request payload JSON format: {error}")))?;
            match (&route.body, value) {
                (Body::Optional(fields), Value::Null) => schema::check_body(fields, Value::Object(Map::new())),
                (_, value) => schema::check_body(fields, value),
            }
        }
    }
}

pub(crate) fn method_filter(method: &Method) -> axum::routing::MethodFilter {
    axum::routing::MethodFilter::try_from(method.clone()).expect("the table has ordinary methods only")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &'static str, method: Method, expected: Option<(&str, &[(&str, &str)])>) {
        let meant = meant_by(path).into_iter().find(|(route, _)| route.method == method);
        assert_eq!(
            meant.map(|(route, words)| (route.path, words)),
            expected,
            "{method} {path}"
        );
    }

    #[test]
    fn a_word_of_a_path_is_an_id_for_other_methods() {
        let policies = "/api/fleet/agent_policies/delete";
        let one = "/api/fleet/agent_policies/{agentPolicyId}";
        check(policies, Method::POST, Some((policies, &[])));
        check(policies, Method::GET, Some((one, &[("agentPolicyId", "delete")])));
        check(policies, Method::DELETE, None);
        let stats = "/api/fleet/epm/packages/{pkgName}/stats";
        let version = "/api/fleet/epm/packages/{pkgName}/{pkgVersion}";
        check(stats, Method::GET, Some((stats, &[])));
        check(stats, Method::DELETE, Some((version, &[("pkgVersion", "stats")])));
        check(one, Method::POST, None);
    }
}
