//! Serves the API over plain HTTP on loopback for a try with other programs: `serve_api FOLDER`; prints the address.
#![expect(clippy::print_stdout, reason = "an example talks to the person who runs it")]

use std::sync::Arc;

use access::{Access, Secret};
use elasticsearch_api::{ApiSettings, ElasticsearchApi};
use embedded::{EmbeddedOptions, EmbeddedStore};
use store::Store;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: serve FOLDER")?;
    let clock = clock::system();
    let store: Arc<dyn Store> = EmbeddedStore::open(EmbeddedOptions::new(folder, clock.clone()))?;
    let access = Access::open(Arc::clone(&store), clock.clone()).await?;
    access.set_password("elastic", Secret::from("changeme")).await?;
    let settings = ApiSettings {
        cluster_name: "flotilla".to_owned(),
        node_name: "try".to_owned(),
        cluster_uuid: "tryTryTryTryTryTryTryT".to_owned(),
        version: "9.2.0".to_owned(),
    };
    let router = ElasticsearchApi::new(settings, store, access, clock).router();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{} elastic changeme", listener.local_addr()?);
    axum::serve(listener, router).await?;
    Ok(())
}
