//! Every path and method, in one table: the router is made of it, and a test walks it with all kinds of credentials.

use std::sync::Arc;

use axum::http::{Method, StatusCode, Uri};
use axum::response::Response;
use axum::routing::{MethodRouter, delete, get, post, put};
use serde_json::json;

use crate::api::ElasticsearchApi;
use crate::caller::Caller;
use crate::{
    aliases, analyze, answer, async_search, bulk, by_query, cat, closing, cluster, counting, document, explain, fields,
    fleet, indices, lifecycle, maintenance, mappings, pipelines, reindex, scroll, search, security, tasks, templates,
    terms_enum,
};

const FIELD_DATA: &[&str] = &["id", "host", "ip", "node", "field", "size"];
const RECOVERIES: &[&str] = &[
    "index",
    "shard",
    "time",
    "type",
    "stage",
    "source_host",
    "source_node",
    "target_host",
    "target_node",
];
const SEGMENTS: &[&str] = &[
    "index",
    "shard",
    "prirep",
    "ip",
    "segment",
    "generation",
    "docs.count",
    "docs.deleted",
    "size",
];
const TASKS: &[&str] = &[
    "action",
    "task_id",
    "parent_task_id",
    "type",
    "start_time",
    "timestamp",
    "running_time",
    "ip",
    "node",
];
const THREAD_POOLS: &[&str] = &["node_name", "name", "active", "queue", "rejected"];

/// One path and what answers on it.
pub(crate) struct Route {
    pub(crate) path: &'static str,
    pub(crate) handler: MethodRouter<Arc<ElasticsearchApi>>,
}

/// The table. GET answers HEAD as well.
pub(crate) fn routes() -> Vec<Route> {
    let groups = [
        whole(),
        data(),
        searches(),
        names(),
        fleets(),
        settings(),
        security_routes(),
    ];
    groups.into_iter().flatten().collect()
}

fn route(path: &'static str, handler: MethodRouter<Arc<ElasticsearchApi>>) -> Route {
    Route { path, handler }
}

fn whole() -> Vec<Route> {
    vec![
        route("/", get(cluster::root)),
        route("/_license", get(cluster::license)),
        route("/_xpack", get(cluster::xpack)),
        route("/_cluster/health", get(cluster::health)),
        route("/_cluster/health/{index}", get(cluster::health)),
        route("/_cluster/settings", get(cluster::settings).put(cluster::put_settings)),
        route("/_cluster/stats", get(cluster::stats)),
        route("/_cluster/pending_tasks", get(cluster::pending_tasks)),
        route("/_tasks", get(tasks::none)),
        route("/_tasks/_cancel", post(tasks::none)),
        route("/_tasks/{id}", get(tasks::missing)),
        route("/_tasks/{id}/_cancel", post(tasks::missing)),
        route("/_nodes", get(cluster::nodes)),
        route("/_nodes/stats", get(cluster::nodes_stats)),
        route("/_nodes/stats/{metric}", get(cluster::nodes_stats)),
        route("/_nodes/{what}", get(cluster::nodes)),
        route("/_nodes/{node}/{what}", get(cluster::node)),
        route("/_nodes/{node}/stats/{metric}", get(cluster::nodes_stats)),
        route("/_cat", get(cat::help)),
        route("/_cat/indices", get(cat::indices)),
        route("/_cat/indices/{index}", get(cat::indices_in)),
        route("/_cat/health", get(cat::health)),
        route("/_cat/nodes", get(cat::nodes)),
        route("/_cat/count", get(cat::count)),
        route("/_cat/count/{index}", get(cat::count_in)),
        route("/_cat/aliases", get(cat::aliases)),
        route("/_cat/aliases/{name}", get(cat::aliases)),
        route("/_cat/templates", get(cat::templates)),
        route("/_cat/templates/{name}", get(cat::templates)),
        route("/_cat/component_templates", get(cat::component_templates)),
        route("/_cat/component_templates/{name}", get(cat::component_templates)),
        route("/_cat/allocation", get(cat::allocation)),
        route("/_cat/allocation/{node}", get(cat::allocation)),
        route("/_cat/shards", get(cat::shards)),
        route("/_cat/shards/{index}", get(cat::shards)),
        route("/_cat/master", get(cat::master)),
        route(
            "/_cat/pending_tasks",
            cat::empty(&["insertOrder", "timeInQueue", "priority", "source"]),
        ),
        route("/_cat/plugins", cat::empty(&["name", "component", "version"])),
        route("/_cat/fielddata", cat::empty(FIELD_DATA)),
        route("/_cat/fielddata/{fields}", cat::empty(FIELD_DATA)),
        route("/_cat/nodeattrs", cat::empty(&["node", "host", "ip", "attr", "value"])),
        route("/_cat/recovery", cat::empty(RECOVERIES)),
        route("/_cat/recovery/{index}", cat::empty(RECOVERIES)),
        route("/_cat/repositories", cat::empty(&["id", "type"])),
        route("/_cat/segments", cat::empty(SEGMENTS)),
        route("/_cat/segments/{index}", cat::empty(SEGMENTS)),
        route("/_cat/tasks", cat::empty(TASKS)),
        route("/_cat/thread_pool", cat::empty(THREAD_POOLS)),
        route("/_cat/thread_pool/{patterns}", cat::empty(THREAD_POOLS)),
    ]
}

