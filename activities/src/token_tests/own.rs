//! Tokens of our own: by secret, by signature, with a clock that is wrong, and refused.

use db::testing::TestDb;
use model::{ClientMethod, ConnectionStatus, SigningAlgorithm};
use sandbox::SmartKnobs;
use source::NoToken;

use super::scene::Scene;

#[tokio::test]
async fn tokens_of_our_own_are_had_by_secret_and_by_signature() {
    let database = TestDb::sqlite().await;
    for (method, algorithm) in [
        (ClientMethod::Basic, None),
        (ClientMethod::Post, None),
        (ClientMethod::Signed, Some(SigningAlgorithm::Rs384)),
        (ClientMethod::Signed, Some(SigningAlgorithm::Es384)),
        (ClientMethod::Signed, None),
    ] {
        let scene = Scene::system(&database, method, algorithm).await;
        let keeper = scene.keeper(&scene.db);
        scene.read(&keeper).await.unwrap();
        assert_eq!(scene.stored().await.refresh, None);
        scene.sandbox.smart().forget_access_tokens();
        scene.read(&keeper).await.unwrap();
        assert_eq!(scene.requests().len(), 2, "{method}");
        assert!(scene.requests().iter().all(|request| request.status == 200));
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_put_right_by_the_servers() {
    let database = TestDb::sqlite().await;
    for offset in [-900, 900] {
        let scene = Scene::system(&database, ClientMethod::Signed, None).await;
        scene.knobs(SmartKnobs {
            clock_offset_s: offset,
            ..SmartKnobs::default()
        });
        let keeper = scene.keeper(&scene.db);
        scene.read(&keeper).await.unwrap();
        let statuses: Vec<u16> = scene.requests().iter().map(|of| of.status).collect();
        assert_eq!(statuses, [401, 200], "{offset}");
        // From now on it is right at the first try.
        scene.sandbox.smart().forget_access_tokens();
        scene.read(&keeper).await.unwrap();
        assert_eq!(scene.requests().len(), 3);
    }
}

#[tokio::test]
async fn a_client_that_is_refused_is_the_operators_to_put_right() {
    let database = TestDb::sqlite().await;
    let scene = Scene::system(&database, ClientMethod::Basic, None).await;
    let mut login = scene.db.source_login(scene.source).await.unwrap().unwrap();
    let right = login.clone();
    login.secret = Some("another".to_owned());
    scene
        .db
        .set_source_login(scene.source, &login)
        .await
        .unwrap();
    let keeper = scene.keeper(&scene.db);
    assert_eq!(keeper.ready().await, Err(NoToken::Refused));
    // It is left alone for a while, and says the same.
    assert_eq!(keeper.ready().await, Err(NoToken::Refused));
    assert!(scene.requests().len() <= 2);
    assert_eq!(scene.status().await, ConnectionStatus::Active);
    scene
        .db
        .set_source_login(scene.source, &right)
        .await
        .unwrap();
    keeper.ready().await.unwrap();
    scene.read(&keeper).await.unwrap();
}
