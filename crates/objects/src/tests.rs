//! What a location and a key may be, and that nothing is asked where it must not.

use guard::{Allow, Guard};
use object_store::ObjectStoreExt;

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
