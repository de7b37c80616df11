//! What a Fleet Server needs of its store beyond the conformance suite.

use std::sync::Arc;
use std::time::Duration;

use access::{Access, AccessError, ApiKeyFilter, AuthenticationError, Credential, IndexPrivilege, NewApiKey, Secret};
use query::{Query, SearchRequest};
use remote::{RemoteCredential, RemoteStore};
use serde_json::{Map, Value, json};
use store::{Action, Operation, Refresh, Source, Store, StoreError, Update, WriteResult, Written};

use crate::node::Node;
use testkit::eventually;

fn map(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

async fn one(store: &dyn Store, operation: Operation) -> Written {
    let outcome = store.bulk(vec![operation], Refresh::WaitFor).await.unwrap().remove(0);
    outcome.written().unwrap()
}

fn script(id: &str, params: &Value) -> Operation {
    Operation {
        index: ".fleet-agents".to_owned(),
        id: Some(id.to_owned()),
        require_data_stream: false,
        action: Action::Update {
            update: Update::Script(map(params)),
            expected: None,
        },
    }
}

/// As the administrator.
pub(crate) async fn documents(node: &Node) {
    primary_terms_are_found(node).await;
    another_server_sees_the_change(node).await;
    what_is_deleted_behind_our_back_is_made_again(node).await;
    pipelines_are_for_those_who_write_directly(node).await;
}

/// A package's pipeline is put into the cluster; what comes over our API has been through it and is not changed again.
async fn pipelines_are_for_those_who_write_directly(node: &Node) {
    let store = node.store(node.admin()).await;
    // A packaged Elasticsearch has the processors of its security, and none of its modules.
    let processor = if store.has_native_api_keys() {
        json!({"set_security_user": {"field": "by"}})
    } else {
        json!({"set": {"field": "by", "value": "pipeline"}})
    };
    let body = json!({"processors": [processor]});
    assert!(store.put_pipeline("flotilla-test", body).await.unwrap());
    let unknown = json!({"processors": [{"no_such_processor": {}}]});
    assert!(!store.put_pipeline("flotilla-unknown", unknown).await.unwrap());
    let template = json!({"index_patterns": ["piped-*"], "priority": 900,
        "template": {"settings": {"index": {"default_pipeline": "flotilla-test"}}}});
    store.put_index_template("piped", template).await.unwrap();
    let direct = json!({"n": 1});
    node.call("PUT", "/piped-1/_doc/direct?refresh=true", Some(direct.clone()))
        .await;
    let read = async |id: &str| store.get("piped-1", id).await.unwrap().unwrap().source.to_value();
    assert!(!read("direct").await["by"].is_null());
    one(&*store, Operation::create("piped-1", "ours", Source::of(&direct))).await;
    assert_eq!(read("ours").await.get("by"), None);
    store.delete_index_template("piped").await.unwrap();
    store.delete_index("piped-1").await.unwrap();
    store.delete_pipeline("flotilla-test").await.unwrap();
    store.delete_pipeline("flotilla-test").await.unwrap();
}

/// A node that starts again, or an index that is opened again, begins a new primary term.
async fn primary_terms_are_found(node: &Node) {
    let index = "terms";
    let store = node.store(node.admin()).await;
    let old = one(&*store, Operation::create(index, "old", Source::of(&json!({"n": 1})))).await;
    for action in ["_close", "_open?wait_for_active_shards=1"] {
        node.call("POST", &format!("/{index}/{action}"), None).await;
    }
    let new = one(&*store, Operation::create(index, "new", Source::of(&json!({"n": 1})))).await;
    let found = node.call("GET", &format!("/{index}/_doc/new"), None).await;
    assert!(found["_primary_term"].as_u64() > Some(1), "a new term began: {found}");
    for store in [store, node.store(node.admin()).await] {
        for (id, written) in [("old", &old), ("new", &new)] {
            let document = store.get(index, id).await.unwrap().unwrap();
            let replace = |number| Operation::replace(index, id, Source::of(&json!({"n": 2})), number);
            assert_eq!(
                one(&*store, replace(document.seq_no)).await.result,
                WriteResult::Updated
            );
            let stale = store
                .bulk(vec![replace(written.seq_no)], Refresh::Soon)
                .await
                .unwrap()
                .remove(0);
            stale.written().unwrap_err();
        }
    }
    // A store that has seen nothing of the index guesses, is wrong, and looks.
    let document = node.store(node.admin()).await.get(index, "new").await.unwrap().unwrap();
    let blank = node.store(node.admin()).await;
    let replace = Operation::replace(index, "new", Source::of(&json!({"n": 3})), document.seq_no);
    assert_eq!(one(&*blank, replace).await.result, WriteResult::Updated);
}

async fn another_server_sees_the_change(node: &Node) {
    let (one_server, other) = (node.store(node.admin()).await, node.store(node.admin()).await);
    let policy = |revision: u64| json!({"policy_id": "p", "revision_idx": revision, "data": {"id": revision}});
    let first = one(
        &*one_server,
        Operation::append(".fleet-policies", Source::of(&policy(1))),
    )
    .await;
    let waiting = {
        let (other, after) = (other.clone(), first.seq_no);
        let long = Duration::from_secs(30);
        tokio::spawn(async move { other.wait_for_checkpoint(".fleet-policies", Some(after), long).await })
    };
    let appended = Operation::append(".fleet-policies", Source::of(&policy(2)));
    let second = one_server
        .bulk(vec![appended], Refresh::Soon)
        .await
        .unwrap()
        .remove(0)
        .written()
        .unwrap();
    let seen = waiting.await.unwrap().unwrap();
    assert_eq!(seen, Some(second.seq_no));
    let changes = Query::greater_than("_seq_no", first.seq_no);
    let found = other
        .search(SearchRequest::new(".fleet-policies").query(changes))
        .await
        .unwrap();
    assert_eq!(found.hits.len(), 1, "a checkpoint promises that it can be found");
}

async fn what_is_deleted_behind_our_back_is_made_again(node: &Node) {
    let store = node.store(node.admin()).await;
    let operation = || Operation::create("comes-back", "x", Source::of(&json!({"n": 1})));
    one(&*store, operation()).await;
    node.call("DELETE", "/comes-back", None).await;
    assert!(store.get("comes-back", "x").await.unwrap().is_none());
    assert_eq!(store.checkpoint("comes-back").await.unwrap(), None);
    assert_eq!(one(&*store, operation()).await.version, 1);
}

/// As a Fleet Server.
pub(crate) async fn keys_and_secrets(store: &Arc<RemoteStore>) {
    let keys = store.api_keys();
    let key = keys
        .create(NewApiKey {
            name: "agent-1".to_owned(),
            role_descriptors: json!({ "r": { "cluster": ["monitor"], "indices": [{ "names": ["logs-*"], "privileges": ["auto_configure", "create_doc"] }] } }).try_into().unwrap(),
            metadata: json!({ "agent_id": "a-1" }),
            expires: None,
        })
        .await
        .unwrap();
    let principal = keys.authenticate(&key.pair()).await.unwrap();
    assert_eq!(principal.api_key_id.as_deref(), Some(key.id.as_str()));
    let info = keys.read(&key.id).await.unwrap().unwrap();
    assert_eq!((info.name.as_str(), info.invalidated), ("agent-1", false));
    assert_eq!(info.metadata["agent_id"], "a-1");
    let ids = [key.id.clone()];
    let roles = json!({ "r": { "indices": [{ "names": ["metrics-*"], "privileges": ["create_doc"] }] } })
        .try_into()
        .unwrap();
    assert_eq!(keys.update(&ids, &roles).await.unwrap(), ids);
    let info = keys.read(&key.id).await.unwrap().unwrap();
    assert_eq!(info.role_descriptors["r"]["indices"][0]["names"], json!(["metrics-*"]));
    assert_eq!(keys.invalidate(&ids).await.unwrap().invalidated, ids);
    for pair in [key.pair(), Secret::from("no-such-id:secret")] {
        let error = keys.authenticate(&pair).await.unwrap_err();
        assert!(matches!(error, AuthenticationError::Rejected(_)), "{error}");
    }
    let id = keys.put_secret(&Secret::from("id:key")).await.unwrap();
    assert_eq!(keys.secret(&id).await.unwrap(), Some(Secret::from("id:key")));
    assert!(keys.delete_secret(&id).await.unwrap());
    assert_eq!(keys.secret(&id).await.unwrap(), None);
}

/// An API in front of an Elasticsearch knows whom that knows, with the rights that it gives, and makes the fleet's keys there.
pub(crate) async fn native_identities(node: &Node, fleet_server: &Arc<RemoteStore>, token: &Secret) {
    let store = node.store(node.admin()).await;
    let native = store.native_identities();
    let access = Access::open_beside(store.clone(), clock::system(), native)
        .await
        .unwrap();
    let other = node.store(node.admin()).await;
    let beside = Access::open_beside(other.clone(), clock::system(), other.native_identities())
        .await
        .unwrap();
    people(node, &access).await;

    let who = access.authenticate(&Credential::Bearer(token.clone())).await.unwrap();
    assert_eq!(who.username, "elastic/fleet-server");
    let roles = json!({ "r": { "indices": [{ "names": ["*"], "privileges": ["auto_configure", "create_doc"] }] } });
    let new = NewApiKey {
        name: "agent-2".to_owned(),
        role_descriptors: roles.try_into().unwrap(),
        metadata: json!({ "agent_id": "a-2" }),
        expires: None,
    };
    // One made by a Fleet Server that is connected to the node, and one by an API of ours for a Fleet Server in front of it.
    let direct = fleet_server.api_keys().create(new.clone()).await.unwrap();
    let ours = access.create_api_key(&who, new).await.unwrap();
    for key in [&direct, &ours] {
        let agent = beside.authenticate(&Credential::ApiKey(key.pair())).await.unwrap();
        assert_eq!(agent.verified_agent_id(), Some("a-2"));
        assert!(agent.may_index("logs-x-y", IndexPrivilege::CreateDocument));
        assert!(
            !agent.may_index("logs-x-y", IndexPrivilege::Read)
                && !agent.may_index("mine", IndexPrivilege::CreateDocument)
        );
        let wrong = Secret::from(format!("{}:wrong", key.id));
        access.authenticate(&Credential::ApiKey(wrong)).await.unwrap_err();
    }
    let found = access.api_key(&ours.id).await.unwrap().unwrap();
    assert_eq!(
        (found.username.as_str(), found.realm.as_str()),
        ("elastic/fleet-server", "_service_account")
    );
    let narrower = json!({ "r": { "indices": [{ "names": ["metrics-*"], "privileges": ["create_doc"] }] } });
    assert!(
        access
            .update_api_key(&ours.id, Some(&narrower.try_into().unwrap()), None)
            .await
            .unwrap()
    );
    let ids = [direct.id.clone(), ours.id.clone()];
    let filter = ApiKeyFilter {
        name: Some("agent-2".to_owned()),
        ..ApiKeyFilter::default()
    };
    let find = || tokio::runtime::Handle::current().block_on(access.api_keys(&filter));
    tokio::task::block_in_place(|| {
        eventually("the node finds them", Duration::from_secs(10), || {
            (find().unwrap().len() == 2).then_some(())
        });
    });
    // A Fleet Server may revoke what an API of ours has made for it.
    fleet_server.api_keys().invalidate(&ids[1..]).await.unwrap();
    access.invalidate_api_keys(&ids).await.unwrap();
    beside.invalidate_api_keys(&ids).await.unwrap();
    for key in [&direct, &ours] {
        access.authenticate(&Credential::ApiKey(key.pair())).await.unwrap_err();
    }

    let secret = access.put_secret(&Secret::from("s")).await.unwrap();
    let seen = fleet_server.api_keys().secret(&secret).await.unwrap();
    assert_eq!(
        seen,
        Some(Secret::from("s")),
        "a Fleet Server reads what a console has put"
    );
    let made = access
        .create_service_token("elastic/fleet-server", "by-console")
        .await
        .unwrap();
    node.store(RemoteCredential::ServiceToken(made.clone())).await;
    assert!(
        access
            .service_tokens("elastic/fleet-server")
            .await
            .unwrap()
            .contains(&"by-console".to_owned())
    );
    assert!(
        access
            .delete_service_token("elastic/fleet-server", "by-console")
            .await
            .unwrap()
    );
    assert!(
        !access
            .delete_service_token("elastic/fleet-server", "by-console")
            .await
            .unwrap()
    );
    beside.authenticate(&Credential::Bearer(made)).await.unwrap_err();
}

/// Users of the node and of ours.
async fn people(node: &Node, access: &Access) {
    let basic = |username: &str, password: &str| Credential::Basic {
        username: username.to_owned(),
        password: Secret::from(password),
    };
    let role = json!({ "indices": [{ "names": ["mine"], "privileges": ["read"] }] });
    node.call("PUT", "/_security/role/reader", Some(role)).await;
    let user = json!({ "password": "reads-only", "roles": ["reader", "viewer"], "full_name": "R. Eader" });
    node.call("PUT", "/_security/user/reader", Some(user)).await;
    let reader = access.authenticate(&basic("reader", "reads-only")).await.unwrap();
    assert_eq!(reader.full_name.as_deref(), Some("R. Eader"));
    assert!(reader.may_index("mine", IndexPrivilege::Read) && !reader.may_index("mine", IndexPrivilege::Delete));
    access.authenticate(&basic("reader", "wrong-one")).await.unwrap_err();
    let RemoteCredential::Basic { username, password } = node.admin() else {
        unreachable!("the node's administrator has a password")
    };
    let administrator = access.authenticate(&basic(&username, password.expose())).await.unwrap();
    assert!(administrator.may_index("mine", IndexPrivilege::Delete));
    access
        .set_password("elastic", Secret::from("ours-not-theirs"))
        .await
        .unwrap();
    access.authenticate(&basic("elastic", "ours-not-theirs")).await.unwrap();
    access
        .authenticate(&basic("elastic", password.expose()))
        .await
        .unwrap_err();
    // Keys of people are ours: limited by what their maker may, here and nowhere else.
    let new = NewApiKey {
        name: "of-reader".to_owned(),
        role_descriptors: json!({ "r": { "cluster": ["manage_own_api_key"] } })
            .try_into()
            .unwrap(),
        ..NewApiKey::default()
    };
    let refused = access.create_api_key(&reader, new).await.unwrap_err();
    assert!(matches!(refused, AccessError::Forbidden(_)), "{refused}");
}

/// As a Fleet Server.
pub(crate) async fn fleet_documents(store: &Arc<RemoteStore>) {
    for index in [".fleet-agents", ".fleet-artifacts"] {
        assert!(store.get(index, "nobody").await.unwrap().is_none(), "{index}");
        assert_eq!(store.checkpoint(index).await.unwrap(), None, "{index}");
    }
    assert_eq!(
        store
            .search(SearchRequest::new(".fleet-artifacts"))
            .await
            .unwrap()
            .total,
        0
    );
    let agent = json!({"active": true, "policy_id": "Policy 1", "outputs": {"default": {"type": "elasticsearch"}}, "tags": ["a b"]});
    one(
        &**store,
        Operation::create(".fleet-agents", "agent", Source::of(&agent)),
    )
    .await;
    let by_policy = SearchRequest::new(".fleet-agents").query(Query::term("policy_id", "Policy 1"));
    assert_eq!(store.search(by_policy).await.unwrap().total, 1, "ids are keywords");
    let ack = script(
        "agent",
        &json!({"id": "Policy 1", "rev": 3, "ts": "2026-01-01T00:00:00Z"}),
    );
    assert_eq!(one(&**store, ack).await.result, WriteResult::Updated);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..8 {
        let store = store.clone();
        let params = json!({"output_name": "default", "to_retire_api_key_ids": {"id": format!("k{number}")}});
        tasks.spawn(async move { one(&*store, script("agent", &params)).await.result });
    }
    while let Some(done) = tasks.join_next().await {
        assert_eq!(done.unwrap(), WriteResult::Updated);
    }
    let document = store
        .get(".fleet-agents", "agent")
        .await
        .unwrap()
        .unwrap()
        .source
        .to_value();
    assert_eq!(document["policy_revision_idx"], 3);
    let retired = &document["outputs"]["default"]["to_retire_api_key_ids"];
    assert_eq!(retired.as_array().map(Vec::len), Some(8), "{retired}");
    let made = store.create_index(".fleet-agents", json!({})).await;
    assert!(matches!(made, Err(StoreError::AlreadyExists(_))), "{made:?}");
}