fn data() -> Vec<Route> {
    vec![
        route("/_bulk", post(bulk::bulk).put(bulk::bulk)),
        route("/{index}/_bulk", post(bulk::bulk_into).put(bulk::bulk_into)),
        route("/_mget", get(document::mget).post(document::mget)),
        route("/{index}/_mget", get(document::mget_in).post(document::mget_in)),
        route("/{index}/_doc", post(document::append)),
        route(
            "/{index}/_doc/{id}",
            get(document::get)
                .put(document::index)
                .post(document::index)
                .delete(document::delete),
        ),
        route("/{index}/_source/{id}", get(document::source)),
        route("/{index}/_create/{id}", put(document::create).post(document::create)),
        route("/{index}/_update/{id}", post(document::update)),
        route("/_reindex", post(reindex::reindex)),
        route("/{index}/_update_by_query", post(by_query::update)),
        route("/{index}/_delete_by_query", post(by_query::delete)),
    ]
}

fn searches() -> Vec<Route> {
    vec![
        route("/_search", get(search::search_all).post(search::search_all)),
        route("/{index}/_search", get(search::search_in).post(search::search_in)),
        route("/_msearch", get(search::msearch).post(search::msearch)),
        route("/{index}/_msearch", get(search::msearch_in).post(search::msearch_in)),
        route("/_count", get(counting::count_all).post(counting::count_all)),
        route("/{index}/_count", get(counting::count_in).post(counting::count_in)),
        route("/{index}/_explain/{id}", get(explain::explain).post(explain::explain)),
        route(
            "/{index}/_terms_enum",
            get(terms_enum::terms_enum).post(terms_enum::terms_enum),
        ),
        route("/_async_search", post(async_search::submit)),
        route("/{index}/_async_search", post(async_search::submit)),
        route(
            "/_async_search/{id}",
            get(async_search::missing).delete(async_search::missing),
        ),
        route("/_async_search/status/{id}", get(async_search::missing)),
        route("/{index}/_pit", post(search::open_point_in_time)),
        route("/_pit", delete(search::close_point_in_time)),
        route("/_field_caps", get(fields::field_caps).post(fields::field_caps)),
        route("/{index}/_field_caps", get(fields::field_caps).post(fields::field_caps)),
        route("/_analyze", get(analyze::analyze).post(analyze::analyze)),
        route("/{index}/_analyze", get(analyze::analyze).post(analyze::analyze)),
        route(
            "/_search/scroll",
            get(scroll::next).post(scroll::next).delete(scroll::clear),
        ),
        route(
            "/_search/scroll/{id}",
            get(scroll::next_of).post(scroll::next_of).delete(scroll::clear_one),
        ),
        route("/_validate/query", get(counting::validate).post(counting::validate)),
        route(
            "/{index}/_validate/query",
            get(counting::validate).post(counting::validate),
        ),
    ]
}

