//! Requests over HTTP/2 whose handlers answer before they have come whole.

use std::future::poll_fn;
use std::task::Poll;

use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use h2::SendStream;
use h2::client::{SendRequest, handshake};
use http::{Request, StatusCode};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use transport::ServeOptions;

use crate::support::Server;

/// HTTP/2 without TLS: nothing but frames.
async fn connect(server: &Server) -> (SendRequest<Bytes>, h2::PingPong, JoinHandle<()>) {
    let socket = TcpStream::connect(server.address).await.unwrap();
    let (client, mut connection) = handshake(socket).await.unwrap();
    let ping = connection.ping_pong().unwrap();
    let driver = tokio::spawn(async move { connection.await.unwrap() });
    (client, ping, driver)
}

/// The answer has come, and the request goes on.
async fn answered_early(client: &SendRequest<Bytes>) -> SendStream<Bytes> {
    let mut client = client.clone().ready().await.unwrap();
    let request = Request::post("http://fleet.test/").body(()).unwrap();
    let (answer, request) = client.send_request(request, false).unwrap();
    assert_eq!(answer.await.unwrap().status(), StatusCode::UNAUTHORIZED);
    request
}

async fn is_reset(request: &mut SendStream<Bytes>) -> bool {
    poll_fn(|context| Poll::Ready(request.poll_reset(context).is_ready())).await
}

fn early() -> Server {
    let router = Router::new().route("/", post(|| async { StatusCode::UNAUTHORIZED }));
    Server::start_with(None, ServeOptions::default(), router)
}

#[tokio::test]
async fn what_still_comes_is_taken_and_the_stream_is_not_reset() {
    let server = early();
    let (client, mut ping, driver) = connect(&server).await;
    let mut request = answered_early(&client).await;
    // Whatever the server said of the stream comes before its answer to this.
    ping.ping(h2::Ping::opaque()).await.unwrap();
    assert!(!is_reset(&mut request).await, "reset while the request was on its way");
    request.send_data(Bytes::from_static(b"{}"), true).unwrap();
    ping.ping(h2::Ping::opaque()).await.unwrap();
    assert!(!is_reset(&mut request).await, "reset although the request was whole");
    driver.abort();
}

#[tokio::test]
async fn who_never_ends_is_cut_off() {
    let server = early();
    let (client, _ping, driver) = connect(&server).await;
    let mut request = answered_early(&client).await;
    let reason = poll_fn(|context| request.poll_reset(context)).await.unwrap();
    assert_eq!(reason, h2::Reason::NO_ERROR);
    driver.abort();
}
