//! The files of an export: read line by line into staging, and gone on with at the
//! line after the last one that is durable. A file that is read again and does not
//! begin as before is read anew.

use std::collections::{BTreeMap, BTreeSet};

use model::{Reason, RejectReason, Timestamp, is_shared_type};
use source::{
    ExportFile, ExportLines, FileKind, Line, RawLine, deleted_line, issues_line, resource_line,
};

use crate::failure::Failure;
use crate::pull_export::{Export, Next};
use crate::pull_export_progress::{FileEnd, FileProgress};
use crate::pull_settle;
use crate::pull_sieve::PATIENT;
use crate::source_verdicts::{Asked, SourceVerdict, on_source};

/// Lines between two looks at the clock.
const LINES_BETWEEN: u64 = 256;
/// How often in a row a file that is not to be had any more leads back to the
/// manifest, which may name it elsewhere.
const STALE_MAX: u32 = 2;
/// The source's word that resources are gone is not taken for so many of a type at
/// once, if they are more than this share of its live ones: those that are absent are
/// then looked into like any others.
const GONE_COUNT_MIN: u64 = 10;
const GONE_PERCENT_MAX: u64 = 20;

/// How the reading of a file stopped.
enum Stopped {
    /// At its end.
    Done,
    /// The step has used up its time.
    Spent,
    /// It is another file than before, or too short.
    Other,
}

