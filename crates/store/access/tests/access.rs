//! Identities over the embedded store.
#![expect(clippy::unwrap_used, reason = "a fixture that cannot be made ends its test")]

use std::sync::Arc;

use access::{
    Access, AccessError, ApiKeyFilter, ApiKeys, AuthenticationError, ClusterPrivilege, Credential,
    FLEET_SERVER_ACCOUNT, FleetPrivilege, IndexPrivilege, NewApiKey, NewUser, Principal, Privilege, RoleDescriptor,
    RoleDescriptors, Secret,
};
use clock::{SharedClock, TestClock};
use embedded::{EmbeddedOptions, EmbeddedStore};
use jiff::SignedDuration;
use serde_json::{Value, json};
use store::{Operation, Store};

struct Fixture {
    access: Arc<Access>,
    store: Arc<dyn Store>,
    clock: Arc<TestClock>,
    _folder: tempfile::TempDir,
}

async fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let directory = camino::Utf8PathBuf::from_path_buf(folder.path().join("store")).unwrap();
    let clock = TestClock::at("2026-01-02T03:04:05Z".parse().unwrap());
    let shared: SharedClock = clock.clone();
    let store: Arc<dyn Store> = EmbeddedStore::open(EmbeddedOptions::new(directory, shared.clone())).unwrap();
    let access = Access::open(Arc::clone(&store), shared).await.unwrap();
    Fixture {
        access,
        store,
        clock,
        _folder: folder,
    }
}

impl Fixture {
    /// A second process on the same store.
    async fn another(&self) -> Arc<Access> {
        let clock: SharedClock = self.clock.clone();
        Access::open(Arc::clone(&self.store), clock).await.unwrap()
    }
}

fn roles(roles: Value) -> RoleDescriptors {
    roles.try_into().unwrap()
}

fn key(of: Value) -> NewApiKey {
    NewApiKey {
        name: "k".to_owned(),
        role_descriptors: roles(of),
        metadata: json!({ "agent_id": "a" }),
        expires: None,
    }
}

async fn who(access: &Access, credential: Credential) -> Result<Arc<Principal>, String> {
    access.authenticate(&credential).await.map_err(|error| match error {
        AuthenticationError::Rejected(reason) => reason,
        AuthenticationError::Unchecked(error) => panic!("{error}"),
    })
}

#[tokio::test]
async fn keys_of_the_fleet_server_are_limited_by_its_rights() {
    let fixture = fixture().await;
    let roles = json!({ "r": { "cluster": ["all"], "indices": [
        { "names": ["logs-a-default"], "privileges": ["auto_configure", "create_doc"] },
        { "names": ["mine"], "privileges": ["all"] },
    ]}});
    let made = fixture.access.create(key(roles)).await.unwrap();
    assert_eq!((made.id.len(), made.key.expose().len()), (20, 22));
    let principal = fixture
        .access
        .authenticate(&Credential::ApiKey(made.pair()))
        .await
        .unwrap();
    assert_eq!(principal.username, FLEET_SERVER_ACCOUNT);
    assert_eq!(principal.verified_agent_id(), Some("a"));
    assert!(principal.may_index("logs-a-default", IndexPrivilege::CreateDocument));
    assert!(
        !principal.may_index("logs-a-default", IndexPrivilege::IndexDocument),
        "create_doc is not index"
    );
    assert!(
        !principal.may_index("logs-b-default", IndexPrivilege::CreateDocument),
        "the key's own roles"
    );
    assert!(
        !principal.may_index("mine", IndexPrivilege::CreateDocument),
        "the account's rights"
    );
    assert!(principal.may(Privilege::Cluster(ClusterPrivilege::Monitor)));
    assert!(!principal.may(Privilege::Cluster(ClusterPrivilege::ManageSecurity)));
}

