//! Counts on the wire.

use model::{ExportCounts, PullCounts};
use serde::Serialize;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};

/// `model::PullCounts`: fetched = new + changed + unchanged + repeated +
/// superseded + ignored + rejected; deleted apart.
pub(super) fn pull() -> RefOr<Schema> {
    schema(&PullCounts::default())
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
