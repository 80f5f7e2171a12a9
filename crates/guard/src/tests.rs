//! Ways around the guard, and that they lead nowhere.

mod server;

use std::sync::atomic::Ordering;
use std::time::Duration;

use url::Url;

use crate::{Allow, BodyError, Bounds, Client, Error, Guard, Redirects, Refused, whole};

use self::server::{Server, lookup};

fn bounds(redirects: Redirects) -> Bounds {
    Bounds {
        connect_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(10),
        redirects,
        https_only: false,
        decompress: true,
    }
}

fn guard(allow: &[&str]) -> Guard {
    Guard::new(Allow::parse(allow).unwrap())
}

async fn send(client: &Client, url: &str) -> Result<reqwest::Response, Error> {
    let request = client.get(url.parse().unwrap()).build().unwrap();
    client.send(request).await
}

#[test]
fn every_spelling_of_a_refused_address_is_refused() {
    let guard = guard(&[]);
    for url in [
        "http://127.0.0.1/",
        "http://127.0.0.1./",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://017700000001/",
        "http://0177.0.0.1/",
        "http://0x7f.0.0.1/",
        "http://127.1/",
        "http://127.0.1/",
        "http://0/",
        "http://169.254.169.254/latest/meta-data/",
        "http://0xa9fea9fe/",
        "http://[::1]/",
        "http://[::]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[::127.0.0.1]/",
        "http://[0:0:0:0:0:ffff:a9fe:a9fe]/",
        "http://[fe80::1]/",
        "http://[fd00::1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
        // Whoever reads up to the first `@`, or takes digits for a name, is fooled.
        "http://example.org@127.0.0.1/",
        "http://example.org:80@127.0.0.1:80/",
        "http://127.0.0.1:80\\@example.org/",
        "http://①②⑦.⓪.⓪.①/",
        "http://127。0。0。1/",
        "http://%31%32%37.0.0.1/",
    ] {
        let url: Url = url.parse().unwrap();
        assert_eq!(guard.check_literal(&url), Err(Refused), "{url}");
    }
}

#[test]
fn zone_ids_and_broken_hosts_are_no_urls() {
    for url in [
        "http://[fe80::1%25eth0]/",
        "http://[fe80::1%eth0]/",
        "http://[::ffff:127.0.0.1",
        "http://1.2.3.4.5/",
        "http://256.0.0.1/",
        "http://0x100000000/",
    ] {
        assert!(url.parse::<Url>().is_err(), "{url}");
    }
}

#[test]
fn public_literals_and_names_pass_this_check() {
    for url in [
        "https://1.1.1.1/",
        "https://[2606:4700:4700::1111]/",
        "https://ehr.example/",
    ] {
        assert_eq!(
            guard(&[]).check_literal(&url.parse().unwrap()),
            Ok(()),
            "{url}"
        );
    }
}

#[tokio::test]
async fn a_refusal_sends_nothing_and_tells_nothing() {
    let server = Server::start("127.0.0.1").await;
    let client = guard(&[]).client(&bounds(Redirects::None)).unwrap();
    let open = send(&client, &server.url("/")).await.unwrap_err();
    let closed = send(&client, "http://127.0.0.1:1/").await.unwrap_err();
    // A name leads to the resolver instead.
    let named = format!("http://localhost:{}/", server.address.port());
    let named = send(&client, &named).await.unwrap_err();
    for error in [&open, &closed, &named] {
        assert!(matches!(error, Error::Refused(_)), "{error:?}");
        let text = format!("{error} {error:?}");
        assert!(
            !text.contains("127.0.0.1") && !text.contains("localhost"),
            "{text}"
        );
        assert_eq!(error.to_string(), open.to_string());
    }
    assert_eq!(server.asked(), 0);
}

#[tokio::test]
async fn what_the_operator_allows_is_reached() {
    let server = Server::start("127.0.0.1").await;
    let by_host = format!("http://localhost:{}/", server.address.port());
    for (allow, url) in [
        (["127.0.0.1/32"], server.url("/")),
        (["127.0.0.0/8"], by_host.clone()),
        (["localhost"], by_host),
    ] {
        let client = guard(&allow).client(&bounds(Redirects::None)).unwrap();
        let answer = send(&client, &url).await.unwrap();
        assert_eq!(&whole(answer, 10).await.unwrap()[..], b"here");
    }
}

