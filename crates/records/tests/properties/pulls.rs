//! Random pulls: numbers, and the resources that they stand for.

use model::{RawResource, ResourceKey, content_hash, read_head};

const TYPES: [&str; 4] = ["Observation", "Patient", "Condition", "Location"];

/// (type, id, content, version): one served resource.
pub(crate) type Served = (u8, u8, u8, u8);
/// (type, id, whether the source said so): evidence of one deletion. With a type of
/// 128 and above, it is of content that has been replaced since.
pub(crate) type Gone = (u8, u8, bool);
/// The staging objects of a pull, what it deletes, and a seed for the spans read.
pub(crate) type Pull = (Vec<Vec<Served>>, Vec<Gone>, u8);

pub(crate) fn resource((kind, id, content, version): Served) -> RawResource {
    let (name, id) = (TYPES[usize::from(kind % 4)], id % 12);
    // Mostly small, some larger than a copied frame must be, a few larger than a frame:
    // those have high numbers, since zero is what failing inputs shrink towards.
    let padding = match content {
        255 => 1_200_000,
        200..255 => 20_000,
        other => usize::from(other),
    };
    let updated = match version % 5 {
        0 => String::new(),
        1 => "\"lastUpdated\":\"2024-01\",".to_owned(),
        other => format!("\"lastUpdated\":\"2024-01-0{other}T00:00:00+0{other}:00\","),
    };
    let text = format!(
        "{{\"resourceType\":\"{name}\",\"id\":\"ü{id}\",\"meta\":{{{updated}\"versionId\":\"{version}\"}},\"v\":{content},\"p\":\"{}\"}}",
        "x".repeat(padding)
    );
    let head = read_head(text.as_bytes()).unwrap();
    RawResource {
        head,
        hash: content_hash(text.as_bytes()),
        text: text.into(),
    }
}

pub(crate) fn key_of(kind: u8, id: u8) -> ResourceKey {
    ResourceKey {
        resource_type: TYPES[usize::from(kind % 4)].to_owned(),
        id: format!("ü{}", id % 12),
    }
}
