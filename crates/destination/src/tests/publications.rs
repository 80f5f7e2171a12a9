//! The numbered feed.

use super::*;

#[tokio::test]
async fn a_number_means_one_thing_for_good() {
    for (destination, _folder) in destinations() {
        let ours = publication(&destination, 1, vec![]);
        let theirs = publication(&destination, 1, vec![]);
        assert_eq!(destination.publication(1).await.unwrap(), None);
        assert_eq!(
            destination.publish(&ours).await.unwrap(),
            Published::Created
        );
        for late in [&ours, &theirs] {
            assert_eq!(
                destination.publish(late).await.unwrap(),
                Published::Stands(Box::new(ours.clone()))
            );
        }
        assert_eq!(destination.publication(1).await.unwrap(), Some(ours));

        let mut foreign = theirs;
        foreign.destination_id = DestinationId::new();
        assert!(matches!(
            destination.publish(&foreign).await,
            Err(Error::ForeignOwner { .. })
        ));
    }
}

#[tokio::test]
async fn of_many_writers_one_creates() {
    for (destination, _folder) in destinations() {
        let publications: Vec<_> = (0..16)
            .map(|_| publication(&destination, 7, vec![]))
            .collect();
        let outcomes =
            futures::future::join_all(publications.iter().map(|one| destination.publish(one)))
                .await;
        let standing = destination.publication(7).await.unwrap().unwrap();
        let mut created = 0;
        for (publication, outcome) in publications.iter().zip(outcomes) {
            match outcome.unwrap() {
                Published::Created => {
                    created += 1;
                    assert_eq!(*publication, standing);
                }
                Published::Stands(stands) => assert_eq!(*stands, standing),
            }
        }
        assert_eq!(created, 1);
    }
}

#[tokio::test]
async fn the_feed_shows_what_is_missing() {
    for (destination, _folder) in destinations() {
        assert_eq!(destination.publications(1).await.unwrap(), []);
        for number in [1, 2, 5, 10_000_000_000] {
            destination
                .publish(&publication(&destination, number, vec![]))
                .await
                .unwrap();
        }
        overwrite(
            &destination,
            "_chartlift/publications/notes.json",
            b"a note",
        )
        .await;
        overwrite(
            &destination,
            "_chartlift/publications/3.json",
            b"not our name",
        )
        .await;
        let numbers = destination.publication_numbers(1).await.unwrap();
        assert_eq!(numbers, [1, 2, 5, 10_000_000_000]);
        assert_eq!(gaps(1, &numbers), [3..=4, 6..=9_999_999_999]);
        assert_eq!(
            destination.publication_numbers(3).await.unwrap(),
            [5, 10_000_000_000]
        );
        assert_eq!(gaps(3, &[5]), [3..=4]);
        assert_eq!(gaps(1, &[]), []);
        let read: Vec<_> = destination
            .publications(2)
            .await
            .unwrap()
            .iter()
            .map(|one| one.number)
            .collect();
        assert_eq!(read, [2, 5, 10_000_000_000]);
    }
}

#[tokio::test]
async fn a_publication_that_is_not_one_is_an_error_that_names_it() {
    for (destination, _folder) in destinations() {
        let name = |number: u64| ObjectKey::Publication { number }.to_string();
        overwrite(
            &destination,
            &name(1),
            br#"{"version":1,"number":"Jane-Doe"}"#,
        )
        .await;
        overwrite(
            &destination,
            &name(2),
            br#"{"version":2,"shape":"of tomorrow"}"#,
        )
        .await;
        let third = serde_json::to_vec(&publication(&destination, 4, vec![])).unwrap();
        overwrite(&destination, &name(3), third.leak()).await;

        let error = destination.publication(1).await.unwrap_err();
        assert!(
            matches!(&error, Error::Corrupt { object, .. } if *object == name(1)),
            "{error}"
        );
        assert!(!format!("{error} {error:?}").contains("Jane"), "{error:?}");
        assert!(matches!(
            destination.publication(2).await,
            Err(Error::Newer { version: 2, .. })
        ));
        let error = destination.publication(3).await.unwrap_err();
        assert!(
            error.to_string().contains("it says that it is number 4"),
            "{error}"
        );
    }
}
