//! How far a chunk has come: its finished parts, and the rows that they hold.

use std::hash::Hasher;

use db::ChunkSpan;
use model::Part;
use records::SpanReader;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3Default;

/// The saved position of a chunk.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Which batches were read: of others, a position says nothing.
    layout: u64,
    /// The parts finished so far.
    pub(crate) parts: Vec<Part>,
    /// The type at hand; those before it in the order of names are done.
    pub(crate) resource_type: String,
    /// Its parts so far: of resources, of deletions.
    pub(crate) counts: [u32; 2],
    /// The span at hand.
    span: usize,
    /// Rows of the type and span that are in finished parts or open writers.
    pub(crate) row: u64,
}

impl Position {
    /// The position an earlier attempt saved, if it read the same batches: a log
    /// that was merged since has its rows in another order.
    pub(crate) fn resume(saved: Option<&[u8]>, layout: u64) -> Self {
        let start = || Self {
            layout,
            ..Self::default()
        };
        saved
            .and_then(|bytes| serde_json::from_slice::<Self>(bytes).ok())
            .filter(|position| position.layout == layout)
            .unwrap_or_else(start)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a position serialises")
    }

    /// Goes to the beginning of a type, unless it is the one at hand.
    pub(crate) fn enter(&mut self, resource_type: &str) {
        if self.resource_type != resource_type {
            resource_type.clone_into(&mut self.resource_type);
            self.counts = [0; 2];
            self.span = 0;
            self.row = 0;
        }
    }

    pub(crate) fn span_of<'a>(
        &self,
        spans: &'a [ChunkSpan],
        readers: &'a [SpanReader],
    ) -> Option<(&'a ChunkSpan, &'a SpanReader)> {
        spans.get(self.span).zip(readers.get(self.span))
    }

    pub(crate) fn next_span(&mut self) {
        self.span += 1;
        self.row = 0;
    }
}

/// Tells one reading of a chunk from another: the batches read, in their order.
pub(crate) fn layout(readers: &[SpanReader]) -> u64 {
    let mut hash = Xxh3Default::new();
    for reader in readers {
        hash.write_u64(reader.planned());
        for object in reader.objects() {
            hash.write(object.as_bytes());
            hash.write_u8(0);
        }
    }
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_counts_only_for_the_batches_it_was_saved_with() {
        let mut position = Position::resume(None, 7);
        position.enter("Observation");
        position.row = 12;
        let saved = position.encode();
        assert_eq!(Position::resume(Some(&saved), 7).row, 12);
        assert_eq!(Position::resume(Some(&saved), 8).row, 0);
        assert_eq!(Position::resume(Some(b"{"), 7).row, 0);
        position.enter("Observation");
        assert_eq!(position.row, 12);
        position.enter("Patient");
        assert_eq!(position.row, 0);
    }
}
