//! The peer's own users, keys and tokens, for an API of ours in front of it.

use std::collections::HashMap;

use access::{
    AccessError, ApiKeyFilter, ApiKeyInfo, AuthenticationError, Credential, NativeIdentities, NativeIdentity,
    RoleDescriptors,
};
use async_trait::async_trait;
use base64::prelude::{BASE64_STANDARD, Engine};
use http::Method;
use secret::Secret;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::api_keys::{Listed, ListedKey, NativeKeys, refused};
use crate::error::Failure;
use crate::settings::{api_key_header, sensitive};
use crate::wire::{Call, segment};

/// Keys of one page. Source: Elasticsearch, `index.max_result_window`.
const MOST_KEYS: usize = 10_000;

#[derive(Deserialize)]
struct Authenticated {
    username: String,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    full_name: Option<String>,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    metadata: Map<String, Value>,
    authentication_realm: Realm,
    #[serde(default)]
    token: Option<Token>,
    #[serde(default)]
    api_key: Option<KeyId>,
}

#[derive(Deserialize)]
struct Realm {
    name: String,
}

#[derive(Deserialize)]
struct Token {
    name: String,
}

#[derive(Deserialize)]
struct KeyId {
    id: String,
}

#[derive(Deserialize)]
struct CreatedToken {
    token: TokenValue,
}

#[derive(Deserialize)]
struct TokenValue {
    value: Secret,
}

#[derive(Deserialize)]
struct TokenList {
    #[serde(default)]
    tokens: HashMap<String, Value>,
}

fn header(credential: &Credential) -> Option<String> {
    Some(match credential {
        Credential::ApiKey(pair) => api_key_header(pair),
        Credential::Bearer(token) => format!("Bearer {}", token.expose()),
        Credential::Basic { username, password } => {
            let pair = BASE64_STANDARD.encode(format!("{username}:{}", password.expose()));
            format!("Basic {pair}")
        }
        Credential::Certificate { .. } => return None,
    })
}

impl NativeKeys {
    async fn descriptors(&self, roles: &[String]) -> Result<Map<String, Value>, AccessError> {
        if roles.is_empty() {
            return Ok(Map::new());
        }
        let answer = self
            .send(Call::get(format!("/_security/role/{}", segment(&roles.join(",")))))
            .await?;
        match answer.status {
            404 => Ok(Map::new()),
            _ if answer.is_success() => Ok(answer.parse().await?),
            status => Err(refused(status, &answer.body)),
        }
    }

    async fn query_keys(&self, filter: &ApiKeyFilter) -> Result<Vec<ApiKeyInfo>, AccessError> {
        let mut wanted = Vec::new();
        if let Some(name) = &filter.name {
            let (kind, name) = name
                .strip_suffix('*')
                .map_or(("term", name.as_str()), |start| ("prefix", start));
            wanted.push(json!({ kind: { "name": name } }));
        }
        for (field, value) in [("username", &filter.username), ("realm_name", &filter.realm)] {
            wanted.extend(value.as_ref().map(|value| json!({ "term": { field: value } })));
        }
        let body = json!({ "query": { "bool": { "filter": wanted } }, "size": MOST_KEYS, "sort": ["creation"] });
        let call = Call::ask("/_security/_query/api_key?with_limited_by=true").json(&body);
        let listed: Listed = self.ask(call).await?;
        listed.api_keys.into_iter().map(ListedKey::into_info).collect()
    }

    fn tokens_path(account: &str) -> String {
        format!("/_security/service/{account}/credential")
    }
}

#[async_trait]
impl NativeIdentities for NativeKeys {
    async fn identify(&self, credential: &Credential) -> Result<NativeIdentity, AuthenticationError> {
        let Some(header) = header(credential) else {
            return Err(AuthenticationError::Rejected(
                "the store knows no certificates".to_owned(),
            ));
        };
        let mut call = Call::get("/_security/_authenticate");
        call.authorization = Some(sensitive(&header));
        let answer = self.send(call).await?;
        if answer.status == 401 {
            let reason = Failure::of_body(&answer.body).reason().to_owned();
            return Err(AuthenticationError::Rejected(reason));
        }
        if !answer.is_success() {
            return Err(refused(answer.status, &answer.body).into());
        }
        let who: Authenticated = answer.parse().await.map_err(AccessError::from)?;
        if let Some(key) = who.api_key {
            let unseen = || AuthenticationError::Rejected(format!("api key [{}] cannot be read", key.id));
            let info = self.read_shown(&key.id).await?.ok_or_else(unseen)?;
            return Ok(NativeIdentity::ApiKey(Box::new(info)));
        }
        if let Some(token) = who
            .token
            .filter(|_| who.authentication_realm.name == "_service_account")
        {
            return Ok(NativeIdentity::ServiceToken {
                account: who.username,
                token: token.name,
            });
        }
        Ok(NativeIdentity::User {
            descriptors: self.descriptors(&who.roles).await?,
            username: who.username,
            roles: who.roles,
            full_name: who.full_name,
            email: who.email,
            metadata: who.metadata,
        })
    }

    async fn keys(&self, filter: &ApiKeyFilter) -> Result<Vec<ApiKeyInfo>, AccessError> {
        if filter.ids.is_empty() {
            return self.query_keys(filter).await;
        }
        let mut found = Vec::new();
        for id in &filter.ids {
            found.extend(access::ApiKeys::read(self, id).await?);
        }
        Ok(found)
    }

    async fn change_key(
        &self,
        id: &str,
        roles: Option<&RoleDescriptors>,
        metadata: Option<Value>,
    ) -> Result<bool, AccessError> {
        let ids = [id.to_owned()];
        let mut body = json!({ "ids": ids });
        if let Some(roles) = roles {
            body["role_descriptors"] = Value::Object((**roles).clone());
        }
        if let Some(metadata) = metadata {
            body["metadata"] = metadata;
        }
        Ok(!self.bulk_update(&ids, &body).await?.is_empty())
    }

    async fn create_service_token(&self, account: &str, name: &str) -> Result<Secret, AccessError> {
        let path = format!("{}/token/{}", Self::tokens_path(account), segment(name));
        let created: CreatedToken = self.ask(Call::new(Method::POST, path)).await?;
        Ok(created.token.value)
    }

    async fn service_tokens(&self, account: &str) -> Result<Vec<String>, AccessError> {
        let list: TokenList = self.ask(Call::get(Self::tokens_path(account))).await?;
        Ok(list.tokens.into_keys().collect())
    }

    async fn delete_service_token(&self, account: &str, name: &str) -> Result<bool, AccessError> {
        let path = format!("{}/token/{}", Self::tokens_path(account), segment(name));
        let answer = self.send(Call::new(Method::DELETE, path)).await?;
        match answer.status {
            404 => Ok(false),
            _ if answer.is_success() => Ok(true),
            status => Err(refused(status, &answer.body)),
        }
    }
}
