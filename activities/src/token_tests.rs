//! Tokens against the sandbox's authorization server, on both databases.

mod own;
mod scene;
mod storm;

use std::sync::Arc;
use std::time::Duration;

use db::NewToken;
use db::testing::TestDb;
use model::ConnectionStatus;
use sandbox::SmartKnobs;
use source::{Error, NoToken, TokenSource};

use self::scene::{Scene, brief, given};
use crate::token::Terms;

db::on_both!(
    a_token_is_refreshed_in_time_and_by_one,
    an_outage_is_not_a_lost_grant,
    a_dead_grant_is_told_at_once_and_never_tried_again,
    a_refused_token_is_renewed_once,
    a_cancelled_step_does_not_lose_the_token_it_asked_for,
    another_persons_record_ends_the_grant,
    an_access_token_alone_is_used_to_its_end,
);

async fn a_token_is_refreshed_in_time_and_by_one(database: TestDb) {
    let scene = Scene::smart(&database).await;
    let keeper = scene.keeper(&scene.db);
    keeper.ready().await.unwrap();
    // It is good for five minutes: nobody asks.
    assert_eq!(scene.requests().len(), 0);
    let life = |ms| SmartKnobs {
        token_lifetime_ms: ms,
        token_latency_ms: 20,
        ..SmartKnobs::default()
    };
    scene.knobs(life(60_000));
    // Due at once, and wanted by twenty of three workers.
    let due = NewToken {
        access: None,
        ..scene.grant()
    };
    scene
        .db
        .reconnect(scene.connection, None, Some(&due))
        .await
        .unwrap();
    let keepers: Vec<_> = (0..3).map(|_| scene.keeper(&scene.db)).collect();
    let tasks = (0..20).map(|number| {
        let keeper = Arc::clone(&keepers[number % 3]);
        tokio::spawn(async move { keeper.token().await.unwrap().secret })
    });
    let mut tokens = Vec::new();
    for task in futures::future::join_all(tasks).await {
        tokens.push(task.unwrap());
    }
    assert_eq!(scene.requests().len(), 1);
    assert!(tokens.windows(2).all(|pair| pair[0] == pair[1]));
    let stored = scene.stored().await;
    let life = stored.expires_at.0 - stored.obtained_at.0;
    assert!((50_000_000..60_000_000).contains(&life), "{life}");
    let due = stored.refresh_at.0 - stored.obtained_at.0;
    assert!((due - life * 4 / 5).abs() <= 1, "{due} of {life}");
    let scope = scene.db.granted_scope(scene.connection).await.unwrap();
    assert_eq!(scope.as_deref(), Some(scene::SCOPE));
    scene.read(&keepers[0]).await.unwrap();
}

async fn an_outage_is_not_a_lost_grant(database: TestDb) {
    let scene = Scene::smart(&database).await;
    let life = Duration::from_millis(1000);
    let brief = NewToken {
        expires_in: Some(life),
        ..scene.grant()
    };
    scene
        .db
        .reconnect(scene.connection, None, Some(&brief))
        .await
        .unwrap();
    let keeper = scene.keeper(&scene.db);
    let first = keeper.token().await.unwrap();
    scene.knobs(SmartKnobs {
        token_status: Some(500),
        ..SmartKnobs::default()
    });
    // In the last fifth of its life the endpoint is asked, and the token goes on.
    let due = scene.stored().await.refresh_at;
    scene::sleep_until(due).await;
    while scene.requests().is_empty() {
        let token = keeper.token().await.unwrap();
        assert_eq!(token.version, first.version);
    }
    assert_eq!(keeper.token().await.unwrap().version, first.version);
    scene::sleep_until(scene.stored().await.expires_at).await;
    let why = keeper.token().await.unwrap_err();
    assert!(matches!(why, NoToken::Later(_)), "{why:?}");
    // One that hangs, one that answers nonsense, one that says how long.
    for knobs in [
        SmartKnobs {
            token_hang: true,
            ..SmartKnobs::default()
        },
        SmartKnobs {
            token_status: Some(418),
            ..SmartKnobs::default()
        },
        SmartKnobs {
            token_status: Some(429),
            ..SmartKnobs::default()
        },
    ] {
        scene.knobs(knobs);
        scene.asked_again().await;
        assert!(matches!(keeper.token().await, Err(NoToken::Later(_))));
    }
    assert_eq!(scene.status().await, ConnectionStatus::Active);
    assert!(scene.events().await.is_empty());
    assert!(scene.stored().await.failures >= 4);
    scene.knobs(SmartKnobs::default());
    scene.asked_again().await;
    let second = keeper.token().await.unwrap();
    assert!(second.version > first.version);
    scene.read(&keeper).await.unwrap();
    assert_eq!(scene.stored().await.failures, 0);
}

