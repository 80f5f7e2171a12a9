//! One effect and one answer, however often and wherever a POST is sent.

use db::{Call, Idempotency};
use model::{ExportId, Timestamp, Trigger};
use serde_json::json;

use super::{JsonBody, Server, assert_problem, send};

#[tokio::test]
async fn a_post_sent_again_is_answered_again_and_done_once() {
    let server = Server::start().await;
    let body = json!({"external_id": "a"});
    let first = server.post_once("/v1/patients", &body, "k1").await.is(201);
    assert_eq!(first.header("idempotency-replayed"), None);
    let again = server.post_once("/v1/patients", &body, "k1").await.is(201);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.text, first.text);
    for name in ["location", "etag", "content-type"] {
        assert_eq!(again.header(name), first.header(name), "{name}");
    }
    let other = server
        .post_once("/v1/patients", &json!({"external_id": "b"}), "k1")
        .await;
    assert_problem(&other, 422, "idempotency_key_reused");
    let elsewhere = server.post_once("/v1/sources", &body, "k1").await;
    assert_problem(&elsewhere, 422, "idempotency_key_reused");
    // What was refused had no effect, so its key is still to be had.
    let taken = server.post_once("/v1/patients", &body, "k2").await;
    assert_problem(&taken, 409, "conflict");
    server
        .post_once("/v1/patients", &json!({"external_id": "c"}), "k2")
        .await
        .is(201);
    let patients = server.get("/v1/patients").await.is(200);
    assert_eq!(patients.body["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn many_at_once_at_two_servers_have_one_effect_and_one_answer() {
    let server = Server::start().await;
    let second = Server::listen(&server.db, &server.store).await;
    let connection = server.connection(1).await;
    let body = json!({"connection_id": connection});
    let requests = (0..40).map(|number| {
        let address = if number % 2 == 0 {
            server.address
        } else {
            second
        };
        let url = format!("http://{address}/v1/pulls");
        let request = reqwest::Client::new().post(url).bearer_auth(&server.key);
        let request = request.header("idempotency-key", "once").json(&body);
        async move {
            loop {
                let reply = send(request.try_clone().unwrap()).await;
                if reply.status != 409 {
                    return reply.is(202).text;
                }
                assert_problem(&reply, 409, "idempotency_in_progress");
                tokio::task::yield_now().await;
            }
        }
    });
    let answers = futures::future::join_all(requests).await;
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    let pull = server.get("/v1/pulls").await.is(200);
    assert_eq!(pull.body["data"].as_array().unwrap().len(), 1);
    let id = pull.body["data"][0]["id"].as_str().unwrap();
    let pull = server.get(&format!("/v1/pulls/{id}")).await.is(200);
    assert_eq!(pull.body["triggers"][0]["count"], 1);
}

#[tokio::test]
async fn an_effect_whose_answer_was_lost_is_answered_from_what_was_made() {
    let server = Server::start().await;
    let connection = server.connection(1).await;
    let body = json!({"connection_id": connection});
    // As if the process had ended between the effect and the keeping of its answer.
    let text = serde_json::to_vec(&body).unwrap();
    let call = Call {
        key: server.key_id,
        action: "pull.start",
        idempotency: Some(Idempotency {
            key: "lost".to_owned(),
            fingerprint: crate::idempotency::fingerprint("/v1/pulls", &text),
        }),
    };
    let db = server.db.on_behalf_of(call);
    let pull = db.request_pull(connection, Trigger::Manual).await.unwrap();
    let repeated = db.request_pull(connection, Trigger::Manual).await;
    assert!(matches!(repeated, Err(db::Error::Repeated)));
    for _ in 0..2 {
        let answer = server.post_once("/v1/pulls", &body, "lost").await.is(202);
        assert_eq!(answer.id(), pull.to_string());
        assert_eq!(answer.body["triggers"][0]["count"], 1);
    }
}

#[tokio::test]
async fn a_key_that_cannot_be_one_is_refused_and_old_ones_are_forgotten() {
    let server = Server::start().await;
    let body = json!({"external_id": "a"});
    for key in ["", "with space", &"x".repeat(256)] {
        let reply = server.post_once("/v1/patients", &body, key).await;
        assert_problem(&reply, 400, "invalid_idempotency_key");
    }
    server.post_once("/v1/patients", &body, "old").await.is(201);
    assert_eq!(server.db.forget_answers(Timestamp(0), 10).await.unwrap(), 0);
    assert!(server.db.answered("old").await.unwrap().is_some());
    let now = Timestamp::now();
    assert_eq!(server.db.forget_answers(now, 10).await.unwrap(), 1);
    assert!(server.db.answered("old").await.unwrap().is_none());
    let reply = server
        .post_once(
            "/v1/exports",
            &json!({"destination_id": ExportId::new()}),
            "x",
        )
        .await;
    assert_problem(&reply, 422, "invalid_value");
}
