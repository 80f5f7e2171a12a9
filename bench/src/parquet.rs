//! `parquet`: a connection's log as Parquet of the published columns, beside
//! DuckDB from NDJSON, one thread each.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use formats::{PART_SIZE_BYTES_TARGET, PartWriter, RowContext};
use model::{ConnectionId, ExportId, FileFormat, PatientId};
use records::{BatchRef, Index, SpanReader, Store};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::compare::Ratio;
use crate::corpus::Corpus;
use crate::process::{Runs, measure};
use crate::record::Record;
use crate::side::Side;

/// DuckDB's side and the check, both in Python.
const SCRIPT: &str = include_str!("parquet/duckdb_side.py");

/// Why there is no peer.
pub(crate) const NO_PYTHON: &str =
    "there is no Python with DuckDB: run `cargo xtask test` once, or name one in CHARTLIFT_PYTHON";

/// Our side: writes a log of one batch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Work {
    store: PathBuf,
    batch_key: String,
    index_key: String,
    connection: ConnectionId,
    out: PathBuf,
}

impl Work {
    pub(crate) async fn run(self) -> Result<Value> {
        let span = self.open().await?;
        let about = RowContext {
            source: "http://127.0.0.1/fhir",
            patient_id: PatientId::new(),
            connection_id: self.connection,
            export_id: ExportId::new(),
        };
        let (mut row_count, mut size_bytes) = (0, 0);
        for (name, _) in span.types() {
            let (mut rows, mut number) = (span.rows_of(name), 0);
            let mut writer = None;
            while let Some(frame) = rows.next_frame().await? {
                for row in frame {
                    let open = match &mut writer {
                        Some(open) => open,
                        None => writer.insert(PartWriter::new(
                            FileFormat::Parquet,
                            name,
                            false,
                            PART_SIZE_BYTES_TARGET,
                        )?),
                    };
                    open.push(&about, &row.meta, &row.text)?;
                    row_count += 1;
                    if let Some(full) = writer.take_if(|open| open.is_full()) {
                        size_bytes += self.write(full, name, &mut number)?;
                    }
                }
            }
            if let Some(last) = writer {
                size_bytes += self.write(last, name, &mut number)?;
            }
        }
        Ok(json!({ "row_count": row_count, "size_bytes": size_bytes }))
    }

    async fn open(&self) -> Result<SpanReader> {
        let store = Store::open_local(&self.store)?;
        let index = Index::load(&store, &self.index_key).await?;
        let batch = BatchRef {
            seq: 1,
            key: self.batch_key.clone(),
        };
        Ok(SpanReader::open(&store, &[batch], 0, 1, Some(&index)).await?)
    }

    fn write(&self, part: PartWriter, name: &str, number: &mut u32) -> Result<usize> {
        let part = part.finish()?;
        let file = self.out.join(format!("{name}.{number}.parquet"));
        std::fs::write(&file, &part.bytes).with_context(|| format!("write {}", file.display()))?;
        *number += 1;
        Ok(part.bytes.len())
    }

    /// The same rows as NDJSON, one file a type, for the rival.
    async fn write_ndjson(&self, folder: &Path) -> Result<()> {
        let span = self.open().await?;
        for (name, _) in span.types() {
            let file = std::fs::File::create(folder.join(format!("{name}.ndjson")))
                .context("create NDJSON")?;
            let mut file = std::io::BufWriter::new(file);
            let mut rows = span.rows_of(name);
            while let Some(frame) = rows.next_frame().await? {
                for row in frame {
                    file.write_all(&row.text)?;
                    file.write_all(b"\n")?;
                }
            }
            file.into_inner().context("write NDJSON")?.sync_all()?;
        }
        Ok(())
    }
}

/// The Python of the tests: the one named, or the newest in the cache.
pub(crate) fn python() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CHARTLIFT_PYTHON") {
        return Some(named.into());
    }
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/chartlift"));
    let cache = std::env::var_os("CHARTLIFT_CACHE")
        .map(PathBuf::from)
        .or_else(home)?;
    let folders = std::fs::read_dir(cache)
        .ok()?
        .flatten()
        .map(|entry| entry.path());
    let is_venv = |folder: &PathBuf| {
        let name = folder.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("python-")) && folder.join(".complete").is_file()
    };
    let newest = folders
        .filter(is_venv)
        .max_by_key(|folder| folder.metadata().and_then(|meta| meta.modified()).ok())?;
    Some(newest.join("bin/python"))
}

/// Compares both writers.
pub(crate) async fn run(
    corpus: &Corpus,
    folder: &Path,
    repeats: u32,
    python: &Path,
) -> Result<Value> {
    eprintln!(
        "parquet: preparing {} resources, {} MB",
        corpus.resources,
        corpus.raw_bytes() / 1_000_000
    );
    let store = folder.join("store");
    let record = Record::create(&store, corpus).await?;
    let (ndjson, out, rival_out) = (
        folder.join("ndjson"),
        folder.join("chartlift"),
        folder.join("duckdb"),
    );
    for folder in [&ndjson, &out, &rival_out] {
        std::fs::create_dir_all(folder).context("create a folder")?;
    }
    let script = folder.join("duckdb_side.py");
    std::fs::write(&script, SCRIPT).context("write the script")?;
    let work = Work {
        store,
        batch_key: record.batch.key,
        index_key: record.index_key,
        connection: record.connection,
        out: out.clone(),
    };
    work.write_ndjson(&ndjson).await?;
    let (mut ours, mut rival) = (Runs::default(), Runs::default());
    for repeat in 0..repeats {
        ours.0.push(Side::Parquet(work.clone()).run()?);
        let arguments = [
            script.as_os_str(),
            "convert".as_ref(),
            ndjson.as_ref(),
            rival_out.as_ref(),
        ];
        rival.0.push(measure(python, &arguments)?);
        if repeat == 0 {
            let arguments = [
                script.as_os_str(),
                "check".as_ref(),
                out.as_ref(),
                rival_out.as_ref(),
            ];
            let said = measure(python, &arguments)?.said;
            ensure!(said["first"] == said["second"], "the files differ: {said}");
            ensure!(
                said["first"][0] == corpus.resources,
                "rows are missing: {said}"
            );
        }
    }
    let megabytes = ours.cpu_s().per(corpus.raw_bytes() as f64 / 1e6);
    let (cpu, memory) = (
        Ratio::of(rival.cpu_s(), ours.cpu_s()),
        Ratio::of(rival.rss_mb(), ours.rss_mb()),
    );
    eprintln!(
        "parquet   chartlift {} cpu s   {:.0} MB per cpu s   {} MB peak",
        ours.cpu_s(),
        megabytes.med,
        ours.rss_mb()
    );
    eprintln!(
        "          DuckDB    {} cpu s   {cpu}   {} MB peak, {memory}",
        rival.cpu_s(),
        rival.rss_mb()
    );
    let size = |runs: &Runs| runs.0.first().map(|spent| spent.said["size_bytes"].clone());
    Ok(json!({
        "raw_bytes": corpus.raw_bytes(),
        "chartlift": ours.to_json(),
        "megabytes_per_cpu_s": megabytes.to_json(),
        "size_bytes": size(&ours),
        "duckdb": rival.to_json(),
        "duckdb_version": rival.0.first().map(|spent| spent.said["version"].clone()),
        "duckdb_size_bytes": size(&rival),
        "cpu_ratio_to_duckdb": cpu.to_json(),
        "rss_ratio_to_duckdb": memory.to_json(),
    }))
}
