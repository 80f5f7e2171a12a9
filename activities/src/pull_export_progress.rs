//! The saved progress of an export: where its status stands, which of its files are
//! read, and how far. The URLs in it may be all it takes to read a record, so it is
//! stored sealed and goes nowhere else.

use std::collections::{BTreeMap, BTreeSet};

use model::{Timestamp, TypeNote};
use serde::{Deserialize, Serialize};
use source::{ExportFile, FileKind, Issues, Manifest, RawLine, is_in_compartment};
use steps::TypeProgress;

use crate::pull_sieve::{Sieve, Told};
use crate::pull_strategy::remark;

/// The type whose line tells what an export says of itself.
pub(crate) const OUTCOME: &str = "OperationOutcome";

/// Resources of other patients after which an export is given up: it is not of one
/// patient.
const OTHERS_MAX: u64 = 100;

/// Where an export stands.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ExportProgress {
    pub(crate) sieve: Sieve,
    /// The handle by which any attempt goes on; none before the export is asked for.
    pub(crate) status_url: Option<String>,
    /// When it was asked for, by our clock.
    pub(crate) begun_at: Option<Timestamp>,
    /// How often one was asked for.
    pub(crate) begun_count: u32,
    /// How often its status was asked for.
    pub(crate) polls: u32,
    /// How often in a row the source asked to wait.
    pub(crate) waits: u32,
    /// How often in a row the source failed.
    pub(crate) failures: u32,
    /// How often in a row a file was not to be had any more.
    pub(crate) stale: u32,
    pub(crate) manifest: Option<Manifest>,
    /// Its URLs are not good any more, and it is to be asked for again.
    pub(crate) is_manifest_old: bool,
    /// How far each file of the manifest is read.
    pub(crate) files: Vec<FileProgress>,
    /// What the source's outcomes tell.
    pub(crate) errors: u64,
    pub(crate) warnings: u64,
    /// What the source says is gone and was staged as such, by type.
    pub(crate) gone: BTreeMap<String, u64>,
    pub(crate) staging_count: u64,
    pub(crate) end: Option<ExportEnd>,
}

/// How far a file is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct FileProgress {
    /// Lines that are staged.
    pub(crate) lines: u64,
    /// A hash over them: a file that begins otherwise is another one.
    pub(crate) hash: u64,
    pub(crate) end: Option<FileEnd>,
}

/// How a file ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FileEnd {
    Read,
    GivenUp,
}

/// How an export ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExportEnd {
    /// Its files are read, as far as they could be.
    Read,
    /// The source does not export, for whomever it is asked.
    Refused,
    /// It came to nothing this time.
    Failed,
}

impl ExportProgress {
    pub(crate) fn new(sieve: Sieve) -> Self {
        Self {
            sieve,
            ..Self::default()
        }
    }

    /// The next file to read.
    pub(crate) fn next_file(&self) -> Option<usize> {
        self.files.iter().position(|file| file.end.is_none())
    }

    pub(crate) fn file(&self, at: usize) -> Option<&ExportFile> {
        self.manifest.as_ref()?.files.get(at)
    }

    /// Takes over a manifest. One of the same files at other URLs, which it is after
    /// those have expired, goes on where the files were read to.
    pub(crate) fn take_manifest(&mut self, manifest: Manifest) {
        let shape = |of: &Manifest| {
            let files = of.files.iter();
            let files: Vec<_> = files
                .map(|file| (file.kind, file.resource_type.clone(), file.count))
                .collect();
            (of.transaction_time.clone(), files)
        };
        let is_same = self.manifest.as_ref().is_some_and(|known| {
            shape(known) == shape(&manifest) && self.files.len() == manifest.files.len()
        });
        if !is_same {
            self.files = vec![FileProgress::default(); manifest.files.len()];
        }
        self.manifest = Some(manifest);
        self.is_manifest_old = false;
    }

    /// Whether it is so much of other patients that it was not made for this one.
    pub(crate) fn holds_others(&self) -> bool {
        self.sieve.other_count() > OTHERS_MAX
    }

    /// Forgets an export that the source has forgotten.
    pub(crate) fn forget(&mut self) {
        self.status_url = None;
        self.manifest = None;
        self.is_manifest_old = false;
        self.files.clear();
        (self.polls, self.stale) = (0, 0);
        (self.errors, self.warnings) = (0, 0);
    }

    pub(crate) fn take_issues(&mut self, issues: Issues) {
        self.errors += issues.errors;
        self.warnings += issues.others;
        self.sieve.ignore(OUTCOME);
    }

    /// The types that the export vouches for: all were asked for, so one of the
    /// compartment without a file is empty, unless the export tells of errors, or a
    /// file that may hold it was not read. What lies beside the compartment no export
    /// need hold.
    pub(crate) fn had(&self) -> BTreeSet<String> {
        let manifest = self.manifest.iter().flat_map(|of| &of.files);
        let files = manifest.zip(&self.files);
        let unread: Vec<&ExportFile> = files
            .filter(|(_, progress)| progress.end != Some(FileEnd::Read))
            .map(|(file, _)| file)
            .collect();
        let is_lost = |name: &str| {
            unread.iter().any(|file| match file.kind {
                FileKind::Resources => file.resource_type.as_deref().is_none_or(|of| of == name),
                // Nobody knows what it would have told.
                FileKind::Outcomes => true,
                FileKind::Deletions => false,
            })
        };
        let vouches = self.end == Some(ExportEnd::Read) && self.errors == 0;
        let names = self.sieve.wanted().filter(|name| {
            vouches
                && !is_lost(name)
                && self.sieve.is_clear(name)
                && (is_in_compartment(name) || self.sieve.has(name))
        });
        names.map(str::to_owned).collect()
    }

    /// Whether everything of the export was read, and nothing speaks against it.
    fn is_whole(&self) -> bool {
        self.end == Some(ExportEnd::Read)
            && self.errors == 0
            && self
                .files
                .iter()
                .all(|file| file.end == Some(FileEnd::Read))
    }

    /// The lines of its types.
    pub(crate) fn lines(&self) -> Vec<TypeProgress> {
        let mut lines = self.sieve.progress(&Told {
            way: TypeNote::BY_EXPORT,
            had: &self.had(),
            may_lack: false,
            is_over: self.end.is_some(),
        });
        for line in lines
            .iter_mut()
            .filter(|line| line.resource_type == OUTCOME)
        {
            for (code, count) in [
                (TypeNote::EXPORT_ERRORS, self.errors),
                (TypeNote::EXPORT_WARNINGS, self.warnings),
            ] {
                if count > 0 {
                    line.notes.push(TypeNote::counted(code, count));
                }
            }
        }
        match self.end {
            Some(ExportEnd::Refused) => remark(&mut lines, TypeNote::STRATEGY_REFUSED),
            Some(_) if !self.is_whole() => remark(&mut lines, TypeNote::STRATEGY_FAILED),
            _ => {}
        }
        lines
    }
}

impl FileProgress {
    /// The progress after one more line.
    pub(crate) fn after(self, line: &RawLine) -> Self {
        let text: &[u8] = match line {
            RawLine::Text(text) => text,
            RawLine::TooLarge => &[],
        };
        let hash = xxhash_rust::xxh3::xxh3_64_with_seed(text, self.hash);
        Self {
            lines: self.lines + 1,
            hash,
            ..self
        }
    }
}
