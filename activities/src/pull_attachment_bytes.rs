//! The bytes of an attachment on their way into the record store: hashed as they come
//! in, and written piece by piece, so that memory is that of one piece.
//!
//! A piece is an object of its own, written create-only like all others: a multipart
//! upload has no such mode, and what is left of one that was cut off is in no listing.

use aws_lc_rs::digest::{Context as Hash, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use bytes::{Bytes, BytesMut};
use data_encoding::{BASE64, HEXLOWER};
use model::{AttachmentId, ConnectionId, ObjectKey};
use records::Store;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::failpoint;
use crate::failure::Failure;

/// The size of a piece, but for the last one: 4 MiB, as of a staging object.
pub(crate) const PIECE_BYTES: usize = 4 << 20;
/// So much of an attachment is held without asking for room.
const SMALL_BYTES: usize = 1 << 20;

/// An attachment that is being written.
pub(crate) struct Pieces<'a> {
    store: &'a Store,
    connection: ConnectionId,
    attachment: AttachmentId,
    /// Of this one download: no other writes under these names.
    token: String,
    /// Of a step's attachments one at a time may be large.
    room: &'a Semaphore,
    taken: Option<SemaphorePermit<'a>>,
    buffer: BytesMut,
    count: u32,
    size_bytes: u64,
    sha256: Hash,
    sha1: Hash,
}

/// An attachment that is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    /// The names of its pieces, without their numbers.
    pub(crate) object_key: String,
    pub(crate) piece_count: u64,
    pub(crate) size_bytes: u64,
    /// In hexadecimal.
    pub(crate) sha256: String,
}

/// The hashes of what came in.
pub(crate) struct Hashes {
    pub(crate) size_bytes: u64,
    /// In hexadecimal.
    pub(crate) sha256: String,
    /// In base64, as FHIR has it.
    pub(crate) sha1: String,
}

impl<'a> Pieces<'a> {
    pub(crate) fn new(
        store: &'a Store,
        connection: ConnectionId,
        attachment: AttachmentId,
        room: &'a Semaphore,
    ) -> Self {
        Self {
            store,
            connection,
            attachment,
            token: model::EventId::new().to_string().split_off(4),
            room,
            taken: None,
            buffer: BytesMut::new(),
            count: 0,
            size_bytes: 0,
            sha256: Hash::new(&SHA256),
            sha1: Hash::new(&SHA1_FOR_LEGACY_USE_ONLY),
        }
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Takes further bytes.
    pub(crate) async fn push(&mut self, mut chunk: Bytes) -> Result<(), Failure> {
        self.sha256.update(&chunk);
        self.sha1.update(&chunk);
        self.size_bytes += chunk.len() as u64;
        while !chunk.is_empty() {
            if self.taken.is_none() && self.buffer.len() + chunk.len() > SMALL_BYTES {
                let room = self.room.acquire().await;
                self.taken = Some(room.map_err(|error| Failure::last("internal", error))?);
                self.buffer.reserve(PIECE_BYTES - self.buffer.len());
            }
            let free = PIECE_BYTES - self.buffer.len();
            let part = chunk.split_to(free.min(chunk.len()));
            self.buffer.extend_from_slice(&part);
            if self.buffer.len() == PIECE_BYTES {
                self.write().await?;
            }
        }
        Ok(())
    }

    /// What came in, all of it.
    pub(crate) fn hashes(&self) -> Hashes {
        let (sha256, sha1) = (self.sha256.clone().finish(), self.sha1.clone().finish());
        Hashes {
            size_bytes: self.size_bytes,
            sha256: HEXLOWER.encode(sha256.as_ref()),
            sha1: BASE64.encode(sha1.as_ref()),
        }
    }

    /// Writes the rest.
    pub(crate) async fn finish(mut self) -> Result<Written, Failure> {
        // One that is empty has a piece too.
        if !self.buffer.is_empty() || self.count == 0 {
            self.write().await?;
        }
        Ok(Written {
            sha256: self.hashes().sha256,
            object_key: self.object_key(),
            piece_count: u64::from(self.count),
            size_bytes: self.size_bytes,
        })
    }

    /// Removes what was written. What cannot be is swept later.
    pub(crate) async fn discard(self) {
        for piece in model::piece_keys(&self.object_key(), u64::from(self.count)) {
            if let Err(error) = self.store.delete(&piece).await {
                tracing::warn!("a piece of an attachment is left to the sweep: {error}");
            }
        }
    }

    async fn write(&mut self) -> Result<(), Failure> {
        let key = self.key(self.count);
        let piece = self.buffer.split().freeze();
        failpoint::pass("attachment_write.before").await?;
        self.store.put_create(&key, piece).await?;
        failpoint::pass("attachment_write.after").await?;
        self.count += 1;
        Ok(())
    }

    fn key(&self, piece: u32) -> ObjectKey {
        ObjectKey::Attachment {
            connection: self.connection,
            attachment: self.attachment,
            token: self.token.clone(),
            piece,
        }
    }

    fn object_key(&self) -> String {
        let first = self.key(0).to_string();
        first
            .rsplit_once('.')
            .map_or(first.clone(), |(name, _)| name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn written(store: &Store, length: usize, step: usize) -> (Vec<u8>, Written) {
        let bytes: Vec<u8> = (0..length).map(|at| (at * 31 % 251) as u8).collect();
        let room = Semaphore::new(1);
        let mut pieces = Pieces::new(store, ConnectionId::new(), AttachmentId::new(), &room);
        for part in bytes.chunks(step) {
            pieces.push(Bytes::copy_from_slice(part)).await.unwrap();
        }
        let written = pieces.finish().await.unwrap();
        (bytes, written)
    }

    #[tokio::test]
    async fn pieces_are_the_whole_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_local(folder.path()).unwrap();
        for (length, step, count) in [
            (0, 1, 1),
            (5, 2, 1),
            (SMALL_BYTES + 1, SMALL_BYTES, 1),
            (PIECE_BYTES, 65_536, 1),
            (2 * PIECE_BYTES + 7, 3 * PIECE_BYTES, 3),
        ] {
            let (bytes, written) = written(&store, length, step).await;
            assert_eq!(
                (written.piece_count, written.size_bytes),
                (count, length as u64)
            );
            let mut whole = Vec::new();
            for piece in model::piece_keys(&written.object_key, written.piece_count) {
                whole.extend_from_slice(&store.get(&piece).await.unwrap());
            }
            assert!(whole == bytes);
        }
        let (_, empty) = written(&store, 0, 1).await;
        assert_eq!(
            empty.sha256,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[tokio::test]
    async fn what_is_discarded_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_local(folder.path()).unwrap();
        let room = Semaphore::new(1);
        let connection = ConnectionId::new();
        let mut pieces = Pieces::new(&store, connection, AttachmentId::new(), &room);
        let much = Bytes::from(vec![7; 2 * PIECE_BYTES + 1]);
        pieces.push(much).await.unwrap();
        assert_eq!(pieces.count, 2);
        assert_eq!(pieces.hashes().size_bytes, 2 * PIECE_BYTES as u64 + 1);
        pieces.discard().await;
        let left = store.list(&format!("connections/{connection}"));
        assert_eq!(futures::StreamExt::count(left).await, 0);
        assert_eq!(room.available_permits(), 1);
    }
}
