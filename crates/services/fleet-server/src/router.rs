//! Endpoints, and what every request goes through: request id, admission, API version.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post, put};
use http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue, StatusCode};
use protocol::{API_VERSION, API_VERSION_HEADER, REQUEST_ID_HEADER};
use tower_http::catch_panic::CatchPanicLayer;

use crate::error::{ApiError, ErrorCode};
use crate::limit::{Limiter, QueueBounds};
use crate::metrics::{ErrorLabels, RequestLabels};
use crate::server::FleetServer;
use crate::settings::Limits;
use crate::{acks, artifacts, audit, checkin, enroll, files, pgp, status, uploads};

const REQUEST_ID: HeaderName = HeaderName::from_static(REQUEST_ID_HEADER);
const VERSION: HeaderName = HeaderName::from_static(API_VERSION_HEADER);
/// Longer request ids of clients are replaced.
const LONGEST_REQUEST_ID: usize = 256;

/// One limiter for each endpoint.
#[derive(Debug)]
pub(crate) struct Limiters {
    status: Arc<Limiter>,
    enroll: Arc<Limiter>,
    checkin: Arc<Limiter>,
    acks: Arc<Limiter>,
    audit: Arc<Limiter>,
    artifacts: Arc<Limiter>,
    upload_start: Arc<Limiter>,
    upload_chunk: Arc<Limiter>,
    upload_end: Arc<Limiter>,
    files: Arc<Limiter>,
    pgp: Arc<Limiter>,
}

impl Limiters {
    pub(crate) fn new(limits: &Limits) -> Self {
        let plain = |limit| Arc::new(Limiter::new(limit, QueueBounds::default()));
        // Chunks and ends of uploads come in short bursts that a short wait smooths.
        let patient = |limit| {
            Arc::new(Limiter::new(
                limit,
                QueueBounds {
                    length: 64,
                    wait: Duration::from_secs(20),
                },
            ))
        };
        let queue = QueueBounds {
            length: limits.enroll_queue,
            wait: limits.enroll_queue_wait,
        };
        Self {
            status: plain(&limits.status),
            enroll: Arc::new(Limiter::new(&limits.enroll, queue)),
            checkin: plain(&limits.checkin),
            acks: plain(&limits.ack),
            audit: plain(&limits.audit_unenroll),
            artifacts: plain(&limits.artifact),
            upload_start: patient(&limits.upload_start),
            upload_chunk: patient(&limits.upload_chunk),
            upload_end: patient(&limits.upload_end),
            files: patient(&limits.file_delivery),
            pgp: plain(&limits.pgp_retrieval),
        }
    }
}

/// Which endpoint a request is for, and how much of it is admitted.
#[derive(Clone, Debug)]
struct Endpoint {
    name: &'static str,
    limiter: Arc<Limiter>,
    server: Arc<FleetServer>,
}

pub(crate) fn router(server: Arc<FleetServer>) -> Router {
    let limiters = &server.limiters;
    let endpoint = |name, limiter: &Arc<Limiter>, methods: MethodRouter<Arc<FleetServer>>| {
        let endpoint = Endpoint {
            name,
            limiter: Arc::clone(limiter),
            server: Arc::clone(&server),
        };
        methods.route_layer(middleware::from_fn_with_state(endpoint, enter))
    };
    Router::new()
        .route("/api/status", endpoint("status", &limiters.status, get(status::show)))
        .route(
            "/api/fleet/agents/enroll",
            endpoint("enroll", &limiters.enroll, post(enroll::enroll)),
        )
        .route(
            "/api/fleet/agents/{id}/checkin",
            endpoint("checkin", &limiters.checkin, post(checkin::checkin)),
        )
        .route(
            "/api/fleet/agents/{id}/acks",
            endpoint("acks", &limiters.acks, post(acks::acks)),
        )
        .route(
            "/api/fleet/agents/{id}/audit/unenroll",
            endpoint("audit", &limiters.audit, post(audit::unenroll)),
        )
        .route(
            "/api/fleet/artifacts/{identifier}/{sha256}",
            endpoint("artifacts", &limiters.artifacts, get(artifacts::download)),
        )
        .route(
            "/api/fleet/uploads",
            endpoint("upload_start", &limiters.upload_start, post(uploads::begin)),
        )
        .route(
            "/api/fleet/uploads/{id}",
            endpoint("upload_end", &limiters.upload_end, post(uploads::complete)),
        )
        .route(
            "/api/fleet/uploads/{id}/{number}",
            endpoint("upload_chunk", &limiters.upload_chunk, put(uploads::chunk)),
        )
        .route(
            "/api/fleet/file/{id}",
            endpoint("file", &limiters.files, get(files::deliver)),
        )
        .route(
            "/api/agents/upgrades/{version}/pgp-public-key",
            endpoint("pgp", &limiters.pgp, get(pgp::public_key)),
        )
        .fallback(not_found)
        .layer(CatchPanicLayer::new())
        .layer(middleware::from_fn(request_id))
        .with_state(server)
}

