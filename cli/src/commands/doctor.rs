//! `chartlift doctor`: one line a check, and what to do about each that fails.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use config::Settings;
use temporalio_client::Client;
use temporalio_client::tonic::IntoRequest;
use temporalio_common::protos::temporal::api::enums::v1::TaskQueueType;
use temporalio_common::protos::temporal::api::operatorservice::v1::ListSearchAttributesRequest;
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflowservice::v1::DescribeTaskQueueRequest;
use url::Url;
use worker::{Core, OpenMode};

use crate::args::GlobalArguments;
use crate::deployment::{must_exist, quiet_log};
use crate::output::{print_line, sentences};

/// How long Temporal may take to answer.
const TEMPORAL_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Checks {
    failed: usize,
}

impl Checks {
    /// Notes a check; a failed one with its causes and what to do.
    fn note<T>(&mut self, what: &str, result: Result<T>, todo: &str) -> Option<T> {
        match result {
            Ok(value) => {
                print_line(&format!("✓ {what}"));
                Some(value)
            }
            Err(error) => {
                self.failed += 1;
                print_line(&format!("✗ {what}: {}", sentences(&error).join(": ")));
                print_line(&format!("    → {todo}"));
                None
            }
        }
    }
}

/// What `doctor` takes.
#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    /// Only settings, database and Temporal, and write nothing: for a health check
    #[arg(long)]
    quick: bool,
}

