use event::{Reporter, UnitType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{BuildContext, InputPaths, Registry};

fn build(settings: Value) -> Result<Vec<crate::BuiltInput>, BuildError> {
    let agent = event::AgentMetadata {
        id: "a".into(),
        ephemeral_id: "e".into(),
        name: "n".into(),
        version: "9.2.0".into(),
        snapshot: false,
    };
    let paths = InputPaths {
        home: "/h".into(),
        data: "/d".into(),
        logs: "/l".into(),
    };
    crate::build(
        &settings,
        &BuildContext {
            agent,
            host: Fields::new(),
            paths,
            reloader: tls::Reloader::new(),
        },
    )
}

/// Answers every request with `body`.
async fn exporter(body: &'static str) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            if stream.read(&mut request).await.is_ok() {
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    address
}

#[tokio::test]
async fn an_exporter_is_fetched() {
    let address = exporter("# TYPE a counter\na{l=\"1\"} 5\nb{l=\"1\"} 2.5\nc 1\nd_excluded 1\n").await;
    let input = json!({"type": "prometheus/metrics", "id": "p", "streams": [{"id": "p1", "metricsets": ["collector"],
        "data_stream": {"dataset": "prometheus.collector"}, "hosts": [address.to_string()], "metrics_filters": {"exclude": ["^d_"]}}]});
    let built = build(input).unwrap().remove(0);
    let folder = tempfile::tempdir().unwrap();
    let (sender, mut events) = tokio::sync::mpsc::channel(4);
    let stop = CancellationToken::new();
    let context = InputContext {
        events: sender,
        reporter: Reporter::new("u", UnitType::Input),
        clock: clock::system(),
        registry: Registry::open(&camino::Utf8Path::from_path(folder.path()).unwrap().join("r")).unwrap(),
        stop: stop.clone(),
    };
    let task = tokio::spawn(built.input.run(context));
    let batch = events.recv().await.unwrap();
    let documents: Vec<Value> = batch
        .iter()
        .map(|event| serde_json::from_slice(&event.body).unwrap())
        .collect();
    assert_eq!(documents.len(), 2);
    assert_eq!(documents[0]["prometheus"]["metrics"], json!({"c": 1.0}));
    assert_eq!(documents[1]["prometheus"]["metrics"], json!({"a": 5.0, "b": 2.5}));
    assert_eq!(
        documents[1]["prometheus"]["labels"],
        json!({"l": "1", "instance": address.to_string(), "job": "prometheus"})
    );
    assert_eq!(
        (&documents[1]["event"]["module"], &documents[1]["service"]["type"]),
        (&json!("prometheus"), &json!("prometheus"))
    );
    stop.cancel();
    task.await.unwrap();
}

#[test]
fn wrong_settings_are_named() {
    let error = |stream: Value| {
        build(json!({"type": "prometheus/metrics", "streams": [stream]}))
            .map(|built| built.len())
            .unwrap_err()
            .to_string()
    };
    assert!(error(json!({"id": "x"})).contains("`hosts`"));
    assert!(error(json!({"id": "x", "hosts": ["ftp://x"]})).contains("`ftp://x`"));
    assert!(error(json!({"id": "x", "hosts": ["x"], "metricsets": ["query"]})).contains("`query`"));
}
