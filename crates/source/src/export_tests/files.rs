//! The files of an export: who gets the token, and how lines are cut.

use axum::body::Body;
use axum::http::StatusCode;
use bytes::Bytes;

use super::{client, file, lines_of, redirect, server};
use crate::{Error, RawLine};

#[tokio::test]
async fn files_get_the_token_only_where_the_manifest_asks_for_it() {
    let (base, seen) = server(|_| "x\n").await;
    let (client, file) = (client(&base), file(format!("{base}/1")));
    client.export_lines(&file, false).await.unwrap();
    client.export_lines(&file, true).await.unwrap();
    let seen: Vec<bool> = seen.lock().unwrap().iter().map(|of| of.2).collect();
    assert_eq!(seen, [false, true]);
}

#[tokio::test]
async fn a_redirect_to_a_private_address_or_in_a_circle_is_not_followed() {
    let (base, _) = server(|target| match target {
        "/fhir/inside" => redirect("http://10.0.0.1/secret".to_owned()),
        "/fhir/scheme" => redirect("file:///etc/passwd".to_owned()),
        _ => redirect("/fhir/circle".to_owned()),
    })
    .await;
    let client = client(&base);
    let read = async |name: &str| lines_of(&client, &file(format!("{base}/{name}"))).await;
    let inside = read("inside").await;
    assert!(
        matches!(inside, Err(Error::AddressRefused { .. })),
        "{inside:?}"
    );
    for name in ["scheme", "circle"] {
        let refused = read(name).await;
        assert!(
            matches!(refused, Err(Error::Protocol { .. })),
            "{name}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn statuses_of_files() {
    let (base, _) = server(|target| {
        let status = target.trim_start_matches("/fhir/").parse().unwrap();
        StatusCode::from_u16(status).unwrap()
    })
    .await;
    let client = client(&base);
    let read = async |status: u16| lines_of(&client, &file(format!("{base}/{status}"))).await;
    // Object stores answer 400 and 403 where a signed URL is too old.
    for status in [400, 403, 404, 410] {
        assert!(
            matches!(read(status).await, Err(Error::CursorExpired { .. })),
            "{status}"
        );
    }
    assert!(matches!(read(401).await, Err(Error::Unauthorized { .. })));
    assert!(matches!(read(429).await, Err(Error::Throttled { .. })));
    assert!(matches!(read(502).await, Err(Error::Unavailable { .. })));
}

#[tokio::test]
async fn lines_are_cut_at_line_feeds_alone_and_long_ones_are_passed_over() {
    let (base, _) = server(|_| {
        let long = "x".repeat(200 << 10);
        let text =
            format!("\u{FEFF}{{\"a\":\"\u{2028}\"}}\r\n\n{long}\n {{\"b\":1}} \n{{\"c\":2}}");
        // In pieces that end anywhere.
        let pieces: Vec<Result<Bytes, std::io::Error>> = text
            .into_bytes()
            .chunks(4_093)
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect();
        Body::from_stream(futures::stream::iter(pieces))
    })
    .await;
    let lines = lines_of(&client(&base), &file(format!("{base}/1")))
        .await
        .unwrap();
    let text = |text: &str| RawLine::Text(Bytes::copy_from_slice(text.as_bytes()));
    assert_eq!(
        lines,
        [
            text("{\"a\":\"\u{2028}\"}"),
            RawLine::TooLarge,
            text("{\"b\":1}"),
            text("{\"c\":2}")
        ]
    );
}

#[tokio::test]
async fn a_file_that_breaks_off_is_an_error_and_not_its_end() {
    let (base, _) = server(|_| {
        let pieces: [Result<Bytes, std::io::Error>; 2] = [
            Ok(Bytes::from_static(b"{\"a\":1}\n{\"b\"")),
            Err(std::io::Error::other("cut off")),
        ];
        Body::from_stream(futures::stream::iter(pieces))
    })
    .await;
    let read = lines_of(&client(&base), &file(format!("{base}/1"))).await;
    assert!(matches!(read, Err(Error::Unavailable { .. })), "{read:?}");
}

#[tokio::test]
async fn nothing_of_a_file_is_shown() {
    let shown = format!("{:?}", file("https://files.example/secret?sig=x"));
    assert!(
        !shown.contains("secret") && !shown.contains("sig"),
        "{shown}"
    );
}
