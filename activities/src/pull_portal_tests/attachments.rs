//! Attachments against a portal: the documents that it serves, and what is found of them.
//! `ends.rs` has what becomes of each, `again.rs` when one is asked for, `kept.rs` what
//! the store holds.

mod again;
mod ends;
mod kept;

use std::collections::BTreeMap;

use db::Attachment;
use futures::TryStreamExt;
use model::{AttachmentCounts, AttachmentState};
use sandbox::{Document, Knobs, ServedBytes};

use super::scene::{Pulled, Scene, resource};
use crate::verify::{Report, VerifyOptions, verify};

const PDF: &str = "application/pdf";

/// A Binary of these bytes.
fn binary(id: &str, content_type: &str, bytes: &[u8]) -> String {
    let data = data_encoding::BASE64.encode(bytes);
    format!(
        r#"{{"resourceType":"Binary","id":"{id}","contentType":"{content_type}","data":"{data}"}}"#
    )
}

/// A document of the patient's whose attachment has these members.
fn document(id: &str, attachment: &str) -> String {
    let content = format!(r#","content":[{{"attachment":{{{attachment}}}}}]"#);
    resource("DocumentReference", id, &content)
}

fn at(url: &str) -> String {
    format!(r#""contentType":"{PDF}","url":"{url}""#)
}

/// A Binary of a PDF and the document that names it.
fn pair(id: &str) -> [String; 2] {
    let bytes = format!("%PDF {id}");
    let place = at(&format!("Binary/{id}"));
    [binary(id, PDF, bytes.as_bytes()), document(id, &place)]
}

fn broken(of: &[(&str, Document)]) -> Knobs {
    let named = |(id, document): &(&str, Document)| ((*id).to_owned(), document.clone());
    Knobs {
        documents: of.iter().map(named).collect(),
        ..Knobs::default()
    }
}

fn status(status: u16, times: Option<u32>) -> Document {
    Document {
        status: Some(status),
        times,
        ..Document::default()
    }
}

impl Scene {
    /// The attachments by what the resources call them.
    async fn attachments(&self) -> BTreeMap<String, Attachment> {
        let found = self.db().open_attachments(self.connection).await.unwrap();
        found.into_iter().map(|of| (of.url, of.of)).collect()
    }

    async fn state_of(&self, id: &str) -> (AttachmentState, Option<String>) {
        let of = self.attachments().await.remove(&format!("Binary/{id}"));
        let of = of.unwrap();
        (of.state, of.code)
    }

    /// The bytes that are kept of one.
    async fn bytes(&self, of: &Attachment) -> Vec<u8> {
        let mut bytes = Vec::new();
        for piece in of.object.as_ref().unwrap().pieces() {
            bytes.extend_from_slice(&self.context.store.get(&piece).await.unwrap());
        }
        bytes
    }

    /// What lies in the store beside the pieces that rows name.
    async fn strays(&self) -> Vec<String> {
        let folder = format!("connections/{}/attachments", self.connection);
        let found: Vec<_> = self
            .context
            .store
            .list(&folder)
            .try_collect()
            .await
            .unwrap();
        let named = self.db().named_objects(self.connection).await.unwrap();
        let names = found.into_iter().map(|object| object.object);
        names.filter(|name| !named.contains(name)).collect()
    }

    /// The documents that were served since the log had `from` entries.
    fn served(&self, from: usize) -> Vec<ServedBytes> {
        let log = self.portal().log().split_off(from);
        log.into_iter().filter_map(|entry| entry.bytes).collect()
    }

    async fn verified(&self, bodies: bool) -> Report {
        let context = &self.context;
        let options = VerifyOptions { bodies };
        verify(&context.db, &context.store, &context.destinations, &options)
            .await
            .unwrap()
    }
}

fn counts(pulled: &Pulled) -> AttachmentCounts {
    let counts = pulled.pull.attachments.unwrap();
    assert!(counts.is_true(), "{counts:?}");
    counts
}

fn asked(pulled: &Pulled) -> usize {
    pulled.asked("Binary/")
}
