//! What a location and a key may be, and that nothing is asked where it must not.

use guard::{Allow, Guard};
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::{Access, AccessError, Location, Trouble, is_s3, open};

fn access() -> Access {
    Access {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        secret_access_key: "hush/secret".to_owned(),
        session_token: None,
        endpoint: Some("http://127.0.0.1:9".to_owned()),
        region: None,
        allow_http: true,
    }
}

#[test]
fn locations_are_a_bucket_and_a_prefix() {
    for (text, normalised) in [
        ("s3://bucket", "s3://bucket"),
        ("S3://bucket/", "s3://bucket"),
        ("s3://my.bucket-1/a/b=c/", "s3://my.bucket-1/a/b=c"),
    ] {
        assert_eq!(Location::parse(text).unwrap().normalised(), normalised);
        assert!(is_s3(text));
    }
    for text in [
        "s3://",
        "s3://ab",
        "s3://Bucket",
        "s3://key:secret@bucket",
        "s3://bucket.",
        "s3://bucket//a",
        "s3://bucket/../a",
        "s3://bucket/a?b",
        "s3://bucket/a b",
        "s3://bücket",
        "/folder",
    ] {
        let error = Location::parse(text).unwrap_err().to_string();
        assert!(
            error.contains("give s3://bucket") && !error.contains("secret"),
            "{error}"
        );
    }
}

#[test]
fn a_key_is_read_from_json_and_never_shown() {
    let text = br#"{"access_key_id":"AKIDEXAMPLE","secret_access_key":"hush/secret"}"#;
    let access = Access::from_json(text).unwrap();
    assert_eq!(Access::from_json(&access.to_json()).unwrap(), access);
    let shown = format!("{access:?}");
    assert!(
        !shown.contains("hush") && !shown.contains("AKID"),
        "{shown}"
    );
    for (text, error) in [
        (&b"hush"[..], AccessError::Form),
        (br#"{"access_key_id":"a"}"#, AccessError::Form),
        (
            br#"{"access_key_id":"a","secret_access_key":"b","endpont":"c"}"#,
            AccessError::Form,
        ),
        (
            br#"{"access_key_id":"","secret_access_key":"b"}"#,
            AccessError::Missing,
        ),
        (
            br#"{"access_key_id":"a","secret_access_key":"b\n"}"#,
            AccessError::Text,
        ),
        (
            br#"{"access_key_id":"a","secret_access_key":"b","endpoint":"http://s3"}"#,
            AccessError::Http,
        ),
        (
            br#"{"access_key_id":"a","secret_access_key":"b","endpoint":"https://u:p@s3"}"#,
            AccessError::Endpoint,
        ),
        (
            br#"{"access_key_id":"a","secret_access_key":"b","endpoint":"ftp://s3"}"#,
            AccessError::Endpoint,
        ),
    ] {
        assert_eq!(Access::from_json(text).unwrap_err(), error);
    }
}

#[tokio::test]
async fn a_store_at_a_refused_address_is_not_asked() {
    let guard = Guard::new(Allow::default());
    let location = Location::parse("s3://bucket/prefix").unwrap();
    for endpoint in [
        "http://127.0.0.1:9",
        "http://①②⑦.⓪.⓪.①:9",
        "http://LOCALHOST:9/",
    ] {
        let access = Access {
            endpoint: Some(endpoint.to_owned()),
            ..access()
        };
        let store = open(&location, &access, &guard).unwrap();
        let error = store.get(&"object".into()).await.unwrap_err();
        assert_eq!(Trouble::find(&error), Some(Trouble::AddressRefused));
        let text = format!("{error} {error:?}");
        assert!(!text.contains("hush"), "{text}");
    }
}

#[test]
fn refusals_are_told_apart() {
    for (status, code, trouble) in [
        (404, "NoSuchBucket", Some(Trouble::BucketMissing)),
        (404, "NoSuchKey", None),
        (404, "", None),
        (403, "InvalidAccessKeyId", Some(Trouble::KeyRefused)),
        (403, "SignatureDoesNotMatch", Some(Trouble::KeyRefused)),
        (400, "ExpiredToken", Some(Trouble::KeyRefused)),
        (403, "AccessDenied", Some(Trouble::Denied)),
        (403, "RequestTimeTooSkewed", Some(Trouble::ClockSkew)),
        (403, "", Some(Trouble::Denied)),
        (412, "PreconditionFailed", None),
        (503, "SlowDown", None),
    ] {
        assert_eq!(Trouble::of(status, code), trouble, "{status} {code}");
    }
}

/// Answers each request after the other, one a connection; returns how many came.
async fn answer(listener: TcpListener, answers: Vec<String>) -> usize {
    let mut came = 0;
    for answer in answers {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\nbody") {
            let mut bytes = [0; 1024];
            let read = stream.read(&mut bytes).await.unwrap();
            assert!(read > 0, "the request ended early");
            request.extend_from_slice(&bytes[..read]);
        }
        came += 1;
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
    came
}

#[tokio::test]
async fn what_a_store_has_not_decided_is_asked_again() {
    for code in [
        "ConditionalRequestConflict",
        "OperationAborted",
        "ExistingObjectIsDirectory",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let body = format!("<Error><Code>{code}</Code></Error>");
        let length = body.len();
        let answers = [
            format!(
                "HTTP/1.1 409 Conflict\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            ),
            "HTTP/1.1 200 OK\r\nconnection: close\r\netag: \"1\"\r\ncontent-length: 0\r\n\r\n"
                .to_owned(),
        ];
        let answered = tokio::spawn(answer(listener, answers.into()));
        let guard = Guard::new(Allow::parse(&["127.0.0.1"]).unwrap());
        let location = Location::parse("s3://bucket").unwrap();
        let access = Access {
            endpoint: Some(format!("http://127.0.0.1:{port}")),
            ..access()
        };
        let store = open(&location, &access, &guard).unwrap();
        let create = PutOptions::from(PutMode::Create);
        store
            .put_opts(&"object".into(), "body".into(), create)
            .await
            .unwrap_or_else(|error| panic!("{code}: {error}"));
        assert_eq!(answered.await.unwrap(), 2);
    }
}