async fn a_dead_grant_is_told_at_once_and_never_tried_again(database: TestDb) {
    let scene = Scene::smart(&database).await;
    let keepers = [scene.keeper(&scene.db), scene.keeper(&scene.db)];
    for keeper in &keepers {
        scene.read(keeper).await.unwrap();
    }
    scene.sandbox.smart().revoke(scene.grant_number);
    assert!(matches!(
        scene.read(&keepers[0]).await,
        Err(Error::GrantLost { .. })
    ));
    assert_eq!(scene.status().await, ConnectionStatus::NeedsReconnect);
    assert_eq!(
        scene.events().await,
        ["connection.needs_reconnect invalid_grant"]
    );
    for keeper in &keepers {
        assert!(matches!(
            scene.read(keeper).await,
            Err(Error::GrantLost { .. })
        ));
        assert_eq!(keeper.ready().await, Err(NoToken::Lost));
    }
    assert_eq!(scene.requests().len(), 1);
    assert_eq!(scene.events().await.len(), 1);
    // Connected again, the same steps go on.
    let issued = scene
        .sandbox
        .smart()
        .grant("app", &scene.patient, scene::SCOPE);
    scene
        .db
        .reconnect(scene.connection, None, Some(&given(&issued)))
        .await
        .unwrap();
    scene.read(&keepers[0]).await.unwrap();
    scene.db.revoke_connection(scene.connection).await.unwrap();
    assert_eq!(keepers[1].ready().await, Err(NoToken::Lost));
}

async fn a_refused_token_is_renewed_once(database: TestDb) {
    let scene = Scene::smart(&database).await;
    let keeper = scene.keeper(&scene.db);
    scene.read(&keeper).await.unwrap();
    scene.sandbox.smart().forget_access_tokens();
    scene.read(&keeper).await.unwrap();
    assert_eq!(scene.requests().len(), 1);
    // A type that is refused with 401 whatever token comes: one refresh, and no more.
    let mut knobs = sandbox::Knobs::default();
    for ty in ["Consent", "Observation", "Condition"] {
        knobs.status_for_type.insert(ty.to_owned(), 401);
    }
    scene.sandbox.portal().set_knobs(knobs);
    for ty in ["Consent", "Observation", "Condition"] {
        let refused = scene.search(&keeper, ty).await;
        assert!(
            matches!(refused, Err(Error::Unauthorized { .. })),
            "{refused:?}"
        );
        scene.read(&keeper).await.unwrap();
    }
    assert_eq!(scene.requests().len(), 1, "it was renewed a moment ago");
    assert_eq!(scene.status().await, ConnectionStatus::Active);
}

async fn a_cancelled_step_does_not_lose_the_token_it_asked_for(database: TestDb) {
    let scene = Scene::smart(&database).await;
    scene.knobs(SmartKnobs {
        // With this a lost answer is a lost grant.
        keep_old_until_new_is_used: false,
        answer_latency_ms: 100,
        ..SmartKnobs::default()
    });
    let keeper = scene.keeper(&scene.db);
    scene.sandbox.smart().forget_access_tokens();
    let step = tokio::spawn({
        let (client, id) = (scene.client(&keeper), scene.patient.clone());
        async move { client.read("Patient", &id).await.map(drop) }
    });
    // The token endpoint has done its work, and its answer is on its way.
    while scene
        .sandbox
        .smart()
        .is_current(scene.grant_number, &scene.refresh_token)
    {
        tokio::task::yield_now().await;
    }
    step.abort();
    assert!(step.await.is_err());
    scene.read(&keeper).await.unwrap();
    assert_eq!(scene.status().await, ConnectionStatus::Active);
    assert_eq!(scene.requests().len(), 1);
}

async fn another_persons_record_ends_the_grant(database: TestDb) {
    let scene = Scene::smart(&database).await;
    let keeper = scene.keeper(&scene.db);
    scene.sandbox.smart().forget_access_tokens();
    scene.knobs(SmartKnobs {
        other_patient: Some("somebody-else".to_owned()),
        ..SmartKnobs::default()
    });
    assert!(matches!(
        scene.read(&keeper).await,
        Err(Error::GrantLost { .. })
    ));
    assert_eq!(
        scene.events().await,
        ["connection.needs_reconnect other_patient"]
    );
    assert_eq!(scene.stored().await.refresh, None);
}

async fn an_access_token_alone_is_used_to_its_end(database: TestDb) {
    let scene = Scene::smart(&database).await;
    let alone = NewToken {
        refresh: None,
        expires_in: Some(Duration::from_millis(400)),
        ..scene.grant()
    };
    scene
        .db
        .reconnect(scene.connection, None, Some(&alone))
        .await
        .unwrap();
    let keeper = scene.keeper(&scene.db);
    scene::sleep_until(scene.stored().await.refresh_at).await;
    keeper.ready().await.unwrap();
    assert_eq!(scene.status().await, ConnectionStatus::Active);
    scene::sleep_until(scene.stored().await.expires_at).await;
    assert_eq!(keeper.ready().await, Err(NoToken::Lost));
    assert_eq!(
        scene.events().await,
        ["connection.needs_reconnect token_expired"]
    );
    assert_eq!(scene.requests().len(), 0);
}

#[test]
fn a_lease_is_longer_than_what_it_is_for() {
    for terms in [Terms::default(), brief()] {
        assert!(terms.lease > terms.request * 3 / 2);
    }
    assert!(Terms::default().wait < Duration::from_secs(5));
}