fn names() -> Vec<Route> {
    vec![
        route(
            "/{index}",
            get(indices::get).put(indices::create).delete(indices::delete),
        ),
        route("/_mapping", get(mappings::get_all)),
        route(
            "/{index}/_mapping",
            get(mappings::get).put(mappings::put).post(mappings::put),
        ),
        route("/{index}/_mapping/field/{fields}", get(mappings::fields)),
        route("/_settings", get(indices::all_settings)),
        route("/{index}/_settings/{names}", get(indices::some_settings)),
        route("/{index}/_settings", get(indices::settings).put(indices::put_settings)),
        route("/_aliases", post(aliases::update)),
        route("/_alias", get(aliases::get)),
        route("/_alias/{name}", get(aliases::get)),
        route("/{index}/_alias", get(aliases::get_in)),
        route("/{index}/_alias/{name}", one_alias()),
        route("/{index}/_aliases/{name}", one_alias()),
        route("/_refresh", get(maintenance::all).post(maintenance::all)),
        route("/{index}/_refresh", get(maintenance::some).post(maintenance::some)),
        route("/_flush", get(maintenance::all).post(maintenance::all)),
        route("/{index}/_flush", get(maintenance::some).post(maintenance::some)),
        route("/_forcemerge", post(maintenance::all)),
        route("/{index}/_forcemerge", post(maintenance::some)),
        route("/_cache/clear", post(maintenance::all)),
        route("/{index}/_cache/clear", post(maintenance::some)),
        route("/{index}/_close", post(closing::close)),
        route("/{index}/_open", post(closing::open)),
        route("/{index}/_rollover", post(lifecycle::rollover)),
        route("/{index}/_rollover/{new_index}", post(lifecycle::rollover_to)),
        route("/_stats", get(indices::stats)),
        route("/_stats/{metric}", get(indices::stats_of)),
        route("/{index}/_stats", get(indices::stats)),
        route("/{index}/_stats/{metric}", get(indices::stats_in)),
        route("/_data_stream", get(indices::data_streams)),
        route(
            "/_data_stream/{name}",
            get(indices::data_stream)
                .put(indices::create_data_stream)
                .delete(indices::delete_data_stream),
        ),
        route(
            "/_data_stream/{name}/_lifecycle",
            get(lifecycle::stream_lifecycle)
                .put(lifecycle::put_stream_lifecycle)
                .delete(lifecycle::delete_stream_lifecycle),
        ),
        route("/_resolve/index/{name}", get(indices::resolve_index)),
    ]
}

fn one_alias() -> MethodRouter<Arc<ElasticsearchApi>> {
    get(aliases::get_one_in)
        .put(aliases::put_one)
        .post(aliases::put_one)
        .delete(aliases::delete_one)
}

fn fleets() -> Vec<Route> {
    vec![
        route("/{index}/_fleet/global_checkpoints", get(fleet::global_checkpoints)),
        route(
            "/{index}/_fleet/_fleet_search",
            get(fleet::fleet_search).post(fleet::fleet_search),
        ),
        route("/_fleet/_fleet_msearch", get(search::msearch).post(search::msearch)),
        route(
            "/{index}/_fleet/_fleet_msearch",
            get(search::msearch_in).post(search::msearch_in),
        ),
        route("/_fleet/secret", post(fleet::put_secret)),
        route("/_fleet/secret/{id}", get(fleet::secret).delete(fleet::delete_secret)),
    ]
}

fn settings() -> Vec<Route> {
    vec![
        route("/_index_template", get(templates::index_template)),
        route(
            "/_index_template/{name}",
            get(templates::index_template)
                .put(templates::put_index_template)
                .post(templates::put_index_template)
                .delete(templates::delete_index_template),
        ),
        route("/_component_template", get(templates::component_template)),
        route(
            "/_component_template/{name}",
            get(templates::component_template)
                .put(templates::put_component_template)
                .post(templates::put_component_template)
                .delete(templates::delete_component_template),
        ),
        route("/_index_template/_simulate", post(templates::simulate)),
        route("/_index_template/_simulate/{name}", post(templates::simulate)),
        route(
            "/_index_template/_simulate_index/{name}",
            post(templates::simulate_index),
        ),
        route("/_template", get(templates::old_template)),
        route(
            "/_template/{name}",
            get(templates::old_template)
                .put(templates::put_old_template)
                .post(templates::put_old_template)
                .delete(templates::delete_old_template),
        ),
        route("/_ilm/policy", get(lifecycle::policies)),
        route("/_ilm/status", get(lifecycle::status)),
        route(
            "/_ilm/policy/{name}",
            get(lifecycle::policies)
                .put(lifecycle::put_policy)
                .delete(lifecycle::delete_policy),
        ),
        route("/_ingest/pipeline", get(pipelines::get)),
        route(
            "/_ingest/pipeline/_simulate",
            get(pipelines::simulate).post(pipelines::simulate),
        ),
        route(
            "/_ingest/pipeline/{id}",
            get(pipelines::get).put(pipelines::put).delete(pipelines::delete),
        ),
        route(
            "/_ingest/pipeline/{id}/_simulate",
            get(pipelines::simulate).post(pipelines::simulate),
        ),
    ]
}

