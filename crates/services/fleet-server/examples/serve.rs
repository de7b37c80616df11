//! A Fleet Server over a store in a folder, for load generators: `serve FOLDER CERTIFICATE KEY`. Prints its URL and an enrollment
//! token as JSON. SIGHUP puts the next revision of its one policy up, SIGTERM stops it.
#![expect(clippy::print_stdout, reason = "an example talks to the program that runs it")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use access::{Access, ApiKeys, NewApiKey};
use embedded::{EmbeddedOptions, EmbeddedStore};
use fleet_server::{FleetServer, FleetServerSettings};
use protocol::indices;
use serde_json::{Value, json};
use store::{Operation, Refresh, Source, Store};
use tls::{LoadOptions, ServerTls, SslSettings};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use transport::{Listener, ServeOptions};

const POLICY: &str = "policy";

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let [folder, certificate, key]: [String; 3] = std::env::args()
        .skip(1)
        .collect::<Vec<_>>()
        .try_into()
        .map_err(|_| "usage: serve FOLDER CERTIFICATE KEY")?;
    let clock = clock::system();
    let store: Arc<dyn Store> = EmbeddedStore::open(EmbeddedOptions::new(folder, Arc::clone(&clock)))?;
    fleet_server::create_indices(&*store).await?;
    let access = Access::open(Arc::clone(&store), Arc::clone(&clock)).await?;
    publish(&*store, 1).await?;
    let token = enrollment_token(&*store, &*access).await?;
    let server = FleetServer::new(FleetServerSettings::default(), Arc::clone(&store), access, clock);
    let ssl = SslSettings::from_value(&json!({"certificate": certificate, "key": key}))?;
    let tls = ServerTls::load(&ssl, LoadOptions::named("example"))?;
    let listener = Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    println!(
        "{}",
        json!({"url": format!("https://localhost:{}", listener.local_addr().port()), "token": token})
    );
    let stop = CancellationToken::new();
    let running = tokio::spawn(Arc::clone(&server).run(stop.clone()));
    let options = ServeOptions::default();
    let serving = tokio::spawn(transport::serve(
        listener,
        Some(tls),
        server.router(),
        options,
        stop.clone(),
    ));
    let (mut next, mut end) = (signal(SignalKind::hangup())?, signal(SignalKind::terminate())?);
    let mut revision = 1;
    loop {
        tokio::select! {
            _ = next.recv() => {
                revision += 1;
                publish(&*store, revision).await?;
            }
            _ = end.recv() => break,
        }
    }
    stop.cancel();
    running.await?;
    serving.await?;
    Ok(())
}

async fn enrollment_token(store: &dyn Store, keys: &dyn ApiKeys) -> Result<String, Failure> {
    let new = NewApiKey {
        name: "example".to_owned(),
        role_descriptors: json!({"fleet-apikey-enroll": {"cluster": []}}).try_into()?,
        ..NewApiKey::default()
    };
    let key = keys.create(new).await?;
    let token = key.encoded().expose().to_owned();
    let record = json!({
        "active": true, "api_key_id": key.id, "api_key": token, "name": "example", "policy_id": POLICY,
        "created_at": "2026-01-01T00:00:00Z"
    });
    put(store, indices::ENROLLMENT_API_KEYS, "example", &record).await?;
    Ok(token)
}

/// About as large as a policy that collects logs and metrics of a host.
async fn publish(store: &dyn Store, revision: i64) -> Result<(), Failure> {
    let stream = |name: &str| {
        json!({
            "id": format!("system/metrics-{name}"), "metricsets": [name], "period": "10s",
            "data_stream": {"dataset": format!("system.{name}"), "type": "metrics"}
        })
    };
    let streams: Vec<Value> = ["cpu", "load", "memory", "network", "filesystem", "process", "uptime"]
        .map(stream)
        .into();
    let index = json!({"names": ["metrics-system.*-*", "logs-*-*"], "privileges": ["auto_configure", "create_doc"]});
    let data = json!({
        "id": POLICY, "revision": revision,
        "outputs": {"default": {"type": "elasticsearch", "hosts": ["https://127.0.0.1:9200"]}},
        "output_permissions": {"default": {
            "_elastic_agent_checks": {"cluster": ["monitor"]}, "system": {"indices": [index]}
        }},
        "inputs": [{"id": "system", "type": "system/metrics", "use_output": "default", "streams": streams}],
        "agent": {"monitoring": {"enabled": false}},
        "fleet": {"hosts": ["https://127.0.0.1:8220"]}
    });
    let document = json!({
        "@timestamp": "2026-01-01T00:00:00.000Z", "policy_id": POLICY, "revision_idx": revision, "coordinator_idx": 0,
        "data": data, "default_fleet_server": false
    });
    put(store, indices::POLICIES, &format!("{POLICY}-{revision}"), &document).await
}

async fn put(store: &dyn Store, index: &str, id: &str, document: &Value) -> Result<(), Failure> {
    let write = Operation::index(index, id, Source::of(document));
    for outcome in store.bulk(vec![write], Refresh::WaitFor).await? {
        outcome.written()?;
    }
    Ok(())
}