#[tokio::test]
async fn wrong_revoked_and_expired_keys_are_refused_with_the_reason() {
    let fixture = fixture().await;
    let access = &fixture.access;
    let made = access.create(key(json!({}))).await.unwrap();
    let wrong = Secret::from(format!("{}:{}", made.id, "x".repeat(22)));
    assert!(
        who(access, Credential::ApiKey(wrong.clone()))
            .await
            .unwrap_err()
            .contains("invalid credentials")
    );
    who(access, Credential::ApiKey(made.pair())).await.unwrap();
    assert!(
        who(access, Credential::ApiKey(wrong)).await.is_err(),
        "also when the right one is remembered"
    );
    let unknown = Credential::ApiKey(Secret::from("none:x"));
    assert!(
        who(access, unknown)
            .await
            .unwrap_err()
            .contains("unable to find apikey with id none")
    );

    let done = access.invalidate(std::slice::from_ref(&made.id)).await.unwrap();
    assert_eq!(done.invalidated, std::slice::from_ref(&made.id));
    assert!(
        who(access, Credential::ApiKey(made.pair()))
            .await
            .unwrap_err()
            .contains("has been invalidated")
    );
    assert!(
        access
            .update(std::slice::from_ref(&made.id), &roles(json!({ "r": {} })))
            .await
            .is_err(),
        "a revoked key stays revoked"
    );

    let expires = Some("2026-01-02T03:05:05Z".parse().unwrap());
    let short = access
        .create(NewApiKey {
            expires,
            ..key(json!({}))
        })
        .await
        .unwrap();
    who(access, Credential::ApiKey(short.pair())).await.unwrap();
    fixture.clock.step(SignedDuration::from_secs(60));
    assert_eq!(
        who(access, Credential::ApiKey(short.pair())).await.unwrap_err(),
        "api key is expired"
    );
}

#[tokio::test]
async fn what_another_process_revokes_is_refused_soon() {
    let fixture = fixture().await;
    let other = fixture.another().await;
    let made = fixture.access.create(key(json!({}))).await.unwrap();
    who(&other, Credential::ApiKey(made.pair())).await.unwrap();
    fixture.access.invalidate(std::slice::from_ref(&made.id)).await.unwrap();
    fixture.clock.step(SignedDuration::from_secs(31));
    assert!(who(&other, Credential::ApiKey(made.pair())).await.is_err());
}

#[tokio::test]
async fn keys_with_the_same_roles_share_one_document_of_them() {
    let fixture = fixture().await;
    let access = &fixture.access;
    let one = access
        .create(key(json!({ "r": { "cluster": ["monitor"], "indices": [] } })))
        .await
        .unwrap();
    let same = access
        .create(key(json!({ "r": { "indices": [], "cluster": ["monitor"] } })))
        .await
        .unwrap();
    let of = async |made: &access::ApiKey| {
        let id = format!("api-key-{}", made.id);
        let document = fixture.store.get(access::SECURITY_INDEX, &id).await.unwrap().unwrap();
        document.source.parse::<Value>().unwrap()
    };
    assert_eq!(of(&one).await["role_set"], of(&same).await["role_set"]);
    assert!(of(&one).await.get("role_descriptors").is_none());
    let info = fixture.another().await.read(&same.id).await.unwrap().unwrap();
    assert_eq!(info.role_descriptors["r"]["cluster"], json!(["monitor"]));
}

#[tokio::test]
async fn keys_that_hold_their_roles_themselves_still_work() {
    let fixture = fixture().await;
    let made = fixture
        .access
        .create(key(json!({ "r": { "cluster": [] } })))
        .await
        .unwrap();
    let older = json!({ "role_set": null, "role_descriptors": { "r": { "cluster": ["monitor"] } } });
    let change = Operation::merge(
        access::SECURITY_INDEX,
        format!("api-key-{}", made.id),
        older.as_object().unwrap().clone(),
    );
    fixture.store.bulk(vec![change], store::Refresh::Soon).await.unwrap();
    let owner = who(&fixture.access, Credential::ApiKey(made.pair())).await.unwrap();
    assert!(owner.may(Privilege::Cluster(ClusterPrivilege::Monitor)));
    let none = roles(json!({}));
    assert_eq!(
        fixture
            .access
            .update(std::slice::from_ref(&made.id), &none)
            .await
            .unwrap(),
        std::slice::from_ref(&made.id)
    );
    assert!(
        fixture
            .access
            .read(&made.id)
            .await
            .unwrap()
            .unwrap()
            .role_descriptors
            .is_empty()
    );
}

#[tokio::test]
async fn changed_roles_hold_from_the_next_call_on() {
    let fixture = fixture().await;
    let access = &fixture.access;
    let made = access
        .create(key(json!({ "r": { "cluster": ["monitor"] } })))
        .await
        .unwrap();
    let monitors = |principal: &Principal| principal.may(Privilege::Cluster(ClusterPrivilege::Monitor));
    assert!(monitors(&who(access, Credential::ApiKey(made.pair())).await.unwrap()));
    let nothing = roles(json!({ "r": { "cluster": [] } }));
    assert_eq!(
        access.update(std::slice::from_ref(&made.id), &nothing).await.unwrap(),
        std::slice::from_ref(&made.id)
    );
    assert!(!monitors(&who(access, Credential::ApiKey(made.pair())).await.unwrap()));
    assert!(
        access
            .update(std::slice::from_ref(&made.id), &nothing)
            .await
            .unwrap()
            .is_empty(),
        "no change"
    );
    let info = access.read(&made.id).await.unwrap().unwrap();
    assert_eq!(info.role_descriptors, nothing);
}