impl Export<'_> {
    /// Reads a file, from where it was read to.
    pub(crate) async fn read(&mut self, at: usize) -> Result<Next, Failure> {
        let Some(file) = self.progress.file(at).cloned() else {
            return Err(Failure::last("internal", "an export without this file"));
        };
        let manifest = self.progress.manifest.as_ref();
        let needs_token = manifest.is_none_or(|of| of.requires_access_token);
        let stopped = match self.client.export_lines(&file, needs_token).await {
            Ok(lines) => self.lines(at, &file, lines).await?,
            Err(error) => Err(error),
        };
        match stopped {
            Ok(Stopped::Done) => {
                self.progress.files[at].end = Some(FileEnd::Read);
                self.progress.sieve.line(type_of(&file)).pages += 1;
                self.fetch.pages += 1;
                let progress = &mut self.progress;
                (progress.waits, progress.failures, progress.stale) = (0, 0, 0);
                Ok(Next::Go)
            }
            Ok(Stopped::Spent) => Ok(Next::Go),
            Ok(Stopped::Other) => {
                self.progress.files[at] = FileProgress::default();
                Ok(self.stale(at))
            }
            Err(error) => self.not_read(at, error).await,
        }
    }

    async fn not_read(&mut self, at: usize, error: source::Error) -> Result<Next, Failure> {
        match on_source(Asked::Export, &error) {
            SourceVerdict::Restart => Ok(self.stale(at)),
            // Where its files lie says nothing of the source itself.
            SourceVerdict::Fail(guard::ADDRESS_REFUSED) | SourceVerdict::End(..) => {
                Ok(self.give_up(at))
            }
            SourceVerdict::Retry(_, tries) if self.progress.failures + 1 >= tries => {
                Ok(self.give_up(at))
            }
            verdict => self.after(verdict, error).await,
        }
    }

    /// The file is not to be had at its URL, which may be too old: the manifest is
    /// asked for again, or the export itself where that is forgotten too.
    fn stale(&mut self, at: usize) -> Next {
        if self.progress.stale >= STALE_MAX {
            return self.give_up(at);
        }
        self.progress.stale += 1;
        self.progress.is_manifest_old = true;
        Next::Go
    }

    fn give_up(&mut self, at: usize) -> Next {
        self.progress.files[at].end = Some(FileEnd::GivenUp);
        let progress = &mut self.progress;
        (progress.waits, progress.failures, progress.stale) = (0, 0, 0);
        Next::Go
    }

    /// Reads the lines of a file. An answer that broke off is the inner error.
    async fn lines(
        &mut self,
        at: usize,
        file: &ExportFile,
        mut lines: ExportLines,
    ) -> Result<Result<Stopped, source::Error>, Failure> {
        if file.kind == FileKind::Deletions {
            return self.deletions(lines).await;
        }
        let before = self.progress.files[at];
        let mut now = FileProgress::default();
        loop {
            let line = match lines.next().await {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(error) => return Ok(Err(error)),
            };
            now = now.after(&line);
            if now.lines <= before.lines {
                if now.lines == before.lines && now.hash != before.hash {
                    return Ok(Ok(Stopped::Other));
                }
                continue;
            }
            self.take(file, line)?;
            self.progress.files[at] = now;
            if self.fetch.staging.ready() {
                self.save().await?;
            }
            if now.lines.is_multiple_of(LINES_BETWEEN) && self.is_enough() {
                return Ok(Ok(Stopped::Spent));
            }
        }
        let is_short = now.lines < before.lines || file.count.is_some_and(|of| now.lines < of);
        Ok(Ok(if is_short {
            Stopped::Other
        } else {
            Stopped::Done
        }))
    }

    /// Takes a line of resources or outcomes.
    fn take(&mut self, file: &ExportFile, line: RawLine) -> Result<(), Failure> {
        let name = type_of(file);
        let RawLine::Text(text) = line else {
            self.progress.sieve.reject(name, RejectReason::TooLarge);
            return Ok(());
        };
        if file.kind == FileKind::Outcomes {
            self.progress.take_issues(issues_line(&text));
            return Ok(());
        }
        let sieve = &mut self.progress.sieve;
        match resource_line(&text) {
            Line::Resource(resource) => {
                let patient = &self.connection.source_patient_id;
                if sieve.takes(&resource, patient, &self.base, false) {
                    self.fetch.staging.push(&resource, Timestamp::now())?;
                }
            }
            Line::Ignored => sieve.ignore(name),
            Line::Rejected(reason) => sieve.reject(name, reason),
        }
        Ok(())
    }

    /// Stages what the source says is gone, as far as it is known here. The patient is
    /// read in any case, and of what several patients share only a read is believed.
    async fn deletions(
        &mut self,
        mut lines: ExportLines,
    ) -> Result<Result<Stopped, source::Error>, Failure> {
        let (context, connection) = (self.fetch.context, self.connection.summary.id);
        let index = pull_settle::log_index(context, connection).await?;
        let mut named: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        loop {
            let line = match lines.next().await {
                Ok(Some(RawLine::Text(line))) => line,
                Ok(Some(RawLine::TooLarge)) => continue,
                Ok(None) => break,
                Err(error) => return Ok(Err(error)),
            };
            for (name, id) in deleted_line(&line, &self.base) {
                let is_live = index.get(&name, &id).is_some_and(|of| !of.is_tombstone);
                if is_live && name != PATIENT && !is_shared_type(&name) {
                    named.entry(name).or_default().insert(id);
                }
            }
        }
        let now = Timestamp::now();
        for (name, ids) in named {
            let live = index.iter().filter(|of| !of.is_tombstone);
            let live = live.filter(|of| of.resource_type == name).count() as u64;
            let gone = self.progress.gone.entry(name.clone()).or_default();
            *gone += ids.len() as u64;
            if *gone >= GONE_COUNT_MIN && *gone * 100 > live * GONE_PERCENT_MAX {
                continue;
            }
            for entry in ids.iter().filter_map(|id| index.get(&name, id)) {
                let reason = Reason::SourceDeleted;
                self.fetch.staging.push_gone(&entry, reason, now)?;
            }
        }
        Ok(Ok(Stopped::Done))
    }

    fn is_enough(&self) -> bool {
        self.fetch.is_spent() || self.progress.holds_others()
    }
}

/// The type under which what has none of its own is counted.
fn type_of(file: &ExportFile) -> &str {
    file.resource_type.as_deref().unwrap_or(PATIENT)
}
