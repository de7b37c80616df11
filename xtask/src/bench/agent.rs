//! One simulated agent: as little as the protocol needs, over a TLS connection of its own.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tls::{Alpn, ClientTls};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Where a swarm goes.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Arc<ClientTls>,
    pub(super) token: String,
}

/// An enrolled agent.
pub(super) struct Agent {
    id: String,
    api_key: String,
    connection: Option<SendRequest<Full<Bytes>>>,
    ack_token: Option<String>,
}

impl Target {
    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let prepared = self.tls.prepare(&self.host, Alpn::Http1);
        let (config, name) = prepared.map_err(|explanation| anyhow::anyhow!("{explanation}"))?;
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            // What goes wrong is told to the sender.
            let _told_to_the_sender = connection.await;
        });
        Ok(sender)
    }
}

impl Agent {
    /// Enrols on a connection that is closed afterwards; the number of answers 429 comes back with the agent.
    pub(super) async fn enroll(target: &Target, number: usize) -> Result<(Self, u32)> {
        let body = json!({
            "type": "PERMANENT",
            "metadata": {"local": metadata(number), "user_provided": {}, "tags": ["bench"]},
        });
        let mut refused = 0;
        loop {
            let mut connection = target.connect().await?;
            let (status, answer) = send(
                target,
                &mut connection,
                "/api/fleet/agents/enroll",
                &target.token,
                &body,
            )
            .await?;
            match status {
                StatusCode::OK => {
                    let text = |key: &str| answer.pointer(key).and_then(Value::as_str).map(str::to_owned);
                    let agent = Self {
                        id: text("/item/id").context("no id")?,
                        api_key: text("/item/access_api_key").context("no key")?,
                        connection: None,
                        ack_token: None,
                    };
                    return Ok((agent, refused));
                }
                StatusCode::TOO_MANY_REQUESTS => {
                    refused += 1;
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
                other => bail!("enrolment: {other} {answer}"),
            }
        }
    }

    /// One check-in, held until there is news; the ids of the actions that came.
    pub(super) async fn check_in(&mut self, target: &Target, number: usize) -> Result<Vec<String>> {
        let mut body = json!({"status": "online", "message": "Running", "local_metadata": metadata(number)});
        if let Some(token) = &self.ack_token {
            body["ack_token"] = json!(token);
        }
        let path = format!("/api/fleet/agents/{}/checkin", self.id);
        let (status, answer) = self.request(target, &path, &body).await?;
        ensure!(status == StatusCode::OK, "check-in: {status} {answer}");
        if let Some(token) = answer["ack_token"].as_str() {
            self.ack_token = Some(token.to_owned());
        }
        let actions = answer["actions"].as_array().cloned().unwrap_or_default();
        Ok(actions
            .iter()
            .filter_map(|action| action["id"].as_str().map(str::to_owned))
            .collect())
    }

    pub(super) async fn acknowledge(&mut self, target: &Target, actions: &[String]) -> Result<()> {
        let events: Vec<Value> = actions
            .iter()
            .map(|action| json!({"type": "ACTION_RESULT", "subtype": "ACKNOWLEDGED", "agent_id": self.id, "action_id": action, "message": "done"}))
            .collect();
        let path = format!("/api/fleet/agents/{}/acks", self.id);
        let (status, answer) = self.request(target, &path, &json!({"events": events})).await?;
        ensure!(status == StatusCode::OK, "ack: {status} {answer}");
        Ok(())
    }

    async fn request(&mut self, target: &Target, path: &str, body: &Value) -> Result<(StatusCode, Value)> {
        let mut connection = match self.connection.take().filter(|connection| !connection.is_closed()) {
            Some(connection) => connection,
            None => target.connect().await?,
        };
        let answer = send(target, &mut connection, path, &self.api_key, body).await?;
        self.connection = Some(connection);
        Ok(answer)
    }
}

async fn send(
    target: &Target,
    connection: &mut SendRequest<Full<Bytes>>,
    path: &str,
    key: &str,
    body: &Value,
) -> Result<(StatusCode, Value)> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header("host", format!("{}:{}", target.host, target.port))
        .header("authorization", format!("ApiKey {key}"))
        .header("content-type", "application/json")
        .header("user-agent", "Elastic Agent v9.6.0")
        .header("elastic-api-version", "2023-06-01")
        .header("kbn-xsrf", "1")
        .body(Full::new(Bytes::from(serde_json::to_vec(body)?)))?;
    connection.ready().await?;
    let answer = connection.send_request(request).await?;
    let status = answer.status();
    let bytes = answer.into_body().collect().await?.to_bytes();
    Ok((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
}

/// About as much as a real agent tells of its host.
fn metadata(number: usize) -> Value {
    json!({
        "elastic": {"agent": {"version": "9.6.0", "snapshot": false, "build.original": "9.6.0 (bench)", "upgradeable": true, "log_level": "info", "complete": false}},
        "host": {"hostname": format!("bench-{number}"), "name": format!("bench-{number}"), "architecture": "x86_64", "id": format!("{number:032x}"), "ip": ["127.0.0.1/8", "10.0.0.1/24"], "mac": ["02:00:00:00:00:01"]},
        "os": {"family": "debian", "full": "Debian GNU/Linux 13", "kernel": "6.12.0-amd64", "name": "Debian GNU/Linux", "platform": "debian", "version": "13"},
    })
}
