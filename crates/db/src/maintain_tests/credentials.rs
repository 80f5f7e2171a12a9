//! The key to a destination is sealed.

use model::{DestinationId, FileFormat};

use super::Base;
use crate::testing::TestDb;
use crate::{DestinationChange, Error, NewDestination};

crate::on_both!(the_key_to_a_destination_is_stored_sealed_and_can_be_replaced);

fn key(text: &str) -> DestinationChange<'_> {
    DestinationChange {
        credentials: Some(text),
        ..DestinationChange::default()
    }
}

async fn the_key_to_a_destination_is_stored_sealed_and_can_be_replaced(database: TestDb) {
    let base = Base::new(database).await;
    let db = &base.db;
    assert_eq!(
        db.destination_credentials(base.destination).await.unwrap(),
        None
    );
    let new = NewDestination {
        id: DestinationId::new(),
        name: "there".to_owned(),
        location: "s3://bucket".to_owned(),
        format: FileFormat::Parquet,
        credentials: Some("hush".to_owned()),
        awaits_test: false,
    };
    db.add_destination(&new).await.unwrap();
    for text in ["hush", "later"] {
        let opened = db.destination_credentials(new.id).await.unwrap();
        assert_eq!(opened.as_deref(), Some(text));
        let sealed: String =
            sqlx::query_scalar("SELECT credentials_sealed FROM destinations WHERE id = $1")
                .bind(new.id.to_string())
                .fetch_one(&db.reader)
                .await
                .unwrap();
        assert!(!sealed.contains(text));
        db.change_destination(new.id, key("later")).await.unwrap();
    }
    // Copied into another row it does not open.
    base.run(
        "UPDATE destinations SET credentials_sealed = (SELECT credentials_sealed FROM destinations \
         WHERE name = 'there') WHERE id = '{dst}'",
    )
    .await;
    let error = db.destination_credentials(base.destination).await;
    assert!(matches!(error, Err(Error::Sealed(_))), "{error:?}");
    let unknown = db.change_destination(DestinationId::new(), key("x"));
    assert!(matches!(unknown.await, Err(Error::NotFound { .. })));
}
