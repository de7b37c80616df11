//! The OpenAPI document, written from the table of routes: what is checked is what is described.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::call::{Call, Reply};
use super::error::ApiError;
use super::join;
use super::links;
use super::routes::{self, Body, Handler, Needs, Route};
use super::schema;
use crate::Console;

pub(super) async fn document(console: Arc<Console>, _call: Call) -> Result<Reply, ApiError> {
    Ok(Reply::Json(describe(&console.settings.version)))
}

fn describe(version: &str) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in described() {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.0.3",
        "info": {"title": "Fleet API", "version": version},
        "paths": paths,
        "components": {
            "securitySchemes": {
                // One scheme for all three. Programs that make requests from this try a wrong credential of each scheme on each
                // route; as wrong passwords these would be taken for guesses, and soon be refused unseen.
                "authorization": {
                    "type": "apiKey", "in": "header", "name": "Authorization",
                    "description": "`Basic` with name and password, `ApiKey` with an encoded key, or `Bearer` with a service token",
                },
            },
            "schemas": {"Error": {
                "type": "object",
                "required": ["statusCode", "error", "message"],
                "properties": {
                    "statusCode": {"type": "integer"}, "error": {"type": "string"}, "message": {"type": "string"},
                    "attributes": {"type": "object"},
                },
            }},
        },
        "security": [{"authorization": []}],
    })
}

/// The routes of clients; the log-in of the pages is a form of theirs.
fn described() -> impl Iterator<Item = &'static Route> {
    routes::all().iter().filter(|route| !route.is_form_login())
}

fn operation(route: &Route) -> Value {
    let mut parameters: Vec<Value> = path_parameters(route.path);
    parameters.extend(route.query.iter().map(|field| {
        json!({
            "name": field.name, "in": "query", "required": field.required, "schema": schema::parameter_to_openapi(field),
        })
    }));
    if route.method != http::Method::GET && matches!(route.handler, Handler::Checked(_)) {
        parameters.push(json!({"name": "kbn-xsrf", "in": "header", "required": true, "schema": {"type": "string"}}));
    }
    let error = |text: &str| json!({"description": text, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}});
    let mut operation = json!({
        "summary": route.summary,
        "operationId": operation_id(route),
        "parameters": parameters,
        "responses": {
            "200": success(route), "400": error("The request is not valid"), "401": error("No valid credential"),
            "403": error("Not allowed"), "404": error("Not found"), "409": error("Conflict"), "429": error("Too many requests"),
            "413": error("The body is too large"), "415": error("The body is of another kind"),
            "503": error("The store cannot answer now"),
        },
    });
    operation["x-required-privilege"] = privilege(route).into();
    if matches!(route.handler, Handler::Public(_)) {
        operation["security"] = json!([]);
    }
    let json_body = |fields| json!({"application/json": {"schema": schema::to_openapi(fields)}});
    match route.body {
        Body::None => {}
        Body::Json(fields) => operation["requestBody"] = json!({"required": true, "content": json_body(fields)}),
        Body::Optional(fields) => {
            let mut content = json_body(fields);
            content["application/json"]["schema"]["nullable"] = true.into();
            operation["requestBody"] = json!({"required": false, "content": content});
        }
        Body::File => {
            let binary = json!({"schema": {"type": "string", "format": "binary"}});
            operation["requestBody"] = json!({"required": true, "content": {
                "application/zip": binary, "application/gzip": binary, "application/octet-stream": binary,
            }});
        }
    }
    operation
}

/// What the caller needs.
fn privilege(route: &Route) -> &'static str {
    match (&route.handler, route.needs) {
        (Handler::Public(_), _) => "none",
        (_, Needs::Login) => "login",
        (_, Needs::Read) => "fleet-read",
        (_, Needs::All) => "fleet-all",
    }
}

/// What has ids leads to the routes that take them.
fn success(route: &Route) -> Value {
    let mut response = route.answer.to_openapi();
    let links = links::of(route);
    if !links.is_empty() {
        response["links"] = Value::Object(links);
    }
    response
}

fn path_parameters(path: &str) -> Vec<Value> {
    let names = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let schema = |name: &str| match name {
        "osType" => json!({"type": "string", "enum": join::SYSTEMS}),
        _ => json!({"type": "string", "minLength": 1}),
    };
    names
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": schema(name)}))
        .collect()
}

pub(super) fn operation_id(route: &Route) -> String {
    let path: String = route
        .path
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '.' })
        .collect();
    let parts: Vec<&str> = path.split('.').filter(|part| !part.is_empty()).collect();
    format!("{}-{}", route.method.as_str().to_lowercase(), parts.join("-"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The test that walks all routes with all credentials takes them from the description.
    #[test]
    fn no_route_is_left_out_but_those_of_the_log_in() {
        let described = describe("9.2.0");
        let is_described = |route: &&Route| {
            let path = &described["paths"][route.path];
            path[route.method.as_str().to_lowercase()].is_object()
        };
        let others = routes::all().iter().filter(|route| !is_described(route));
        let others: Vec<String> = others.map(|route| format!("{} {}", route.method, route.path)).collect();
        assert_eq!(
            others,
            [
                "POST /internal/security/login",
                "POST /internal/security/logout",
                "GET /internal/security/me"
            ]
        );
    }

    #[test]
    fn every_route_is_described_once_and_its_defaults_are_json() {
        let described = describe("9.2.0");
        let ids: Vec<String> = super::described().map(operation_id).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
        for route in super::described() {
            assert!(
                described["paths"][route.path][route.method.as_str().to_lowercase()]["summary"].is_string(),
                "{}",
                route.path
            );
            let body: &[schema::Field] = match route.body {
                Body::Json(fields) | Body::Optional(fields) => fields,
                _ => &[],
            };
            for field in route.query.iter().chain(body) {
                assert!(
                    field
                        .default
                        .is_none_or(|text| serde_json::from_str::<Value>(text).is_ok()),
                    "{} {}",
                    route.path,
                    field.name
                );
            }
        }
    }
}
