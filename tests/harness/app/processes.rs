//! The processes of a deployment under test: starting, ending, and reading what they log.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::App;
use crate::Node;
use crate::node::STOP_MAX;

/// How long `chartlift up` may take to open its database and listen.
const API_MAX: Duration = Duration::from_secs(60);
/// The log that [`crate::StepLog`] reads.
const JSON_LOG: (&str, &str) = ("CHARTLIFT_LOG__FORMAT", "json");

impl App {
    /// Starts `chartlift up`. With further variables it is alone, so that what they
    /// provoke is not done by another; else beside the other workers that the options
    /// ask for.
    pub fn up(&mut self, variables: &[(&str, &str)]) -> Result<()> {
        self.log = self.dir.path().join("node.log");
        self.nodes = vec![self.spawn("up", &self.log, variables)?];
        let others = if variables.is_empty() {
            self.workers
        } else {
            1
        };
        for number in 1..others {
            let log = self.dir.path().join(format!("other-{number}.log"));
            self.nodes.push(self.spawn("worker", &log, &[])?);
        }
        Ok(())
    }

    /// Starts `chartlift worker`, as often as the options say, in the place of the
    /// processes before, each with a log of its own.
    pub fn work(&mut self, variables: &[(&str, &str)]) -> Result<()> {
        self.nodes.clear();
        for number in 0..self.workers {
            self.work_as(number, variables)?;
        }
        Ok(())
    }

    /// Starts `chartlift worker` in the place of one of the processes before.
    pub fn work_as(&mut self, number: usize, variables: &[(&str, &str)]) -> Result<()> {
        self.generation += 1;
        let log = format!("worker-{}.log", self.generation);
        let log = self.dir.path().join(log);
        let node = self.spawn("worker", &log, &[&[JSON_LOG], variables].concat())?;
        if number == 0 {
            self.log = log;
        }
        if number < self.nodes.len() {
            self.nodes[number] = node;
        } else {
            self.nodes.push(node);
        }
        Ok(())
    }

    /// The logs of all workers so far.
    #[must_use]
    pub fn worker_logs(&self) -> Vec<PathBuf> {
        let name = |number| self.dir.path().join(format!("worker-{number}.log"));
        (1..=self.generation).map(name).collect()
    }

    /// Starts a further worker, which is the caller's to end.
    pub fn further_worker(&self, name: &str, variables: &[(&str, &str)]) -> Result<Node> {
        let log = self.dir.path().join(format!("{name}.log"));
        self.spawn("worker", &log, &[&[JSON_LOG], variables].concat())
    }

    pub(crate) fn spawn(
        &self,
        command: &str,
        log: &Path,
        variables: &[(&str, &str)],
    ) -> Result<Node> {
        let own = variables
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let mut environment = self.environment(&[]);
        environment.extend(own);
        Node::spawn(&[command], &environment, log)
    }

    /// The settings of its processes as variables, but for these.
    #[must_use]
    pub fn environment(&self, but_for: &[(String, String)]) -> Vec<(String, String)> {
        let settings = self.settings.iter().chain(but_for);
        settings
            .map(|(key, value)| {
                let name = format!("CHARTLIFT_{}", key.to_uppercase().replace('.', "__"));
                (name, value.clone())
            })
            .collect()
    }

    /// Runs the command line on this deployment.
    pub fn chartlift(&self, arguments: &[&str]) -> Result<Output> {
        Ok(Command::new(crate::binary())
            .args(arguments)
            .env_remove("TEMPORAL_ADDRESS")
            .envs(self.environment(&[]))
            .output()?)
    }

    /// The API of `chartlift up`, and its first key, as it prints them.
    pub async fn api(&mut self) -> Result<(String, String)> {
        let word = |text: &str, label: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(label));
            line.and_then(|line| line.split_whitespace().next().map(str::to_owned))
        };
        let mut found = None;
        self.until(API_MAX, "the API listens", async |app: &mut Self| {
            let text = std::fs::read_to_string(app.log())?;
            found = word(&text, "API          ").zip(word(&text, "API key      "));
            Ok(found.is_some())
        })
        .await?;
        found.context("the API was there")
    }

    /// Where the process logs to.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.log.clone()
    }

    /// All that the running processes have logged so far.
    pub fn logged(&self) -> Result<String> {
        let logs = self
            .nodes
            .iter()
            .map(|node| std::fs::read_to_string(node.log()));
        Ok(logs.collect::<std::io::Result<Vec<String>>>()?.concat())
    }

    /// The running process, or the first of them.
    pub fn node(&mut self) -> &mut Node {
        self.nodes.first_mut().expect("up() comes first")
    }

    /// All running processes.
    pub fn nodes(&mut self) -> &mut [Node] {
        &mut self.nodes
    }

    /// Ends the processes, drained.
    pub fn down(&mut self) -> Result<()> {
        let mut nodes = std::mem::take(&mut self.nodes);
        for node in &nodes {
            node.ask_to_stop()?;
        }
        for node in &mut nodes {
            let status = node.wait(STOP_MAX)?;
            if !status.success() {
                bail!("chartlift ended with {status}; log:\n{}", node.tail());
            }
        }
        Ok(())
    }
}
