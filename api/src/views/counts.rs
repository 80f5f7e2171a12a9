//! Counts on the wire.

use model::{AttachmentCounts, ExportCounts, PullCounts};
use serde::Serialize;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{RefOr, Schema};

/// `model::PullCounts`: fetched = new + changed + unchanged + repeated +
/// superseded + ignored + rejected; deleted apart.
pub(super) fn pull() -> RefOr<Schema> {
    schema(&PullCounts::default())
}

/// `model::AttachmentCounts`, or null.
pub(super) fn attachments() -> RefOr<Schema> {
    OneOfBuilder::new()
        .item(schema(&AttachmentCounts::default()))
        .item(ObjectBuilder::new().schema_type(Type::Null))
        .description(Some(
            "What became of the documents that its resources name by a URL: found = fetched + unchanged + failed + \
             refused + gone + too_large + type_not_allowed + elsewhere. Null where they were not looked for, and until \
             it settles.",
        ))
        .into()
}

/// `model::ExportCounts`.
pub(super) fn export() -> RefOr<Schema> {
    schema(&ExportCounts::default())
}

fn schema(counts: &impl Serialize) -> RefOr<Schema> {
    let counts = serde_json::to_value(counts).expect("counts are numbers");
    let names = counts
        .as_object()
        .into_iter()
        .flat_map(|counts| counts.keys());
    names
        .fold(ObjectBuilder::new(), |object, name| {
            let number = ObjectBuilder::new()
                .schema_type(Type::Integer)
                .minimum(Some(0));
            object.property(name, number).required(name)
        })
        .into()
}
