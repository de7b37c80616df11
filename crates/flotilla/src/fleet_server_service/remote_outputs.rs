//! API keys of other clusters: outputs of type `remote_elasticsearch` name one each, with a service token of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use access::ApiKeys;
use async_trait::async_trait;
use fleet_server::{RemoteKeys, RemoteKeysError};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tls::Reloader;
use tokio::sync::OnceCell;

use super::elasticsearch::connect;
use crate::fleet_server_component::settings_from;
use crate::version;

/// Clusters that are remembered; beyond it all are forgotten, which costs a connection each.
const MOST: usize = 64;

type Connection = Arc<OnceCell<Arc<dyn ApiKeys>>>;

/// Connections by the digest of the output's settings, made when first asked for.
#[derive(Debug)]
pub(crate) struct RemoteOutputs {
    reloader: Reloader,
    connections: Mutex<HashMap<[u8; 32], Connection>>,
}

impl RemoteOutputs {
    /// Certificate files of the outputs are followed by `reloader`.
    pub(crate) fn new(reloader: Reloader) -> Arc<Self> {
        Arc::new(Self {
            reloader,
            connections: Mutex::default(),
        })
    }

    fn connection(&self, output: &Value) -> Connection {
        let digest: [u8; 32] = Sha256::digest(output.to_string()).into();
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if connections.len() > MOST {
            connections.clear();
        }
        Arc::clone(connections.entry(digest).or_default())
    }
}

#[async_trait]
impl RemoteKeys for RemoteOutputs {
    async fn keys(&self, output: &Map<String, Value>) -> Result<Arc<dyn ApiKeys>, RemoteKeysError> {
        let output = connection_settings(output);
        let connection = self.connection(&output);
        let keys = connection.get_or_try_init(|| async {
            let settings = settings_from(&json!({}), &output, version::STACK)
                .map_err(|error| RemoteKeysError(format!("the settings of a remote output cannot be used: {error}")))?;
            let remote = connect(&settings.output, &self.reloader)
                .await
                .map_err(|error| RemoteKeysError(format!("the cluster of a remote output: {error}")))?;
            if !remote.has_native_api_keys() {
                return Err(RemoteKeysError(format!(
                    "the cluster of a remote output is {} and has no API keys that agents could ship with",
                    remote.product()
                )));
            }
            Ok(remote.api_keys())
        });
        keys.await.cloned()
    }
}

/// What says how the cluster is reached; presets and queues of the output are not for us.
fn connection_settings(output: &Map<String, Value>) -> Value {
    const KEYS: [&str; 9] = [
        "protocol",
        "hosts",
        "path",
        "service_token",
        "headers",
        "proxy_url",
        "proxy_disable",
        "proxy_headers",
        "ssl",
    ];
    // Policies carry dotted keys as well: `ssl.ca_trusted_fingerprint` beside `ssl`.
    let is_wanted = |key: &str| KEYS.contains(&key.split('.').next().unwrap_or(key));
    let said = output.iter().filter(|(key, _)| is_wanted(key));
    Value::Object(said.map(|(key, value)| (key.clone(), value.clone())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_about_the_connection_is_left_out() {
        let output = json!({
            "type": "remote_elasticsearch", "hosts": ["https://es:9200"], "service_token": "t", "preset": "balanced",
            "ssl": {"certificate": "/c"}, "ssl.ca_trusted_fingerprint": "ab",
        });
        let expected = json!({
            "hosts": ["https://es:9200"], "service_token": "t",
            "ssl": {"certificate": "/c"}, "ssl.ca_trusted_fingerprint": "ab",
        });
        assert_eq!(connection_settings(output.as_object().unwrap()), expected);
    }

    #[test]
    fn the_same_settings_share_a_connection() {
        let outputs = RemoteOutputs::new(Reloader::new());
        let (one, other) = (json!({"hosts": ["a"]}), json!({"hosts": ["b"]}));
        assert!(Arc::ptr_eq(&outputs.connection(&one), &outputs.connection(&one)));
        assert!(!Arc::ptr_eq(&outputs.connection(&one), &outputs.connection(&other)));
    }
}