fn security_routes() -> Vec<Route> {
    vec![
        route("/_security/_authenticate", get(security::authenticate)),
        route(
            "/_security/api_key",
            get(security::get_api_keys)
                .put(security::create_api_key)
                .post(security::create_api_key)
                .delete(security::invalidate_api_keys),
        ),
        route("/_security/api_key/_bulk_update", post(security::bulk_update_api_keys)),
        route("/_security/api_key/{id}", put(security::update_api_key)),
        route(
            "/_security/_query/api_key",
            get(security::query_api_keys).post(security::query_api_keys),
        ),
        route("/_security/privilege", get(security::none)),
        route("/_security/privilege/_builtin", get(security::builtin_privileges)),
        route("/_security/role_mapping", get(security::none)),
        route("/_security/role/{name}/_clear_cache", post(security::clear_cache)),
        route("/_security/realm/{name}/_clear_cache", post(security::clear_cache)),
        route("/_security/api_key/{id}/_clear_cache", post(security::clear_cache)),
        route("/_security/user", get(security::users)),
        route("/_security/user/_privileges", get(security::own_privileges)),
        route(
            "/_security/user/_has_privileges",
            get(security::has_privileges).post(security::has_privileges),
        ),
        route(
            "/_security/user/_password",
            put(security::change_own_password).post(security::change_own_password),
        ),
        route(
            "/_security/user/{name}",
            get(security::users)
                .put(security::put_user)
                .post(security::put_user)
                .delete(security::delete_user),
        ),
        route(
            "/_security/user/{name}/_password",
            put(security::change_password).post(security::change_password),
        ),
        route(
            "/_security/user/{name}/_enable",
            put(security::enable_user).post(security::enable_user),
        ),
        route(
            "/_security/user/{name}/_disable",
            put(security::disable_user).post(security::disable_user),
        ),
        route("/_security/role", get(security::roles)),
        route(
            "/_security/role/{name}",
            get(security::roles)
                .put(security::put_role)
                .post(security::put_role)
                .delete(security::delete_role),
        ),
        route(
            "/_security/service/{namespace}/{service}/credential",
            get(security::service_tokens),
        ),
        route(
            "/_security/service/{namespace}/{service}/credential/token",
            post(security::create_service_token_unnamed),
        ),
        route(
            "/_security/service/{namespace}/{service}/credential/token/{name}",
            put(security::create_service_token)
                .post(security::create_service_token)
                .delete(security::delete_service_token),
        ),
    ]
}

/// A path that leads nowhere, in the original's shape: a bare text.
pub(crate) async fn no_handler(_caller: Caller, method: Method, uri: Uri) -> Response {
    let text = format!("no handler found for uri [{uri}] and method [{method}]");
    answer::with_status(StatusCode::BAD_REQUEST, &json!({ "error": text }))
}

