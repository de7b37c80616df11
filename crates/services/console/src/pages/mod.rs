//! The pages: HTML written on the server, from the same domain functions that the API calls.
//!
//! A page is its URL: filters, order and place are in it, and links and forms work without script. A handler takes a
//! [`session::SignedIn`], which cannot be made without a valid session; one that changes something checks the form's
//! token and the caller's privilege. [`look`] says how states, times and sizes are shown; templates hold the HTML.

mod session;

mod activity;
mod add_agent;
mod agent;
mod agent_actions;
mod agents;
mod audit_log;
mod data_streams;
mod enrollment_tokens;
mod events;
mod explore;
mod home;
mod hosts;
mod login;
mod packages;
mod policies;
mod settings;
mod theme;
mod trust;
mod uninstall_tokens;
mod upgrade;

mod assets;
mod chart;
mod form;
mod frame;
mod log_line;
mod look;
mod mistake;
mod order;
mod problem;
mod question;
mod timeline;

use std::sync::Arc;

use axum::Router;
use axum::response::Redirect;
use axum::routing::{get, post};
use http::{HeaderName, HeaderValue, header};
use tower_http::compression::CompressionLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::Console;

/// No origin but our own, no inline script or style.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; font-src 'self'; img-src 'self'; \
     script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// All pages and their files.
pub(crate) fn router(console: Arc<Console>) -> Router {
    let pages = Router::new()
        .route("/", get(home::page))
        .route("/login", get(login::page).post(login::log_in))
        .route("/logout", post(login::log_out))
        .route("/theme", post(theme::choose))
        .route("/app/fleet", get(|| async { Redirect::to("/app/fleet/agents") }))
        .route("/app/fleet/agents", get(agents::page))
        .route("/app/fleet/agents/add", get(add_agent::page))
        .route("/app/fleet/agents/add/kubernetes", get(add_agent::kubernetes))
        .route(
            "/app/fleet/agents/add-fleet-server",
            get(add_agent::fleet_server::page).post(add_agent::fleet_server::generate),
        )
        .route("/app/fleet/agents/activity", get(activity::page))
        .route("/app/fleet/agents/activity/{id}/cancel", post(activity::cancel))
        .route("/app/fleet/agents/{id}", get(agent::page))
        .route(
            "/app/fleet/agents/actions",
            get(agent_actions::ask).post(agent_actions::act),
        )
        .route("/app/fleet/agents/{id}/{part}", get(agent::part))
        .route("/app/fleet/agents/{id}/diagnostics/{file}", get(agent::diagnostics_zip))
        .route(
            "/app/fleet/agents/{id}/diagnostics/{file}/delete",
            post(agent::delete_diagnostics),
        )
        .route("/app/fleet/uninstall-tokens", get(uninstall_tokens::page))
        .route("/app/fleet/policies", get(policies::list).post(policies::create))
        .route("/app/fleet/policies/{id}", get(policies::page).post(policies::update))
        .route("/app/fleet/policies/{id}/copy", post(policies::copy))
        .route("/app/fleet/policies/{id}/delete", post(policies::delete))
        .route(
            "/app/fleet/policies/{id}/integrations",
            get(policies::add_integration).post(policies::create_integration),
        )
        .route(
            "/app/fleet/policies/{id}/integrations/{integration}",
            get(policies::edit_integration).post(policies::update_integration),
        )
        .route(
            "/app/fleet/policies/{id}/integrations/{integration}/delete",
            post(policies::delete_integration),
        )
        .route(
            "/app/fleet/enrollment-tokens",
            get(enrollment_tokens::page).post(enrollment_tokens::create),
        )
        .route(
            "/app/fleet/enrollment-tokens/{id}/revoke",
            post(enrollment_tokens::revoke),
        )
        .route("/app/fleet/packages", packages::route())
        .route("/app/fleet/packages/{name}/delete", post(packages::remove))
        .route("/app/fleet/data-streams", get(data_streams::list))
        .route("/app/fleet/data-streams/{name}", get(data_streams::page))
        .route("/app/fleet/settings", get(settings::page))
        .route("/app/fleet/settings/advanced", post(settings::advanced))
        .route(
            "/app/fleet/settings/{object}",
            post(settings::create).get(settings::reload),
        )
        .route(
            "/app/fleet/settings/{object}/{id}",
            post(settings::update).get(settings::reload),
        )
        .route("/app/fleet/settings/{object}/{id}/delete", post(settings::delete))
        .route("/app/explore", get(explore::page))
        .route("/app/explore/suggest", get(explore::suggest))
        .route("/app/explore/saved", post(explore::save))
        .route("/app/explore/saved/{id}/delete", post(explore::forget))
        .route("/app/hosts", get(hosts::list))
        .route("/app/hosts/{name}", get(hosts::host))
        .route("/app/trust/map", get(trust::map))
        .route("/app/trust/map/test", post(trust::test))
        .route("/app/trust/map/test-all", post(trust::test_all))
        .route("/app/trust/certificates", get(trust::certificates))
        .route("/app/audit", get(audit_log::page))
        .route("/events", get(events::stream))
        .route("/app/{*path}", get(problem::no_such_page))
        .route(
            "/favicon.ico",
            get(|| async { Redirect::permanent("/assets/favicon.svg") }),
        )
        .route("/assets/{*path}", get(assets::file))
        .with_state(console);
    let header = |name: HeaderName, value: &'static str| {
        SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
    };
    pages
        .layer(CompressionLayer::new())
        .layer(header(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY))
        .layer(header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(header(header::REFERRER_POLICY, "same-origin"))
        .layer(header(header::CACHE_CONTROL, "no-store"))
        .layer(header(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"))
}
