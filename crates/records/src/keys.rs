//! A hash table of (type, id) keys that does not own them: the caller keeps the
//! keys wherever they lie already (footers, an index) and says whether slot n is
//! the one looked for. A connection of 200,000 resources costs 6 MB this way.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

const NONE: u32 = u32::MAX;

/// Numbers the distinct keys 0, 1, 2 … in the order of their arrival.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyTable {
    heads: HashMap<u64, u32, BuildHasherDefault<AsItIs>>,
    next: Vec<u32>,
    // Random, so that no source can choose ids that collide; only lookups depend
    // on it, never an order.
    state: RandomState,
}

impl KeyTable {
    /// A table that grows no more up to `count` keys.
    pub(crate) fn with_capacity(count: usize) -> Self {
        let heads = HashMap::with_capacity_and_hasher(count, BuildHasherDefault::default());
        Self {
            heads,
            next: Vec::with_capacity(count),
            state: RandomState::new(),
        }
    }

    pub(crate) fn hash(&self, resource_type: &str, id: &str) -> u64 {
        self.state.hash_one((resource_type, id))
    }

    /// The slot of the key with this hash for which `is_key` holds.
    pub(crate) fn find(&self, hash: u64, is_key: impl Fn(u32) -> bool) -> Option<u32> {
        let mut slot = *self.heads.get(&hash)?;
        while !is_key(slot) {
            slot = self.next[slot as usize];
            if slot == NONE {
                return None;
            }
        }
        Some(slot)
    }

    /// Adds a key that is not there yet; its slot is the number of keys before.
    pub(crate) fn add(&mut self, hash: u64) -> u32 {
        let slot = u32::try_from(self.next.len()).unwrap_or(NONE);
        self.next
            .push(self.heads.insert(hash, slot).unwrap_or(NONE));
        slot
    }
}

/// The keys are hashes already.
#[derive(Debug, Clone, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}
