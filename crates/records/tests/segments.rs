//! Segments as files: plain zstd tools read them, and the store keeps its word.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use chartlift_records::{
    BatchRef, Error, Index, Merge, Numbers, Segment, SegmentReader, SegmentWriter, Settle,
    SpanReader, StagingWriter, Store, merge, settle,
};
use model::{
    BatchId, ConnectionId, ObjectKey, PullId, RawResource, Timestamp, content_hash, read_head,
};
use object_store::memory::InMemory;

fn resource(resource_type: &str, id: &str, padding: usize) -> RawResource {
    let text = format!(
        "{{\"resourceType\":\"{resource_type}\",\"id\":\"{id}\",\"p\":\"{}\"}}",
        "p".repeat(padding)
    );
    let head = read_head(text.as_bytes()).unwrap();
    RawResource {
        head,
        hash: content_hash(text.as_bytes()),
        text: text.into(),
    }
}

fn staging_key(connection: ConnectionId, number: u32) -> ObjectKey {
    ObjectKey::Staging {
        connection,
        pull: PullId::new(),
        step: "Patient".into(),
        token: "t".into(),
        number,
    }
}

#[tokio::test]
async fn zstd_tools_print_the_resources() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_local(&folder.path().join("new/store")).unwrap();
    let (connection, mut expected) = (ConnectionId::new(), Vec::new());
    let mut writer = StagingWriter::new(connection).unwrap();
    for number in 0..3000 {
        let resource = resource("Patient", &number.to_string(), number);
        expected.extend_from_slice(&resource.text);
        expected.push(b'\n');
        writer.push(&resource, Timestamp(0)).unwrap();
    }
    assert!(writer.ready());
    let key = staging_key(connection, 0);
    let staged = writer.close(&store, &key).await.unwrap();

    let bytes = store.get(&staged.key).await.unwrap();
    let mut printed = Vec::new();
    zstd::stream::read::Decoder::new(&bytes[..])
        .unwrap()
        .read_to_end(&mut printed)
        .unwrap();
    assert!(printed == expected);
    let path = folder.path().join("new/store").join(&staged.key);
    match std::process::Command::new("zstdcat").arg(path).output() {
        Ok(output) => assert!(output.status.success() && output.stdout == expected),
        Err(error) => eprintln!("skipped: zstdcat cannot be run: {error}"),
    }

    let reader = SegmentReader::open(&store, &staged.key).await.unwrap();
    assert!(reader.footer().frames().len() >= 4);
    assert_eq!(reader.rehash().await.unwrap(), 3000);
    assert_eq!(
        reader.text(2999).await.unwrap().unwrap(),
        resource("Patient", "2999", 2999).text
    );
}

#[tokio::test]
async fn writing_the_same_again_is_a_success_and_other_bytes_are_not() {
    let store = Store::new(Arc::new(InMemory::new()));
    let key = staging_key(ConnectionId::new(), 1);
    store.put_create(&key, vec![1, 2, 3]).await.unwrap();
    store.put_create(&key, vec![1, 2, 3]).await.unwrap();
    assert!(matches!(
        store.put_create(&key, vec![1, 2, 4]).await,
        Err(Error::AlreadyExists { .. })
    ));
    store.delete(&key.to_string()).await.unwrap();
    store.delete(&key.to_string()).await.unwrap();
    assert!(matches!(
        store.get(&key.to_string()).await,
        Err(Error::NotFound { .. })
    ));
    store.put(&key, Vec::new()).await.unwrap();
    let error = SegmentReader::open(&store, &key.to_string())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Corrupt { object, .. } if *object == key.to_string()),
        "{error}"
    );
}

#[test]
fn a_larger_resource_has_a_frame_alone() {
    let mut writer = SegmentWriter::new(None).unwrap();
    for (id, padding) in [("a", 10), ("b", 3 << 20), ("c", 10)] {
        writer
            .push(&resource("Binary", id, padding), Timestamp(0))
            .unwrap();
    }
    let (bytes, footer) = writer.finish().unwrap();
    assert_eq!(
        footer
            .frames()
            .iter()
            .map(|frame| frame.row_count)
            .collect::<Vec<_>>(),
        [1, 1, 1]
    );
    assert_eq!(
        footer.rows().map(|row| row.id).collect::<Vec<_>>(),
        ["a", "b", "c"]
    );
    Segment::parse("x", bytes).unwrap().rehash().unwrap();
}

