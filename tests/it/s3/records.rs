//! A record store in S3.

use anyhow::{Result, ensure};
use bytes::Bytes;
use chartlift_tests::{S3Server, skipped};
use futures::TryStreamExt;
use guard::{Allow, Guard};
use model::ObjectKey;
use records::Store;

use super::NO_STORE;

#[tokio::test(flavor = "multi_thread")]
async fn a_record_store_in_s3_keeps_what_it_was_given() -> Result<()> {
    let Some(s3) = S3Server::start(&["records"]).await? else {
        skipped(NO_STORE);
        return Ok(());
    };
    let guard = Guard::new(Allow::parse(&["127.0.0.1"])?);
    let store = Store::open_s3("s3://records/a/b", &s3.access(), &guard)?;
    store.probe().await?;
    let key = |token: &str| ObjectKey::Probe {
        token: token.to_owned(),
    };
    store
        .put_create(&key("one"), Bytes::from_static(b"1234567"))
        .await?;
    store
        .put_create(&key("one"), Bytes::from_static(b"1234567"))
        .await?;
    let other = store
        .put_create(&key("one"), Bytes::from_static(b"other"))
        .await;
    ensure!(
        matches!(other, Err(records::Error::AlreadyExists { .. })),
        "{other:?}"
    );
    let object = key("one").to_string();
    ensure!(store.get_range(&object, 2..4).await? == "34" && store.size_bytes(&object).await? == 7);
    let listed: Vec<_> = store.list("_chartlift").try_collect().await?;
    ensure!(
        listed.len() == 1 && listed[0].object == object,
        "{listed:?}"
    );
    ensure!(store.folders("_chartlift").await? == ["probe"]);
    store.delete(&object).await?;
    store.delete(&object).await?;
    let gone = store.get(&object).await;
    ensure!(
        matches!(gone, Err(records::Error::NotFound { .. })),
        "{gone:?}"
    );

    let missing = Store::open_s3("s3://nowhere", &s3.access(), &guard)?;
    for error in [
        missing.probe().await.err(),
        missing.get("x").await.err(),
        missing.list("x").try_collect::<Vec<_>>().await.err(),
        missing.folders("x").await.err(),
    ] {
        ensure!(
            matches!(error, Some(records::Error::BucketMissing)),
            "{error:?}"
        );
    }
    let wrong = objects::Access {
        secret_access_key: "another-key".to_owned(),
        ..s3.access()
    };
    let refused = Store::open_s3("s3://records", &wrong, &guard)?;
    for error in [
        refused.probe().await.err(),
        refused.list("x").try_collect::<Vec<_>>().await.err(),
    ] {
        ensure!(
            matches!(error, Some(records::Error::KeyRefused)),
            "{error:?}"
        );
    }
    let inside = Guard::new(Allow::default());
    let error = Store::open_s3("s3://records", &s3.access(), &inside)?
        .probe()
        .await
        .err();
    ensure!(
        matches!(error, Some(records::Error::AddressRefused(_))),
        "{error:?}"
    );
    Ok(())
}
