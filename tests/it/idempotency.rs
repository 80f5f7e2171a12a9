//! A POST that many send again and again under one `Idempotency-Key`, while the API
//! is killed at moments that a seed chooses and started again on the same data: one
//! effect, and one answer for everybody.
//!
//! `CHARTLIFT_POSTS` makes it longer (`cargo xtask soak idempotency`: 1,000).

mod effects;
mod posts;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use chartlift_tests::{ApiProcess, App, AppOptions, Random, number};
use db::testing::PostgresDatabase;
use model::Scope;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use worker::embedded::free_port;

use crate::idempotency::posts::Post;

/// Who sends each POST.
const SENDERS: usize = 3;
/// POSTs under way when the API is killed.
const AT_ONCE: usize = 4;
/// A kill comes within so long of the first request, or of the first effect.
const OF_REQUEST_MS: u64 = 150;
const OF_EFFECT_MS: u64 = 6;
/// An effect is waited for so long.
const EFFECT_MAX: Duration = Duration::from_secs(2);
/// Of so many POSTs some are killed between their effect and its answer.
const MANY: usize = 500;
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Between a request that got no answer and the next.
const AGAIN: Duration = Duration::from_millis(15);

/// An answer, and whether it was said to be an earlier one.
#[derive(Debug, Clone)]
struct Told {
    status: u16,
    text: String,
    is_replay: bool,
}

/// What the kills hit.
#[derive(Debug, Default)]
struct Hits {
    kills: u64,
    /// Kills while somebody waited for an answer.
    in_flight: u64,
    /// Effects whose answer was not kept yet.
    unanswered: u64,
}

