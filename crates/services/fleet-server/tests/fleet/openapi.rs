//! The OpenAPI file and the router name the same endpoints.

use axum::body::Body;
use http::Request;

use crate::support::{Fleet, quick};

const FILE: &str = include_str!("../../openapi.yaml");
const METHODS: [&str; 4] = ["get", "post", "put", "delete"];

#[tokio::test]
async fn every_described_endpoint_is_there_and_takes_only_its_methods() {
    let fleet = Fleet::start(quick()).await;
    let described = settings::from_yaml("openapi.yaml", FILE).unwrap();
    let paths = described["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 11);
    for (path, operations) in paths {
        let path = path.replace("{number}", "0").replace(['{', '}'], "");
        for method in METHODS {
            let request = Request::builder()
                .method(method.to_uppercase().as_str())
                .uri(&path)
                .body(Body::empty())
                .unwrap();
            let answer = fleet.call(request).await;
            let is_described = operations.get(method).is_some();
            assert_eq!(answer.status != 405, is_described, "{method} {path}: {}", answer.status);
            if is_described {
                assert!(answer.header("elastic-api-version").is_some(), "{method} {path}");
            }
        }
    }
}
