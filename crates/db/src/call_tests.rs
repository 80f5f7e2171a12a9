//! Calls of the API: their keys, their effects, what they leave.

use futures::future::join_all;
use model::{KeyId, Scope, Timestamp};

use crate::testing::TestDb;
use crate::{Call, Db, Error, Idempotency, NewApiKey};

crate::on_both!(
    one_effect_however_many_ask_at_once,
    the_text_of_a_made_key_is_there_until_its_answer_is_kept,
    an_effect_that_is_refused_leaves_its_key_free,
    a_key_is_good_until_it_is_revoked_expires_or_is_replaced,
);

fn call(key: &str) -> Call {
    Call {
        key: KeyId::new(),
        action: "patient.add",
        idempotency: Some(Idempotency {
            key: key.to_owned(),
            fingerprint: "same".to_owned(),
        }),
    }
}

async fn one_effect_however_many_ask_at_once(database: TestDb) {
    let db = database.db.on_behalf_of(call("once"));
    let ends = join_all((0..20).map(|_| db.add_patient(None))).await;
    let done: Vec<_> = ends.iter().filter_map(|end| end.as_ref().ok()).collect();
    assert_eq!(done.len(), 1, "{ends:?}");
    let refused = ends.iter().filter(|end| end.is_err());
    assert!(
        refused
            .clone()
            .all(|end| matches!(end, Err(Error::Repeated))),
        "{ends:?}"
    );
    assert_eq!(database.db.patients(None, 100).await.unwrap().len(), 1);
    let told = database.db.audit(None, 100).await.unwrap();
    assert_eq!(told.len(), 1, "what was taken back is not in the log");
    let answered = database.db.answered("once").await.unwrap().unwrap();
    assert_eq!(answered.subject_id, done[0].to_string());
    assert_eq!(answered.answer, None);
    for answer in [b"first", b"later"] {
        database.db.keep_answer("once", answer).await.unwrap();
        let answered = database.db.answered("once").await.unwrap().unwrap();
        assert_eq!(answered.answer.as_deref(), Some(&b"first"[..]));
    }
    assert_eq!(
        database
            .db
            .forget_answers(Timestamp::now(), 10)
            .await
            .unwrap(),
        1
    );
}

async fn the_text_of_a_made_key_is_there_until_its_answer_is_kept(database: TestDb) {
    let new = NewApiKey {
        name: "made".to_owned(),
        scopes: vec![Scope::Read],
        expires_at: None,
    };
    let db = database.db.on_behalf_of(call("made"));
    let (_, text) = db.add_api_key(&new).await.unwrap();
    let answered = database.db.answered("made").await.unwrap().unwrap();
    assert_eq!(answered.secret, Some(text));
    database.db.keep_answer("made", b"told").await.unwrap();
    let answered = database.db.answered("made").await.unwrap().unwrap();
    assert_eq!(
        (answered.answer, answered.secret),
        (Some(b"told".to_vec()), None)
    );
}

async fn an_effect_that_is_refused_leaves_its_key_free(database: TestDb) {
    database.db.add_patient(Some("taken")).await.unwrap();
    let db = database.db.on_behalf_of(call("again"));
    let refused = db.add_patient(Some("taken")).await;
    assert!(
        matches!(refused, Err(Error::Conflict { .. })),
        "{refused:?}"
    );
    assert!(database.db.answered("again").await.unwrap().is_none());
    db.add_patient(Some("free")).await.unwrap();
    let found = database.db.patient("free").await.unwrap();
    assert_eq!(
        database.db.patient(&found.id.to_string()).await.unwrap().id,
        found.id
    );
}

async fn a_key_is_good_until_it_is_revoked_expires_or_is_replaced(database: TestDb) {
    let db: &Db = &database.db;
    let new = |expires_at| NewApiKey {
        name: "key".to_owned(),
        scopes: vec![Scope::Read, Scope::Phi],
        expires_at,
    };
    let (id, text) = db.add_api_key(&new(None)).await.unwrap();
    let used = db.use_api_key(&text).await.unwrap().unwrap();
    assert_eq!((used.id, used.scopes), (id, vec![Scope::Read, Scope::Phi]));
    assert!(db.api_key(id).await.unwrap().last_used_at.is_some());
    assert_eq!(db.use_api_key(&text.to_uppercase()).await.unwrap(), None);

    let (_, expired) = db.add_api_key(&new(Some(Timestamp(1)))).await.unwrap();
    assert_eq!(db.use_api_key(&expired).await.unwrap(), None);

    let now = Timestamp::now();
    let rotations = join_all((0..5).map(|_| db.rotate_api_key(id, now))).await;
    let made: Vec<_> = rotations
        .iter()
        .filter_map(|end| end.as_ref().ok())
        .collect();
    assert_eq!(made.len(), 1, "{rotations:?}");
    assert_eq!(db.use_api_key(&text).await.unwrap(), None);
    let (new_id, new_text) = made[0];
    assert!(db.use_api_key(new_text).await.unwrap().is_some());
    db.revoke_api_key(*new_id).await.unwrap();
    assert_eq!(db.use_api_key(new_text).await.unwrap(), None);
    assert_eq!(db.api_keys(None, 10).await.unwrap().len(), 3);
    assert!(db.revoke_api_key(KeyId::new()).await.is_err());
}