pub(crate) async fn not_found() -> Response {
    let mut response = (StatusCode::NOT_FOUND, "404 page not found\n").into_response();
    response
        .headers_mut()
        .insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// Gives back the request's id, or a new one.
async fn request_id(request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(REQUEST_ID)
        .filter(|id| !id.is_empty() && id.len() <= LONGEST_REQUEST_ID);
    let id = given.cloned().unwrap_or_else(new_request_id);
    let mut response = next.run(request).await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

fn new_request_id() -> HeaderValue {
    HeaderValue::try_from(uuid::Uuid::new_v4().to_string()).expect("a UUID is plain ASCII")
}

/// What is done for every request of an endpoint, in one layer: a layer costs each held poll more than a kilobyte.
async fn enter(State(endpoint): State<Endpoint>, request: Request, next: Next) -> Response {
    let version = check_api_version(request.headers().get(VERSION));
    let admitted = match version {
        Ok(()) => endpoint.limiter.admit().await,
        Err(error) => Err(error),
    };
    let mut response = match admitted {
        // The permit is held until the answer is there.
        Ok(_permit) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    response
        .headers_mut()
        .insert(VERSION, HeaderValue::from_static(API_VERSION));
    count(&endpoint, &response);
    response
}

fn check_api_version(asked: Option<&HeaderValue>) -> Result<(), ApiError> {
    let Some(asked) = asked.filter(|asked| !asked.is_empty()) else {
        return Ok(());
    };
    let asked = String::from_utf8_lossy(asked.as_bytes());
    if asked == API_VERSION {
        return Ok(());
    }
    let is_date = asked.len() == API_VERSION.len() && asked.parse::<jiff::civil::Date>().is_ok();
    Err(if is_date {
        ApiError::UnsupportedApiVersion(asked.into_owned())
    } else {
        ApiError::InvalidApiVersionFormat(asked.chars().take(64).collect())
    })
}

/// Counts the request by how it ended.
fn count(endpoint: &Endpoint, response: &Response) {
    let metrics = &endpoint.server.metrics;
    let status = response.status().as_u16();
    metrics
        .requests
        .get_or_create(&RequestLabels {
            endpoint: endpoint.name,
            status,
        })
        .inc();
    if let Some(ErrorCode(error)) = response.extensions().get::<ErrorCode>() {
        metrics.errors.get_or_create(&ErrorLabels { error }).inc();
        tracing::debug!(
            endpoint = endpoint.name,
            http.response.status_code = status,
            error,
            "request refused"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_api_version_is_served() {
        let check = |asked: &str, expected: Result<(), &str>| {
            let asked = HeaderValue::from_str(asked).unwrap();
            assert_eq!(
                check_api_version(Some(&asked)).map_err(|error| error.code()),
                expected,
                "{asked:?}"
            );
        };
        check("2023-06-01", Ok(()));
        check("2020-01-01", Err("ErrUnsupportedAPIVersion"));
        check("2020-13-01", Err("ErrInvalidAPIVersionFormat"));
        check("v1", Err("ErrInvalidAPIVersionFormat"));
        assert!(check_api_version(None).is_ok());
    }
}
