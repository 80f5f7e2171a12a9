//! What the tests of steps begin with.

use std::time::Duration;

use db::{BackOff, Db, MergeRule};
use records::Store;

use crate::{AttachmentLimits, Context, Limits, MaintainLimits};

/// A context that may ask this machine, whose upkeep does nothing.
pub(crate) fn context(db: &Db, store: &Store) -> Context {
    let maintain = MaintainLimits {
        merge: MergeRule {
            batches_min: 32,
            log_percent_max: 200,
        },
        superseded_age: Duration::MAX,
        orphan_age: Duration::MAX,
        retention: Duration::MAX,
    };
    let limits = Limits {
        page_count: 100,
        staging_size_target_bytes: 1 << 20,
        chunk_rows_target: 1000,
        part_size_target_bytes: 1 << 20,
        step_duration_max: Duration::from_secs(600),
        chunk_save_every: Duration::ZERO,
        back_off: BackOff::default(),
        source_slots: 8,
        full_pull_after: Duration::from_secs(7 * 86_400),
        pull_overlap: Duration::from_secs(600),
        attachments: AttachmentLimits {
            bytes_max: 20 << 20,
            types: model::MediaTypes::new(&["text/*", "application/pdf"]),
        },
        maintain,
    };
    let allow = guard::Allow::parse(&["127.0.0.1"]).unwrap();
    Context::new(db.clone(), store.clone(), guard::Guard::new(allow), limits)
}
