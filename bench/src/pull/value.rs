//! The rival of `pull`: the client one writes first. Same HTTP, same staging, but
//! a page becomes a tree and each resource is written again.

use anyhow::{Context, Result};
use bytes::Bytes;
use model::{Head, RawResource, content_hash};
use serde_json::Value;

pub(super) struct Client {
    http: reqwest::Client,
}

impl Client {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            http: reqwest::Client::builder()
                .no_proxy()
                .build()
                .context("make a client")?,
        })
    }

    /// The body of a page.
    pub(super) async fn body(&self, url: &str) -> Result<Bytes> {
        let answer = self.http.get(url).send().await?.error_for_status()?;
        Ok(answer.bytes().await?)
    }

    /// The resources of a page, the next link and the size.
    pub(super) async fn page(&self, url: &str) -> Result<(Vec<RawResource>, Option<String>, u64)> {
        let body = self.body(url).await?;
        let (resources, next) = split(&body)?;
        Ok((resources, next, body.len() as u64))
    }
}

/// The resources of a page and the next link.
pub(super) fn split(body: &[u8]) -> Result<(Vec<RawResource>, Option<String>)> {
    let page: Value = serde_json::from_slice(body)?;
    if page["resourceType"] != "Bundle" {
        return Ok((resource(&page).into_iter().collect(), None));
    }
    let links = page["link"].as_array().into_iter().flatten();
    let next = links
        .clone()
        .find(|link| link["relation"] == "next")
        .and_then(|link| text(&link["url"]));
    let entries = page["entry"].as_array().into_iter().flatten();
    let resources = entries.filter_map(|entry| resource(&entry["resource"]));
    Ok((resources.collect(), next))
}

fn resource(value: &Value) -> Option<RawResource> {
    let head = Head {
        resource_type: text(&value["resourceType"]).filter(|name| name != "OperationOutcome")?,
        id: text(&value["id"])?,
        version_id: text(&value["meta"]["versionId"]),
        last_updated: text(&value["meta"]["lastUpdated"]),
    };
    let text = serde_json::to_vec(value).ok()?;
    Some(RawResource {
        head,
        hash: content_hash(&text),
        text: text.into(),
    })
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}