pub(crate) async fn run(global: &GlobalArguments, arguments: &DoctorArguments) -> Result<ExitCode> {
    let mut checks = Checks::default();
    check(&mut checks, global, arguments.quick).await?;
    Ok(if checks.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

async fn check(checks: &mut Checks, global: &GlobalArguments, is_quick: bool) -> Result<()> {
    let todo = "correct the setting; `chartlift config` prints those in force";
    let Some(settings) = checks.note("settings", global.settings(), todo) else {
        return Ok(());
    };
    quiet_log(&settings)?;
    let opened = async {
        must_exist(&settings)?;
        Core::open(settings.clone(), OpenMode::RequireCurrent).await
    };
    let todo = "`chartlift migrate` makes or updates the database; the folder must be writable and its key the same";
    let core = checks.note("database, key and migrations", opened.await, todo);
    check_temporal(checks, &settings).await;
    let Some(core) = core.filter(|_| !is_quick) else {
        return Ok(());
    };
    let todo = "bring back the newer database, or run `chartlift recover`";
    let current = core.confirm_current().await;
    checks.note("the database is as new as its record store", current, todo);
    let todo = "make the folder of `records.location` writable, with space left; in S3, check bucket, key and its rights";
    checks.note(
        "record store: written, created once only, read, deleted",
        core.store.probe().await.map_err(Into::into),
        todo,
    );
    check_sources(checks, &core).await?;
    check_destinations(checks, &core).await
}

/// Whether each source may be asked; whether it answers is for its pulls to say.
async fn check_sources(checks: &mut Checks, core: &Core) -> Result<()> {
    let todo = "if this server is meant, add its address or host to `guard.allow`; otherwise `chartlift source disable` it";
    for source in core.db.sources().await? {
        let admitted = async {
            let url = Url::parse(&source.base_url).context("its base URL cannot be read")?;
            Ok(core.guard.admit(&url).await?)
        };
        let what = format!("source `{}`: its address may be connected to", source.name);
        checks.note(&what, admitted.await, todo);
    }
    Ok(())
}

async fn check_temporal(checks: &mut Checks, settings: &Settings) {
    let todo = "start `chartlift up`, or set `temporal.address` to a server that is up";
    let reached = match address(settings) {
        Ok(address) => {
            let connect = worker::connect(&address, &settings.temporal.namespace);
            let connected = tokio::time::timeout(TEMPORAL_PATIENCE, connect).await;
            connected
                .unwrap_or_else(|_| bail!("no answer from {address} within {TEMPORAL_PATIENCE:?}"))
        }
        Err(error) => Err(error),
    };
    let namespace = &settings.temporal.namespace;
    let Some(client) = checks.note(&format!("Temporal, namespace `{namespace}`"), reached, todo)
    else {
        return;
    };
    let todo = "`temporal operator search-attribute create --type Keyword --name …`, once for each";
    let attributes = has_search_attributes(&client, namespace).await;
    checks.note(
        "the search attributes of our workflows are registered",
        attributes,
        todo,
    );
    for queue in [
        steps::PULL_QUEUE,
        steps::EXPORT_QUEUE,
        steps::MAINTAIN_QUEUE,
    ] {
        let queue = format!("{}{queue}", settings.temporal.task_queue_prefix);
        let polled = is_polled(&client, namespace, &queue).await;
        let todo = "start `chartlift up` or `chartlift worker` with the same `temporal` settings";
        checks.note(&format!("a worker on task queue `{queue}`"), polled, todo);
    }
}

/// The configured server, or the child of the `up` or `demo` that last ran here.
fn address(settings: &Settings) -> Result<String> {
    if !settings.temporal.is_embedded() {
        return Ok(settings.temporal.address.clone());
    }
    let none = "none is configured and no `up` or `demo` has run in the data folder";
    let text = std::fs::read(settings.data.dir.join("temporal.json")).context(none)?;
    let state: serde_json::Value = serde_json::from_slice(&text).context("read temporal.json")?;
    let port = state["port"]
        .as_u64()
        .context("temporal.json names no port")?;
    Ok(format!("http://127.0.0.1:{port}"))
}

/// Without them no workflow starts: our own dev server has them, another may not.
async fn has_search_attributes(client: &Client, namespace: &str) -> Result<()> {
    let request = ListSearchAttributesRequest {
        namespace: namespace.to_owned(),
    };
    let mut service = client.connection().operator_service();
    let answer = service.list_search_attributes(request.into_request());
    let answer = tokio::time::timeout(TEMPORAL_PATIENCE, answer)
        .await
        .context("no answer in time")?
        .map_err(|status| anyhow::anyhow!("the server answered {}", status.code()))?
        .into_inner();
    let missing: Vec<&str> = steps::SEARCH_ATTRIBUTES
        .iter()
        .copied()
        .filter(|name| !answer.custom_attributes.contains_key(*name))
        .collect();
    ensure!(missing.is_empty(), "{} are missing", missing.join(", "));
    Ok(())
}

async fn is_polled(client: &Client, namespace: &str, queue: &str) -> Result<()> {
    for kind in [TaskQueueType::Workflow, TaskQueueType::Activity] {
        let request = DescribeTaskQueueRequest {
            namespace: namespace.to_owned(),
            task_queue: Some(TaskQueue {
                name: queue.to_owned(),
                ..TaskQueue::default()
            }),
            task_queue_type: kind.into(),
            ..DescribeTaskQueueRequest::default()
        };
        let mut service = client.connection().workflow_service();
        let answer = service.describe_task_queue(request.into_request());
        let answer = tokio::time::timeout(TEMPORAL_PATIENCE, answer)
            .await
            .context("no answer in time")?;
        // A status may repeat what was sent; its code is enough.
        let answer =
            answer.map_err(|status| anyhow::anyhow!("the server answered {}", status.code()))?;
        ensure!(!answer.into_inner().pollers.is_empty(), "nobody polls it");
    }
    Ok(())
}

async fn check_destinations(checks: &mut Checks, core: &Core) -> Result<()> {
    let todo = "mount the folder, give it space and write permission; in S3, check bucket, key and its rights; or `chartlift destination disable` it";
    let destinations = core.destinations();
    for destination in core.db.destinations().await? {
        let what = format!(
            "destination `{}`{}",
            destination.name,
            if destination.enabled {
                ""
            } else {
                " (disabled)"
            }
        );
        let checked = async {
            if destination.awaits_test {
                bail!("it has not passed its test");
            }
            destinations
                .open(destination.id, &destination.location)
                .await?
                .check()
                .await?;
            Ok(())
        };
        let todo = if destination.awaits_test {
            "`chartlift destination test` says why; mended and tested again, it is enabled"
        } else {
            todo
        };
        checks.note(&what, checked.await, todo);
    }
    Ok(())
}
