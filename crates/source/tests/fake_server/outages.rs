//! A server that is silent, slow or down.

use std::time::Duration;

use chartlift_source::{Auth, Error, Limits, SourceClient};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::server::{client, limits, listen, loopback, shown};

#[tokio::test]
async fn fake_server_that_falls_silent_times_out() {
    // Says nothing, or promises more than it sends and holds or drops the line.
    for (answer, hold, timeout) in [
        ("", true, true),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"resource",
            true,
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"resource",
            false,
            false,
        ),
    ] {
        let (listener, base) = listen().await;
        let server = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await;
                stream.write_all(answer.as_bytes()).await.unwrap();
                if hold {
                    tokio::spawn(async move {
                        std::future::pending::<()>().await;
                        drop(stream);
                    });
                }
            }
        });
        let error = client(&base)
            .page(&format!("{base}?secret=4711"))
            .await
            .unwrap_err();
        assert!(
            matches!(&error, Error::Unavailable { status: None, timeout: t, .. } if *t == timeout),
            "{error:?}"
        );
        let text = shown(&error);
        assert!(!text.contains("4711") && !text.contains("/fhir"), "{text}");
        server.abort();
    }
}

#[tokio::test]
async fn fake_server_that_drips_is_cut_off() {
    let (listener, base) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n")
            .await
            .unwrap();
        let mut drop_by_drop = tokio::time::interval(Duration::from_millis(20));
        while stream.write_all(b" ").await.is_ok() {
            drop_by_drop.tick().await;
        }
    });
    let limits = Limits {
        request_timeout: Duration::from_millis(500),
        ..limits()
    };
    let client = SourceClient::new(base.clone(), Auth::None, limits, &loopback()).unwrap();
    assert!(matches!(
        client.page(base.as_str()).await,
        Err(Error::Unavailable { timeout: true, .. })
    ));
    server.abort();
}

#[tokio::test]
async fn fake_server_that_is_down_is_unavailable() {
    let (listener, base) = listen().await;
    drop(listener);
    let error = client(&base)
        .page(&format!("{base}?secret=4711"))
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        Error::Unavailable {
            status: None,
            timeout: false,
            ..
        }
    ));
    assert!(!shown(&error).contains("4711"), "{}", shown(&error));
}
