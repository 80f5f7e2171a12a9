//! Sealing anew with another key, on both databases.

use model::{FileFormat, KeyId, SigningAlgorithm};
use seal::KeyRing;
use sqlx::Row;

use crate::testing::TestDb;
use crate::{
    Attachment, Call, Db, Declared, Idempotency, NewConnection, NewDestination, NewSigningKey,
    NewSource, NewToken, OpenAttachment, OpenLogin, Resealed, RunKind, SourceAuth, SourceLogin,
    StepClaim, StepRef,
};

crate::on_both!(
    every_value_is_sealed_anew_while_others_write,
    a_pass_that_is_stopped_is_gone_on_with,
);

const OLD: &str = "b2xkIG9sZCBvbGQgb2xkIG9sZCBvbGQgb2xkIG9sZCE=";
const NEW: &str = "bmV3IG5ldyBuZXcgbmV3IG5ldyBuZXcgbmV3IG5ldyE=";

async fn open(url: &str, first: &str, other: Option<&str>) -> Db {
    let ring = KeyRing::from_base64(first).unwrap();
    let ring = match other {
        Some(other) => ring.and_opens(other).unwrap(),
        None => ring,
    };
    Db::connect(url, ring).await.unwrap()
}

/// A value in every sealed column; returns the connection.
async fn fill(db: &Db, name: &str) -> model::ConnectionId {
    let source = NewSource {
        auth: SourceAuth::Smart,
        ..NewSource::new(
            name,
            &format!("https://ehr.example/{name}"),
            &format!("ehr.example/{name}"),
        )
    };
    let login = OpenLogin {
        login: SourceLogin {
            client_id: "app".to_owned(),
            token_url: None,
            scope: None,
            method: model::ClientMethod::Basic,
            algorithm: None,
        },
        secret: Some("a secret".to_owned()),
    };
    let source_id = db.add_source_with_login(&source, &login).await.unwrap();
    let day = std::time::Duration::from_secs(86_400);
    db.remember_source_plan(source_id, "CarePlan", b"a plan", day)
        .await
        .unwrap();
    let new = NewConnection {
        patient_id: db.ensure_patient(name).await.unwrap(),
        source_id,
        source_patient_id: "there".to_owned(),
        token: Some("a bearer token".to_owned()),
    };
    let grant = NewToken {
        access: Some("an access token".to_owned()),
        refresh: Some("a refresh token".to_owned()),
        ..NewToken::default()
    };
    let connection = db.add_connection_with_grant(&new, &grant).await.unwrap();
    let key = NewSigningKey {
        kid: format!("kid-{name}"),
        algorithm: SigningAlgorithm::Es384,
        public_jwk: "{}".to_owned(),
        pkcs8: b"a key".to_vec(),
    };
    db.rotate_signing_keys(&[key], None).await.unwrap();
    let destination = NewDestination {
        id: model::DestinationId::new(),
        name: name.to_owned(),
        location: format!("s3://bucket/{name}"),
        format: FileFormat::Ndjson,
        credentials: Some("{}".to_owned()),
        awaits_test: false,
    };
    db.add_destination(&destination).await.unwrap();
    db.request_pull(connection, model::Trigger::Manual)
        .await
        .unwrap();
    let pull = db.claim_pull(connection, name).await.unwrap().unwrap();
    let step = StepRef {
        kind: RunKind::Pull,
        run_id: pull.to_string(),
        name: "pages-0".to_owned(),
    };
    let claim: StepClaim<()> = db.claim_step(&step).await.unwrap();
    let StepClaim::Mine { token, .. } = claim else {
        panic!("the step is new");
    };
    assert_eq!(db.step_progress(&step).await.unwrap(), None);
    db.save_pull_step::<()>(&step, &token, b"a cursor", &[], None)
        .await
        .unwrap();
    let saved = db.step_progress(&step).await.unwrap();
    assert_eq!(saved.as_deref(), Some(b"a cursor".as_slice()));
    let attachment = attachment(connection, pull);
    db.save_attachments::<()>(&step, &token, b"a cursor", &[attachment], None)
        .await
        .unwrap();
    let call = Call {
        key: KeyId::new(),
        action: "key.add",
        idempotency: Some(Idempotency {
            key: format!("idempotency-{name}"),
            fingerprint: "x".to_owned(),
        }),
    };
    let key = crate::NewApiKey {
        name: name.to_owned(),
        scopes: vec![model::Scope::Read],
        expires_at: None,
    };
    db.on_behalf_of(call).add_api_key(&key).await.unwrap();
    connection
}

fn attachment(connection_id: model::ConnectionId, pull_id: model::PullId) -> OpenAttachment {
    let now = model::Timestamp::now();
    OpenAttachment {
        of: Attachment {
            id: model::AttachmentId::new(),
            connection_id,
            resource_type: "Media".to_owned(),
            state: model::AttachmentState::Refused,
            code: None,
            attempts: 0,
            not_before: None,
            declared: Declared::default(),
            content_type: None,
            told_size_bytes: None,
            object: None,
            pull_id,
            created_at: now,
            updated_at: now,
        },
        url: "Binary/1".to_owned(),
        etag: Some("3".to_owned()),
    }
}

/// Answers are kept in place of secrets: a row of each.
async fn answer(db: &Db, name: &str) {
    db.keep_answer(&format!("idempotency-{name}"), b"an answer")
        .await
        .unwrap();
}