/// A path that exists with other methods.
pub(crate) async fn wrong_method(_caller: Caller, method: Method, uri: Uri) -> Response {
    let text = format!("Incorrect HTTP method for uri [{uri}] and method [{method}]");
    answer::with_status(StatusCode::METHOD_NOT_ALLOWED, &json!({ "error": text, "status": 405 }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use access::{Access, NewApiKey, Secret};
    use axum::body::Body;
    use axum::http::Request;
    use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
    use embedded::{EmbeddedOptions, EmbeddedStore};
    use serde_json::Value;
    use store::Store;
    use tower::ServiceExt;

    use crate::api::ApiSettings;

    struct Walk {
        router: axum::Router,
        /// A key that may do nothing.
        foreign: String,
        elastic: String,
        _folder: tempfile::TempDir,
    }

    async fn walk() -> Walk {
        let folder = tempfile::tempdir().unwrap();
        let directory = camino::Utf8PathBuf::from_path_buf(folder.path().join("store")).unwrap();
        let clock = clock::system();
        let store: Arc<dyn Store> = EmbeddedStore::open(EmbeddedOptions::new(directory, clock.clone())).unwrap();
        let access = Access::open(Arc::clone(&store), clock.clone()).await.unwrap();
        access.set_password("elastic", Secret::from("password")).await.unwrap();
        let nothing = json!({ "nothing": { "cluster": [], "indices": [] } });
        let key = NewApiKey {
            name: "foreign".to_owned(),
            role_descriptors: nothing.try_into().unwrap(),
            ..NewApiKey::default()
        };
        let key = access
            .create_api_key(&access.fleet_server_principal(), key)
            .await
            .unwrap();
        let settings = ApiSettings {
            cluster_name: "c".to_owned(),
            node_name: "n".to_owned(),
            cluster_uuid: "u".to_owned(),
            version: "9.2.0".to_owned(),
        };
        Walk {
            router: ElasticsearchApi::new(settings, store, access, clock).router(),
            foreign: format!("ApiKey {}", key.encoded().expose()),
            elastic: "Basic ZWxhc3RpYzpwYXNzd29yZA==".to_owned(),
            _folder: folder,
        }
    }

    impl Walk {
        async fn status(&self, method: &str, path: &str, authorization: Option<&str>) -> (StatusCode, Value) {
            let mut request = Request::builder()
                .method(method)
                .uri(path)
                .header(CONTENT_TYPE, "application/json");
            if let Some(authorization) = authorization {
                request = request.header(AUTHORIZATION, authorization);
            }
            let request = request.body(Body::from("{}\n")).unwrap();
            let response = self.router.clone().oneshot(request).await.unwrap();
            let status = response.status();
            let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
            (status, serde_json::from_slice(&bytes).unwrap_or_default())
        }
    }

    const METHODS: [&str; 5] = ["GET", "HEAD", "PUT", "POST", "DELETE"];

    /// The path with something in each place.
    fn filled(path: &str) -> String {
        [
            ("{index}", "logs-x-default"),
            ("{id}", "1"),
            ("{name}", "some"),
            ("{what}", "http"),
            ("{namespace}", "elastic"),
            ("{service}", "fleet-server"),
        ]
        .iter()
        .fold(path.to_owned(), |path, (place, value)| path.replace(place, value))
    }

    /// What a key that may do nothing is answered: who it is and what it may, and that nothing is there for it to see.
    fn harmless(method: &str, path: &str, answer: &Value) -> bool {
        let sees_nothing = answer.pointer("/hits/total/value") == Some(&json!(0))
            || answer.pointer("/response/hits/total/value") == Some(&json!(0))
            || answer.get("count") == Some(&json!(0))
            || ["data_streams", "indices", "fields"].iter().any(|list| {
                answer
                    .get(list)
                    .is_some_and(|found| *found == json!([]) || *found == json!({}))
            });
        let nothing_done = *answer == json!({}) || answer.pointer("/_shards/total") == Some(&json!(0));
        let about_itself = [
            "/_security/_authenticate",
            "/_security/_query/api_key",
            "/_security/api_key",
            "/_security/user/_has_privileges",
            // Only whether the query in its own body can be read.
            "/_validate/query",
        ];
        let tables = path.starts_with("/_cat");
        method == "HEAD" || sees_nothing || nothing_done || about_itself.contains(&path) || tables
    }

    #[tokio::test]
    async fn every_route_asks_who_is_there_and_what_they_may() {
        let walk = walk().await;
        for route in routes() {
            let path = filled(route.path);
            for method in METHODS {
                let (status, _) = walk.status(method, &path, None).await;
                assert_eq!(status, 401, "{method} {path} without a credential");
                let (status, _) = walk.status(method, &path, Some("ApiKey eDp5")).await;
                assert_eq!(status, 401, "{method} {path} with a wrong credential");
                let (status, answer) = walk.status(method, &path, Some(&walk.foreign)).await;
                assert!(
                    !status.is_success() || harmless(method, &path, &answer),
                    "{method} {path} with a foreign credential: {status} {answer}"
                );
                assert!(
                    !status.is_server_error(),
                    "{method} {path} with a foreign credential: {status}"
                );
            }
        }
    }

    #[tokio::test]
    async fn the_superuser_is_refused_nowhere() {
        let walk = walk().await;
        for route in routes() {
            let path = filled(route.path);
            for method in METHODS {
                let (status, answer) = walk.status(method, &path, Some(&walk.elastic)).await;
                assert!(
                    ![401, 403].contains(&status.as_u16()),
                    "{method} {path}: {status} {answer}"
                );
                assert!(!status.is_server_error(), "{method} {path}: {status} {answer}");
            }
        }
        let (status, _) = walk.status("GET", "/no/such/path/at/all", None).await;
        assert_eq!(status, 401);
    }
}
