//! Our side of `api`: the server in this process, asked over HTTP.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use api::{App, CheckedBase, Checks, Reason};
use db::Db;
use futures::future::BoxFuture;
use records::Store;
use seal::KeyRing;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use super::{LISTS, Work};
use crate::api::plain::Ids;

/// Nothing is registered here.
struct Never;

impl Checks for Never {
    fn base_url<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<CheckedBase, Reason>> {
        Box::pin(async { Err(api::Reason::Unusable(String::new())) })
    }

    fn token_url<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<(), Reason>> {
        Box::pin(async { Err(api::Reason::Unusable(String::new())) })
    }

    fn destination<'a>(
        &'a self,
        _: &'a str,
        _: Option<&'a str>,
    ) -> BoxFuture<'a, Result<String, Reason>> {
        Box::pin(async { Err(api::Reason::Unusable(String::new())) })
    }
}

pub(crate) async fn run(work: &Work) -> Result<Value> {
    let keys = KeyRing::from_base64(&work.encryption_key)?;
    let db = Db::connect(&work.database, keys).await?;
    let folder = tempfile::tempdir().context("make a folder")?;
    let app = App::new(db, Store::open_local(folder.path())?, Arc::new(Never));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let server = tokio::spawn(api::serve(app, listener, std::future::pending()));
    let http = reqwest::Client::new();
    let (mut ids, mut page_us) = (Ids::default(), Map::new());
    for list in LISTS {
        let started = Instant::now();
        let mut cursor = String::new();
        for _ in 0..work.pages {
            let path = format!("{url}/v1/{}?limit=50{cursor}", list.name());
            let reply = http.get(path).bearer_auth(&work.api_key).send().await?;
            ensure!(reply.status() == 200, "{}", reply.status());
            let page: Value = serde_json::from_slice(&reply.bytes().await?)?;
            for row in page["data"].as_array().into_iter().flatten() {
                ids.add(row["id"].as_str().unwrap_or_default());
            }
            let next = page["next_cursor"].as_str();
            cursor = next.map_or(String::new(), |next| format!("&cursor={next}"));
        }
        let page = started.elapsed() / u32::try_from(work.pages)?;
        page_us.insert(list.name().to_owned(), json!(page.as_secs_f64() * 1e6));
    }
    server.abort();
    Ok(json!({ "ids": ids.digest(), "page_us": page_us }))
}