async fn every_value_is_sealed_anew_while_others_write(database: TestDb) {
    let before = open(&database.url, OLD, Some(NEW)).await;
    let connection = fill(&before, "one").await;
    fill(&before, "two").await;
    answer(&before, "two").await;

    // Each sealed column of the schema has a value, so that none is forgotten.
    let columns = sealed_columns(&before).await;
    assert!(columns.len() >= 10, "{columns:?}");
    for (table, column) in &columns {
        let text = format!("SELECT COUNT(*) FROM {table} WHERE {column} IS NOT NULL");
        let row = sqlx::query(sqlx::AssertSqlSafe(text))
            .fetch_one(&before.reader)
            .await
            .unwrap();
        assert!(row.get::<i64, _>(0) > 0, "{table}.{column} is empty");
    }

    let after = open(&database.url, NEW, Some(OLD)).await;
    let otherwise = after.sealed_otherwise().await.unwrap();
    assert!(otherwise >= 21, "{otherwise}");
    // Those with the rings of before and after go on while it works.
    let writing = async {
        for number in 0..20_u32 {
            let db = if number.is_multiple_of(2) {
                &before
            } else {
                &after
            };
            let version = db
                .token(&connection.to_string())
                .await
                .unwrap()
                .unwrap()
                .version;
            let term = std::time::Duration::from_secs(5);
            let lease = db.lease_token(&connection.to_string(), version, term).await;
            let token = NewToken {
                access: Some(format!("access {number}")),
                refresh: Some(format!("refresh {number}")),
                ..NewToken::default()
            };
            assert!(
                db.store_token(&lease.unwrap().unwrap(), &token)
                    .await
                    .unwrap()
            );
        }
    };
    let (done, ()) = tokio::join!(after.reseal(), writing);
    assert_eq!(done.unwrap().unreadable, 0);
    // What was written meanwhile with the old key is found by another pass.
    after.reseal().await.unwrap();
    assert_eq!(after.sealed_otherwise().await.unwrap(), 0);
    assert_eq!(after.reseal().await.unwrap(), Resealed::default());

    // The new key alone opens everything.
    let alone = open(&database.url, NEW, None).await;
    let token = alone.token(&connection.to_string()).await.unwrap().unwrap();
    assert_eq!(token.refresh.as_deref(), Some("refresh 19"));
    let found = alone.connection(connection).await.unwrap();
    assert_eq!(found.source_patient_id, "there");
    assert_eq!(found.token.as_deref(), Some("a bearer token"));
    let attachments = alone.open_attachments(connection).await.unwrap();
    assert_eq!(attachments[0].url, "Binary/1");
    assert_eq!(attachments[0].etag.as_deref(), Some("3"));
    let plans = alone.source_plans(found.summary.source_id).await.unwrap();
    assert_eq!(plans["CarePlan"], b"a plan");
    let login = alone.source_login(found.summary.source_id).await.unwrap();
    assert_eq!(login.unwrap().secret.as_deref(), Some("a secret"));
    assert_eq!(alone.signing_keys().await.unwrap()[0].pkcs8, b"a key");
    let said = alone.answered("idempotency-two").await.unwrap().unwrap();
    assert_eq!(said.answer.as_deref(), Some(&b"an answer"[..]));
    let said = alone.answered("idempotency-one").await.unwrap().unwrap();
    assert!(said.secret.is_some());
    let lost = open(&database.url, OLD, None).await;
    assert!(lost.connection(connection).await.is_err());
}

async fn a_pass_that_is_stopped_is_gone_on_with(database: TestDb) {
    let before = open(&database.url, OLD, None).await;
    for number in 0..40 {
        fill(&before, &format!("row-{number}")).await;
    }
    let after = open(&database.url, NEW, Some(OLD)).await;
    let all = after.sealed_otherwise().await.unwrap();
    // Killed as soon as something is done.
    let watching = async {
        while after.sealed_otherwise().await.unwrap() == all {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        done = after.reseal() => panic!("it was not stopped: {done:?}"),
        () = watching => {}
    }
    let left = after.sealed_otherwise().await.unwrap();
    assert!(0 < left && left < all, "{left} of {all}");
    let done = after.reseal().await.unwrap();
    // A server may carry out what it was sent last before the kill.
    assert!(
        (left - 1..=left).contains(&done.resealed),
        "{done:?} of {left}"
    );
    assert_eq!(done.unreadable, 0);
    assert_eq!(after.sealed_otherwise().await.unwrap(), 0);
    // Without the old key in the ring nothing is lost, and it says so.
    let early = open(&database.url, OLD, None).await;
    let refused = early.reseal().await.unwrap();
    assert_eq!((refused.resealed, refused.unreadable), (0, all));
}

/// Tables and columns whose name says that they are sealed.
async fn sealed_columns(db: &Db) -> Vec<(String, String)> {
    let text = if database_is_postgres(db).await {
        "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT) FROM information_schema.columns \
         WHERE table_schema = current_schema()"
    } else {
        "SELECT m.name, p.name FROM sqlite_master AS m JOIN pragma_table_info(m.name) AS p WHERE m.type = 'table'"
    };
    let rows = sqlx::query(text).fetch_all(&db.reader).await.unwrap();
    rows.iter()
        .map(|row| (row.get::<String, _>(0), row.get::<String, _>(1)))
        .filter(|(_, column)| column.ends_with("_sealed"))
        .collect()
}

async fn database_is_postgres(db: &Db) -> bool {
    sqlx::query("SELECT 1 FROM information_schema.tables LIMIT 1")
        .fetch_optional(&db.reader)
        .await
        .is_ok()
}
