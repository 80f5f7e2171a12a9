use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::process::{ProcessRef, SignalKind, signal};
use super::*;

fn options(dir: &Path) -> DevServerOptions {
    DevServerOptions {
        dir: dir.to_owned(),
        grpc_port: 0,
        ui_port: 0,
        namespace: "embedded".to_owned(),
        search_attributes: &["ChartliftConnection", "ChartliftRun"],
    }
}

/// Whether there is a CLI; the tests never build one.
fn cli_is_there() -> bool {
    let found = cli::installed().unwrap().is_some();
    if !found {
        println!("SKIPPED: no Temporal CLI on PATH, in the cache or in CHARTLIFT_TEMPORAL_CLI");
    }
    found
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// A server without a watch and without a parent that cares, as `kill -9` of a
/// run leaves it; ended with the test.
struct Orphan(u32);

impl Orphan {
    async fn start(dir: &Path) -> Self {
        let options = options(dir);
        let launch = Launch::new(&options, cli::installed().unwrap().unwrap()).unwrap();
        let (_, child) = start_fresh(launch, &options).await.unwrap();
        let orphan = Self(child.id().unwrap());
        std::mem::forget(child);
        orphan
    }

    fn lives(&self) -> bool {
        ProcessRef::of(self.0).command_line().is_some()
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        if self.lives() {
            signal(self.0, SignalKind::Kill);
        }
    }
}

#[test]
fn a_folder_is_locked_once_and_free_again_after() {
    let dir = TempDir::new().unwrap();
    let lock = DataLock::take(dir.path()).unwrap();
    let error = DataLock::take(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains(&format!("(pid {}): stop it", std::process::id())),
        "{error}"
    );
    assert!(error.contains(dir.path().to_str().unwrap()), "{error}");
    drop(lock);
    DataLock::take(dir.path()).unwrap();
}

#[test]
fn a_taken_port_is_skipped() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let free = free_port(port).unwrap();
    assert_ne!(free, port);
    assert!(is_free(free));
    assert_ne!(free_port(0).unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_comes_back_on_its_port_and_a_stopped_one_keeps_it() {
    if !cli_is_there() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let server = DevServer::start(options(dir.path())).await.unwrap();
    let mut launch = Launch::new(&options(dir.path()), cli::installed().unwrap().unwrap()).unwrap();
    launch.port = server.port;
    assert!(launch.answers().await);

    let first = server.pid().unwrap();
    signal(first, SignalKind::Kill);
    eventually("a new process", async || {
        server.pid().is_some_and(|pid| pid != first)
    })
    .await;
    eventually("it answers", async || launch.answers().await).await;

    let (address, ui_url, last) = (server.address(), server.ui_url(), server.pid().unwrap());
    server.stop().await;
    assert_eq!(ProcessRef::of(last).command_line(), None);
    assert!(!launch.answers().await);

    let again = DevServer::start(options(dir.path())).await.unwrap();
    assert_eq!((again.address(), again.ui_url()), (address, ui_url));
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_is_adopted_watched_and_stopped() {
    if !cli_is_there() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let orphan = Orphan::start(dir.path()).await;
    let server = DevServer::start(options(dir.path())).await.unwrap();
    assert_eq!(server.pid(), Some(orphan.0));
    signal(orphan.0, SignalKind::Kill);
    eventually("a child in its place", async || {
        server.pid().is_some_and(|pid| pid != orphan.0)
    })
    .await;
    server.stop().await;

    let orphan = Orphan::start(dir.path()).await;
    let server = DevServer::start(options(dir.path())).await.unwrap();
    assert_eq!(server.pid(), Some(orphan.0));
    server.stop().await;
    assert!(!orphan.lives());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_that_no_state_file_names_or_with_other_arguments_is_found() {
    if !cli_is_there() || cfg!(not(target_os = "linux")) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let orphan = Orphan::start(dir.path()).await;
    std::fs::remove_file(dir.path().join("temporal.json")).unwrap();
    let mut other = options(dir.path());
    other.search_attributes = &["ChartliftOutcome"];
    let server = DevServer::start(other).await.unwrap();
    assert!(!orphan.lives());
    assert_ne!(server.pid(), Some(orphan.0));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_want_the_same_port_at_once_get_their_own() {
    if !cli_is_there() {
        return;
    }
    let port = free_port(0).unwrap();
    let start = async || {
        let dir = TempDir::new().unwrap();
        let mut options = options(dir.path());
        (options.grpc_port, options.ui_port) = (port, port);
        (DevServer::start(options).await.unwrap(), dir)
    };
    let ((one, _one_dir), (two, _two_dir)) = tokio::join!(start(), start());
    let ports = [one.port, one.ui_port, two.port, two.ui_port];
    let different: std::collections::BTreeSet<u16> = ports.into();
    assert_eq!(different.len(), 4, "{ports:?}");
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_server_that_ends_at_once_says_why() {
    let dir = TempDir::new().unwrap();
    let launch = Launch::new(&options(dir.path()), "/bin/sh".into()).unwrap();
    let error = start_fresh(launch, &options(dir.path()))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("ended at its start"), "{error}");
    assert!(error.lines().count() > 1, "{error}");
}