#[tokio::test(flavor = "multi_thread")]
async fn one_effect_and_one_answer_however_often_the_api_is_killed() -> Result<()> {
    let figures = scene(&[]).await?;
    println!("FIGURES: {}", json!({ "sqlite": figures }));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_effect_and_one_answer_on_postgres() -> Result<()> {
    let Some(database) = PostgresDatabase::create().await else {
        return Ok(());
    };
    let figures = scene(&[("database.url", &database.url())]).await?;
    println!("FIGURES: {}", json!({ "postgres": figures }));
    Ok(())
}

async fn scene(settings: &[(&str, &str)]) -> Result<Value> {
    let count = usize::try_from(number("CHARTLIFT_POSTS", 50))?;
    let seed = number("CHARTLIFT_SEED", 1);
    let port = free_port(0)?.to_string();
    let settings = [settings, &[("api.port", &*port)]].concat();
    let app = App::prepare(AppOptions::with(&settings)).await?;
    let key = app.api_key("sender", Scope::ALL).await?;
    let mut random = Random::new(seed);
    let posts = posts::prepare(&app, count).await?;

    let mut hits = Hits::default();
    let mut process = app.api_process("api-0").await?;
    let mut answers = Vec::new();
    for (round, posts) in posts.chunks(AT_ONCE).enumerate() {
        let waiting = Arc::new(AtomicUsize::new(posts.len() * SENDERS));
        let mut senders = JoinSet::new();
        for (number, post) in posts.iter().enumerate() {
            for _ in 0..SENDERS {
                let (post, waiting) = (post.clone(), Arc::clone(&waiting));
                let (url, key) = (process.url().to_owned(), key.clone());
                senders.spawn(async move {
                    let told = send_until_told(&url, &key, &post).await;
                    waiting.fetch_sub(1, Ordering::Relaxed);
                    told.map(|told| (number, told))
                });
            }
        }
        moment(&app, posts, &mut random).await?;
        hits.kills += 1;
        hits.in_flight += u64::from(waiting.load(Ordering::Relaxed) > 0);
        process = kill_and_start_again(&app, process, round + 1).await?;
        hits.unanswered += unanswered(&app, posts).await?;
        let mut told: Vec<Vec<Told>> = vec![Vec::new(); posts.len()];
        while let Some(sender) = senders.join_next().await {
            let (number, answer) = sender??;
            told[number].push(answer);
        }
        for (post, told) in posts.iter().zip(told) {
            answers.push(one_answer(post, &told)?);
        }
    }
    // Whoever asks much later is told the same.
    let url = process.url().to_owned();
    for (post, answer) in posts.iter().zip(&answers) {
        let again = send_until_told(&url, &key, post).await?;
        ensure!(
            again.is_replay && (again.status, &again.text) == (answer.status, &answer.text),
            "{post:?} was answered {answer:?}, and then {again:?}"
        );
    }
    let told = posts
        .iter()
        .zip(answers.iter().map(|answer| &*answer.text))
        .collect::<Vec<_>>();
    effects::each_happened_once(&app, &url, &told).await?;
    ensure!(hits.in_flight > 0, "no kill hit a request: {hits:?}");
    let are_many = posts.len() >= MANY;
    ensure!(
        hits.unanswered > 0 || !are_many,
        "no kill came between an effect and its answer: {hits:?}"
    );
    app.core.db.close().await;
    Ok(json!({
        "posts": posts.len(),
        "answers": posts.len() * (SENDERS + 1),
        "kills": hits.kills,
        "kills_with_requests_in_flight": hits.in_flight,
        "effects_without_a_kept_answer": hits.unanswered,
    }))
}

/// Waits for a moment to strike: half of them any, half of them shortly after the
/// first effect, when its answer may not be kept yet.
async fn moment(app: &App, posts: &[Post], random: &mut Random) -> Result<()> {
    if random.below(2) == 0 {
        let lag = Duration::from_millis(random.below(OF_REQUEST_MS));
        tokio::time::sleep(lag).await;
        return Ok(());
    }
    let lag = Duration::from_millis(random.below(OF_EFFECT_MS));
    let until = Instant::now() + EFFECT_MAX;
    while Instant::now() < until {
        for post in posts {
            if app.core.db.answered(&post.key).await?.is_some() {
                tokio::time::sleep(lag).await;
                return Ok(());
            }
        }
    }
    Ok(())
}

async fn kill_and_start_again(app: &App, process: ApiProcess, round: usize) -> Result<ApiProcess> {
    let url = process.url().to_owned();
    process.kill()?;
    let process = app.api_process(&format!("api-{round}")).await?;
    ensure!(process.url() == url, "another took the port of {url}");
    Ok(process)
}

/// Effects that happened before the kill and whose answer was not kept.
async fn unanswered(app: &App, posts: &[Post]) -> Result<u64> {
    let mut count = 0;
    for post in posts {
        let answered = app.core.db.answered(&post.key).await?;
        count += u64::from(answered.is_some_and(|answered| answered.answer.is_none()));
    }
    Ok(count)
}

/// Sends until there is an answer that is not "in a moment".
async fn send_until_told(url: &str, key: &str, post: &Post) -> Result<Told> {
    let until = Instant::now() + ANSWER_MAX;
    // A new client each time, so that no sender gets a connection of another.
    let http = reqwest::Client::new();
    while Instant::now() < until {
        let request = http
            .post(format!("{url}{}", post.path))
            .bearer_auth(key)
            .header("idempotency-key", &post.key)
            .header("content-type", "application/json")
            .body(post.body.to_string());
        if let Some(told) = told(request).await {
            return Ok(told);
        }
        tokio::time::sleep(AGAIN).await;
    }
    bail!("no answer within {ANSWER_MAX:?} to {post:?}")
}

/// The whole answer; none if the API was killed meanwhile, or is answering another.
async fn told(request: reqwest::RequestBuilder) -> Option<Told> {
    let reply = request.send().await.ok()?;
    let (status, is_replay) = (
        reply.status().as_u16(),
        reply.headers().contains_key("idempotency-replayed"),
    );
    let text = reply.text().await.ok()?;
    let is_in_progress = status == 409 && text.contains("\"idempotency_in_progress\"");
    (!is_in_progress).then_some(Told {
        status,
        text,
        is_replay,
    })
}

/// The answer that all were given.
fn one_answer(post: &Post, told: &[Told]) -> Result<Told> {
    let first = told.first().context("every POST has a sender")?.clone();
    ensure!(
        told.len() == SENDERS
            && (200..300).contains(&first.status)
            && told
                .iter()
                .all(|other| (other.status, &other.text) == (first.status, &first.text)),
        "{post:?} was answered {told:#?}"
    );
    Ok(first)
}