#[tokio::test]
async fn keys_are_found_by_what_is_known_of_them() {
    let fixture = fixture().await;
    let access = &fixture.access;
    for name in ["shipper-1", "shipper-2", "other"] {
        access
            .create(NewApiKey {
                name: name.to_owned(),
                ..key(json!({}))
            })
            .await
            .unwrap();
    }
    let by_name = ApiKeyFilter {
        name: Some("shipper-*".to_owned()),
        ..ApiKeyFilter::default()
    };
    let mut found: Vec<_> = access
        .api_keys(&by_name)
        .await
        .unwrap()
        .into_iter()
        .map(|key| key.name)
        .collect();
    found.sort();
    assert_eq!(found, ["shipper-1", "shipper-2"]);
    let by_owner = ApiKeyFilter {
        username: Some(FLEET_SERVER_ACCOUNT.to_owned()),
        ..ApiKeyFilter::default()
    };
    let first = access.api_keys(&by_owner).await.unwrap().remove(0);
    assert_eq!(access.api_keys(&by_owner).await.unwrap().len(), 3);
    access
        .invalidate_api_keys(std::slice::from_ref(&first.id))
        .await
        .unwrap();
    let active = ApiKeyFilter {
        active_only: true,
        ..ApiKeyFilter::default()
    };
    assert_eq!(access.api_keys(&active).await.unwrap().len(), 2);
    let nobody = ApiKeyFilter {
        username: Some("nobody".to_owned()),
        ..by_name
    };
    assert!(access.api_keys(&nobody).await.unwrap().is_empty());
}

#[tokio::test]
async fn service_tokens_are_the_fleet_servers_name() {
    let fixture = fixture().await;
    let access = &fixture.access;
    let token = access.create_service_token(FLEET_SERVER_ACCOUNT, "t-1").await.unwrap();
    assert!(token.expose().starts_with("AAEAA"));
    let principal = who(access, Credential::Bearer(token.clone())).await.unwrap();
    assert_eq!(principal.username, FLEET_SERVER_ACCOUNT);
    assert!(principal.may(Privilege::Cluster(ClusterPrivilege::WriteFleetSecrets)));
    let twice = access.create_service_token(FLEET_SERVER_ACCOUNT, "t-1").await;
    assert!(matches!(twice, Err(AccessError::Conflict(_))));
    assert!(access.create_service_token("elastic/kibana", "t").await.is_err());
    assert!(access.create_service_token(FLEET_SERVER_ACCOUNT, "_x").await.is_err());
    assert!(access.delete_service_token(FLEET_SERVER_ACCOUNT, "t-1").await.unwrap());
    assert!(who(access, Credential::Bearer(token)).await.is_err());
}

#[tokio::test]
async fn people_have_passwords_roles_and_certificates() {
    let fixture = fixture().await;
    let access = &fixture.access;
    let basic = |name: &str, password: &str| Credential::Basic {
        username: name.to_owned(),
        password: Secret::from(password),
    };
    assert!(
        who(access, basic("elastic", "anything")).await.is_err(),
        "no password was set yet"
    );
    access
        .set_password("elastic", Secret::from("first password"))
        .await
        .unwrap();
    let elastic = who(access, basic("elastic", "first password")).await.unwrap();
    assert!(
        elastic.may(Privilege::Fleet(FleetPrivilege::All)) && elastic.may_index("anything", IndexPrivilege::Manage)
    );
    assert!(
        !elastic.may_index(access::SECURITY_INDEX, IndexPrivilege::Read),
        "hashes are out of everybody's reach"
    );
    access
        .set_password("elastic", Secret::from("second password"))
        .await
        .unwrap();
    assert!(who(access, basic("elastic", "first password")).await.is_err());

    let role =
        RoleDescriptor::from_value("r", &json!({ "indices": [{ "names": "a", "privileges": "read" }] })).unwrap();
    access.put_role("r", role).await.unwrap();
    let ann = NewUser {
        roles: vec!["r".to_owned(), "unknown".to_owned()],
        enabled: true,
        ..NewUser::default()
    };
    assert!(access.put_user("ann", ann.clone()).await.unwrap());
    assert!(who(access, basic("ann", "")).await.is_err(), "no password, no login");
    let by_certificate = Credential::Certificate {
        common_name: "ann".to_owned(),
    };
    let principal = who(access, by_certificate.clone()).await.unwrap();
    assert!(principal.may_index("a", IndexPrivilege::Read) && !principal.may_index("b", IndexPrivilege::Read));
    access.set_enabled("ann", false).await.unwrap();
    assert!(who(access, by_certificate).await.is_err());
    let viewer = NewUser {
        password: Some(Secret::from("ben's password")),
        roles: vec!["viewer".to_owned()],
        ..ann
    };
    access.put_user("ben", viewer).await.unwrap();
    let ben = who(access, basic("ben", "ben's password")).await.unwrap();
    assert!(ben.may(Privilege::Fleet(FleetPrivilege::Read)) && !ben.may(Privilege::Fleet(FleetPrivilege::All)));
}

