//! Which attachments the resources of a pull name by a URL.

use std::collections::BTreeMap;

use db::Declared;
use model::{ATTACHING_TYPES, AttachmentRef, ContentHash, attachments, media_type};
use records::{SegmentReader, frame_texts};
use source::{AttachmentPlace, attachment_place};
use steps::PullStep;
use url::Url;

use crate::failure::Failure;
use crate::{Context, pull_settle};

/// An attachment that is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// Where its URL leads.
    pub(crate) place: Place,
    /// The type of a resource that names it.
    pub(crate) resource_type: String,
    /// Whether a resource that names it is new, or not as it was settled last.
    pub(crate) is_changed: bool,
    pub(crate) declared: Declared,
}

/// Where a URL leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// To the source.
    Here,
    /// To another server.
    Elsewhere,
    /// Nowhere that could be asked.
    Nowhere,
}

/// A resource that names something.
struct Naming {
    resource_type: String,
    id: String,
    hash: ContentHash,
}

/// The attachments that what a pull staged names, by where they lie: below the source's
/// base relative to that, so that they stay the same ones where it moves.
pub(crate) async fn named(
    context: &Context,
    input: &PullStep,
    base: &Url,
) -> Result<BTreeMap<String, Named>, Failure> {
    let mut found: Vec<(String, Named, Naming)> = Vec::new();
    for object in context.db.staging(input.pull_id).await? {
        let reader = SegmentReader::open(&context.store, &object.object_key).await?;
        let footer = reader.footer();
        for (number, frame) in footer.frames().iter().enumerate() {
            let resource_type = footer.frame_type(frame);
            if !ATTACHING_TYPES.contains(&resource_type) {
                continue;
            }
            let text = reader.read_frame(number).await?;
            for (row, text) in frame_texts(footer, number, &text) {
                for of in attachments(resource_type, &text) {
                    let Some((url, named)) = read(&of, resource_type, base) else {
                        continue;
                    };
                    let row = footer.row(row);
                    let naming = Naming {
                        resource_type: resource_type.to_owned(),
                        id: row.id.to_owned(),
                        hash: row.content_hash,
                    };
                    found.push((url, named, naming));
                }
            }
        }
    }
    if found.is_empty() {
        return Ok(BTreeMap::new());
    }
    let index = pull_settle::log_index(context, input.connection_id).await?;
    let mut by_url: BTreeMap<String, Named> = BTreeMap::new();
    for (url, mut named, naming) in found {
        named.is_changed = !index.holds(&naming.resource_type, &naming.id, naming.hash);
        match by_url.get_mut(&url) {
            Some(other) => other.is_changed |= named.is_changed,
            None => drop(by_url.insert(url, named)),
        }
    }
    Ok(by_url)
}

/// An attachment and what it is known by; none where its URL has the bytes itself.
fn read(of: &AttachmentRef<'_>, resource_type: &str, base: &Url) -> Option<(String, Named)> {
    let (url, place) = match attachment_place(&of.url, base) {
        AttachmentPlace::Here(url) => (url, Place::Here),
        AttachmentPlace::Elsewhere => (of.url.trim().to_owned(), Place::Elsewhere),
        AttachmentPlace::Nowhere => (of.url.trim().to_owned(), Place::Nowhere),
        AttachmentPlace::Inline => return None,
    };
    // A hash of another form, or length, says nothing.
    let is_sha1 = |hash: &&str| {
        let decoded = data_encoding::BASE64.decode(hash.as_bytes());
        decoded.is_ok_and(|bytes| bytes.len() == 20)
    };
    let declared = Declared {
        media_type: of.content_type.as_deref().and_then(media_type),
        size_bytes: of.size_bytes,
        sha1: of.sha1.as_deref().filter(is_sha1).map(str::to_owned),
    };
    let named = Named {
        place,
        resource_type: resource_type.to_owned(),
        is_changed: true,
        declared,
    };
    Some((url, named))
}