#[test]
fn a_staging_object_is_ready_when_it_is_old() {
    let mut writer =
        StagingWriter::with_limits(ConnectionId::new(), u64::MAX, Duration::ZERO).unwrap();
    assert!(writer.is_empty() && !writer.ready());
    writer
        .push(&resource("Patient", "1", 0), Timestamp(0))
        .unwrap();
    assert!(writer.ready());
}

#[tokio::test]
async fn settle_gives_the_same_bytes_and_refuses_what_is_not_its_own() {
    let store = Store::new(Arc::new(InMemory::new()));
    let connection = ConnectionId::new();
    let mut writer = StagingWriter::new(connection).unwrap();
    for number in 0..200 {
        let name = ["Patient", "Observation"][number % 2];
        writer
            .push(
                &resource(name, &number.to_string(), number * 30),
                Timestamp(0),
            )
            .unwrap();
    }
    let staging = [writer
        .close(&store, &staging_key(connection, 0))
        .await
        .unwrap()
        .key];
    let input = |connection, index| Settle {
        connection,
        staging: &staging,
        index,
        log: None,
        numbers: Numbers {
            batch_seq: 1,
            settle_seq: 5,
        },
        batch: BatchId::new(),
    };
    let first = settle(&store, input(connection, None))
        .await
        .unwrap()
        .batch
        .unwrap();
    let second = settle(&store, input(connection, Some(Index::new())))
        .await
        .unwrap()
        .batch
        .unwrap();
    assert_ne!(first.key, second.key);
    assert_eq!(
        store.get(&first.key).await.unwrap(),
        store.get(&second.key).await.unwrap()
    );
    assert_eq!(
        store.get(&first.index_key).await.unwrap(),
        store.get(&second.index_key).await.unwrap()
    );

    let alien = settle(&store, input(ConnectionId::new(), None))
        .await
        .unwrap_err();
    assert!(matches!(alien, Error::Corrupt { .. }), "{alien}");
    let index = Index::load(&store, &first.index_key).await.unwrap();
    let again = settle(&store, input(connection, Some(index.clone())))
        .await
        .unwrap_err();
    assert!(matches!(again, Error::Invalid { .. }), "{again}");

    // An index that does not fit its batches is told apart from a lost batch.
    let empty = SegmentWriter::new(Some(connection))
        .unwrap()
        .finish()
        .unwrap()
        .0;
    let key = ObjectKey::Batch {
        connection,
        seq: 1,
        batch: BatchId::new(),
    };
    store.put_create(&key, empty).await.unwrap();
    let batches = [BatchRef {
        seq: 1,
        key: key.to_string(),
    }];
    let wrong = SpanReader::open(&store, &batches, 0, 1, Some(&index))
        .await
        .unwrap_err();
    assert_eq!(wrong.object(), Some(first.index_key.as_str()));
    let lost = SpanReader::open(&store, &[], 0, 1, Some(&index))
        .await
        .unwrap_err();
    assert!(matches!(lost, Error::NotFound { .. }), "{lost}");
}

/// Activities run on a multi-threaded runtime.
#[test]
fn futures_can_move_between_threads() {
    fn check<T: Send>(_: T) {}
    let store = Store::new(Arc::new(InMemory::new()));
    let span = async {
        let span = SpanReader::open(&store, &[], 0, 0, None).await.unwrap();
        span.rows_of("Patient").next_frame().await.unwrap()
    };
    check(span);
    check(merge(
        &store,
        Merge {
            connection: ConnectionId::new(),
            batches: &[],
            drop_tombstones_to: 0,
            batch: BatchId::new(),
        },
    ));
    check(Index::rebuild(&store, &[]));
    check(SegmentReader::open(&store, "x"));
    check(settle(
        &store,
        Settle {
            connection: ConnectionId::new(),
            staging: &[],
            index: None,
            log: None,
            numbers: Numbers {
                batch_seq: 1,
                settle_seq: 1,
            },
            batch: BatchId::new(),
        },
    ));
    check(async {
        StagingWriter::new(ConnectionId::new())?
            .close(&store, &staging_key(ConnectionId::new(), 0))
            .await
    });
}
