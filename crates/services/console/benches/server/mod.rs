//! A console over an embedded store, with somebody who is logged in.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use access::{Access, NewUser, Secret};
use axum::Router;
use axum::body::Body;
use camino::{Utf8Path, Utf8PathBuf};
use embedded::{EmbeddedOptions, EmbeddedStore};
use fleet_console::{Console, ConsoleSettings};
use http::Request;
use http_body_util::BodyExt;
use store::Store;
use tower::ServiceExt;

pub(crate) const PASSWORD: &str = "correct horse battery";
/// Of which the median is told.
pub(crate) const ROUNDS: usize = 15;

pub(crate) struct Server {
    router: Router,
    pub(crate) store: Arc<dyn Store>,
    cookie: String,
    _folder: tempfile::TempDir,
}

impl Server {
    /// In that folder, else in one that goes with it.
    pub(crate) async fn start(kept: Option<&Utf8Path>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = Utf8PathBuf::from_path_buf(folder.path().join("store")).expect("the path is UTF-8");
        let path = kept.map_or(path, Utf8Path::to_owned);
        let store: Arc<dyn Store> = EmbeddedStore::open(EmbeddedOptions::new(path, clock::system())).expect("it opens");
        let access = Access::open(Arc::clone(&store), clock::system())
            .await
            .expect("it opens");
        let password = Secret::from(PASSWORD);
        access.set_password("elastic", password).await.expect("it is set");
        access.put_user("other", NewUser::default()).await.expect("it is made");
        let console = Console::new(ConsoleSettings::default(), Arc::clone(&store), access, clock::system());
        console.setup().await.expect("it is set up");
        let mut server = Self {
            router: console.router(),
            store,
            cookie: String::new(),
            _folder: folder,
        };
        server.log_in().await;
        server
    }

    async fn log_in(&mut self) {
        let form = format!("username=elastic&password={}&next=%2F", PASSWORD.replace(' ', "+"));
        let request = Request::post("/login").header("content-type", "application/x-www-form-urlencoded");
        let answer = self
            .router
            .clone()
            .oneshot(request.body(Body::from(form)).expect("a request"));
        let answer = answer.await.expect("an answer");
        let cookie = answer.headers()["set-cookie"].to_str().expect("a cookie is text");
        cookie
            .split(';')
            .next()
            .unwrap_or_default()
            .clone_into(&mut self.cookie);
    }

    pub(crate) async fn bytes(&self, request: Request<Body>) -> Vec<u8> {
        let path = request.uri().to_string();
        let answer = self.router.clone().oneshot(request).await.expect("an answer");
        let status = answer.status();
        let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
        assert!(
            status.is_success(),
            "{path}: {status} {}",
            String::from_utf8_lossy(&bytes)
        );
        bytes.to_vec()
    }

    pub(crate) async fn timed_page(&self, what: &str, path: &str) {
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let request = Request::get(path).header("cookie", &self.cookie);
            let start = Instant::now();
            self.bytes(request.body(Body::empty()).expect("a request")).await;
            times.push(start.elapsed().as_secs_f64() * 1000.0);
        }
        say(what, times);
    }
}

/// The median, and the worst.
pub(crate) fn say(what: &str, mut times: Vec<f64>) {
    times.sort_by(f64::total_cmp);
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    writeln!(std::io::stdout(), "{what}: {median:.1} ms, at most {worst:.1} ms").expect("the terminal takes a line");
}