#[tokio::test]
async fn a_key_of_a_person_never_exceeds_them() {
    let fixture = fixture().await;
    let access = &fixture.access;
    let role = json!({ "cluster": ["manage_own_api_key"], "indices": [{ "names": ["a*"], "privileges": ["read"] }] });
    access
        .put_role("r", RoleDescriptor::from_value("r", &role).unwrap())
        .await
        .unwrap();
    let password = Secret::from("a password");
    let ann = NewUser {
        password: Some(password.clone()),
        roles: vec!["r".to_owned()],
        enabled: true,
        ..NewUser::default()
    };
    access.put_user("ann", ann).await.unwrap();
    let ann = who(
        access,
        Credential::Basic {
            username: "ann".to_owned(),
            password,
        },
    )
    .await
    .unwrap();
    let all = json!({ "r": { "cluster": ["all"], "indices": [{ "names": ["*"], "privileges": ["all"] }] } });
    let made = access.create_api_key(&ann, key(all)).await.unwrap();
    let principal = who(access, Credential::ApiKey(made.pair())).await.unwrap();
    assert!(principal.may_index("ab", IndexPrivilege::Read) && !principal.may_index("ab", IndexPrivilege::Delete));
    assert_eq!(
        principal.verified_agent_id(),
        None,
        "a person's word does not vouch for an agent"
    );
    let inherited = access.create_api_key(&ann, key(json!({}))).await.unwrap();
    let principal = who(access, Credential::ApiKey(inherited.pair())).await.unwrap();
    assert!(
        principal.may_index("ab", IndexPrivilege::Read),
        "without roles it has its maker's"
    );
    let derived = access
        .create_api_key(&principal, key(json!({ "r": { "cluster": ["monitor"] } })))
        .await;
    assert!(
        matches!(derived, Err(AccessError::Invalid(_))),
        "a key makes no key with rights"
    );
    let viewer = NewUser {
        roles: vec!["viewer".to_owned()],
        enabled: true,
        ..NewUser::default()
    };
    access.put_user("ben", viewer).await.unwrap();
    let ben = who(
        access,
        Credential::Certificate {
            common_name: "ben".to_owned(),
        },
    )
    .await
    .unwrap();
    assert!(matches!(
        access.create_api_key(&ben, key(json!({}))).await,
        Err(AccessError::Forbidden(_))
    ));
}

#[tokio::test]
async fn secrets_and_hashes_do_not_show() {
    let fixture = fixture().await;
    let access = &fixture.access;
    let id = access.put_secret(&Secret::from("hunter2")).await.unwrap();
    assert_eq!(access.secret(&id).await.unwrap().unwrap().expose(), "hunter2");
    assert!(access.delete_secret(&id).await.unwrap() && !access.delete_secret(&id).await.unwrap());
    assert!(access.secret(&id).await.unwrap().is_none());
    let made = access.create(key(json!({}))).await.unwrap();
    assert!(!format!("{made:?}").contains(made.key.expose()));
    let stored = fixture
        .store
        .get(access::SECURITY_INDEX, &format!("api-key-{}", made.id))
        .await
        .unwrap()
        .unwrap();
    let text = String::from_utf8(stored.source.bytes().to_vec()).unwrap();
    assert!(!text.contains(made.key.expose()), "only the hash is kept");
}