/// The address that is connected to is the one that was checked: the name is
/// looked up once a connection, so a second answer counts for nothing.
#[tokio::test]
async fn a_name_that_changes_its_address_reaches_the_checked_one_or_none() {
    let (good, bad) = (Server::start("127.0.0.2").await, {
        Server::start("127.0.0.1").await
    });
    let (lookup, count) = lookup(&[&["127.0.0.2"], &["127.0.0.1"], &["127.0.0.1"]]);
    // 127.0.0.2 stands for a public address.
    let allow = Allow::parse(&["127.0.0.2/32"]).unwrap();
    let guard = Guard::with_lookup(allow, lookup);
    let client = guard.client(&bounds(Redirects::None)).unwrap();
    let url = format!("http://rebind.example:{}/", good.address.port());
    assert_eq!(send(&client, &url).await.unwrap().status(), 200);
    assert_eq!(count.load(Ordering::Relaxed), 1);

    let url = format!("http://rebind.example:{}/", bad.address.port());
    let error = send(&client, &url).await.unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error:?}");
    assert_eq!(guard.admit(&url.parse().unwrap()).await, Err(Refused));
    assert_eq!((good.asked(), bad.asked()), (1, 0));
}

#[tokio::test]
async fn of_several_addresses_only_the_public_ones_are_tried() {
    let (good, bad) = (Server::start("127.0.0.2").await, {
        Server::start("127.0.0.1").await
    });
    let (lookup, _) = lookup(&[&["127.0.0.1", "127.0.0.2", "::1"]]);
    let guard = Guard::with_lookup(Allow::parse(&["127.0.0.2"]).unwrap(), lookup);
    let client = guard.client(&bounds(Redirects::None)).unwrap();
    let url = format!("http://both.example:{}/", good.address.port());
    assert_eq!(send(&client, &url).await.unwrap().status(), 200);
    assert_eq!(bad.asked(), 0);
}

#[tokio::test]
async fn a_name_without_an_address_is_no_refusal() {
    let (lookup, _) = lookup(&[]);
    let guard = Guard::with_lookup(Allow::default(), lookup);
    let url: Url = "https://away.example/".parse().unwrap();
    assert_eq!(guard.admit(&url).await, Ok(()));
    let client = guard.client(&bounds(Redirects::None)).unwrap();
    let error = send(&client, url.as_str()).await.unwrap_err();
    assert!(matches!(error, Error::Http(_)), "{error:?}");
}

#[tokio::test]
async fn redirects_stay_within_the_origin() {
    let server = Server::start("127.0.0.1").await;
    let guard = guard(&["127.0.0.1"]);
    let none = guard.client(&bounds(Redirects::None)).unwrap();
    let within = guard.client(&bounds(Redirects::SameOrigin(3))).unwrap();
    for (client, path, status, asked) in [
        (&none, "/within", 302, 1),
        (&within, "/within", 200, 2),
        // Not followed, whoever would have let it through.
        (&within, "/metadata", 302, 1),
        (&within, "/to-localhost", 302, 1),
        (&within, "/loop", 302, 4),
    ] {
        let before = server.asked();
        let answer = send(client, &server.url(path)).await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(server.asked() - before, asked, "{path}");
    }
}

#[tokio::test]
async fn a_body_ends_at_the_limit() {
    let server = Server::start("127.0.0.1").await;
    let client = guard(&["127.0.0.1"])
        .client(&bounds(Redirects::None))
        .unwrap();
    let answer = send(&client, &server.url("/large")).await.unwrap();
    assert_eq!(whole(answer, 4096).await.unwrap().len(), 4096);
    let answer = send(&client, &server.url("/large")).await.unwrap();
    let error = whole(answer, 4095).await.unwrap_err();
    assert!(matches!(error, BodyError::TooLarge { limit: 4095 }));
}

#[tokio::test]
async fn plain_http_is_refused_where_it_was_not_allowed() {
    let server = Server::start("127.0.0.1").await;
    let bounds = Bounds {
        https_only: true,
        ..bounds(Redirects::None)
    };
    let client = guard(&["127.0.0.1"]).client(&bounds).unwrap();
    let error = send(&client, &server.url("/")).await.unwrap_err();
    assert!(matches!(error, Error::Http(_)), "{error:?}");
    assert_eq!(server.asked(), 0);
}
