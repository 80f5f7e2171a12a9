#![allow(missing_docs)]
use chartlift_formats::*;
use model::*;
use std::time::Instant;
fn hwm() -> String { std::fs::read_to_string("/proc/self/status").unwrap().lines().filter(|l| l.starts_with("VmHWM")).collect() }
fn main() {
    let ctx = RowContext { source: "https://portal.example/fhir", patient_id: PatientId::new(), connection_id: ConnectionId::new(), export_id: ExportId::new() };
    let mode = std::env::args().nth(1).unwrap();
    for (file, ty) in [("/tmp/fmt/obs.ndjson", "Observation"), ("/tmp/fmt/eob.ndjson", "ExplanationOfBenefit")] {
        let all = std::fs::read(file).unwrap();
        if mode == "gzip" {
            for level in [1, 4, 6, 9] {
                let mut c = libdeflater::Compressor::new(libdeflater::CompressionLvl::new(level).unwrap());
                let mut out = vec![0; 4 << 20];
                let t = Instant::now(); let mut n = 0;
                for m in all.chunks(1 << 20) { n += c.gzip_compress(m, &mut out).unwrap(); }
                let s = t.elapsed().as_secs_f64();
                println!("{ty} gzip {level}: {:.0} MB/s {:.2}x", all.len() as f64 / s / 1e6, all.len() as f64 / n as f64);
            }
            continue;
        }
        let rows: Vec<_> = all.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(|l| (RowMeta { head: read_head(l).unwrap(), change: Change::New, reason: Reason::None, content_hash: content_hash(l), fetched_at: Timestamp(1), batch_seq: 1, settle_seq: 1 }, l)).collect();
        println!("{ty} {} rows, {}", rows.len(), hwm());
        for format in FileFormat::ALL.iter().copied() {
            if mode != "all" && mode != format.as_str() { continue; }
            let t = Instant::now();
            let mut w = PartWriter::new(format, ty, false, PART_SIZE_BYTES_TARGET).unwrap();
            for (r, l) in &rows { w.push(&ctx, r, l).unwrap(); }
            let p = w.finish().unwrap();
            let s = t.elapsed().as_secs_f64();
            let t = Instant::now();
            assert_eq!(count_rows(format, &p.bytes).unwrap(), rows.len() as u64);
            println!("{ty} {format}: {:.0} MB/s {:.2}x {:.0} krows/s; count {:.0} MB/s; {} bytes, {}", all.len() as f64 / s / 1e6, all.len() as f64 / p.bytes.len() as f64, rows.len() as f64 / s / 1e3, all.len() as f64/t.elapsed().as_secs_f64()/1e6, p.bytes.len(), hwm());
            std::fs::write(format!("/tmp/fmt/{ty}.{}", format.extension()), &p.bytes).unwrap();
        }
    }
    if mode == "memory" {
        // Two Parquet parts of incompressible-ish text in flight, target from argument.
        let target: usize = std::env::args().nth(2).unwrap().parse::<usize>().unwrap() << 20;
        let format: FileFormat = std::env::args().nth(3).unwrap().parse().unwrap();
        let mut ws: Vec<_> = (0..2).map(|_| PartWriter::new(format, "Observation", false, target).unwrap()).collect();
        let mut n = 0u64; let base = hwm();
        while !ws.iter().all(|w| w.is_full()) {
            for w in &mut ws { n += 1;
                let text: String = (0..40).map(|k| content_hash(&[n.to_le_bytes(), [k; 8]].concat()).to_string()).collect();
                let r = RowMeta { head: Head { resource_type: "Observation".into(), id: format!("id-{n}"), version_id: None, last_updated: None }, change: Change::New, reason: Reason::None, content_hash: content_hash(text.as_bytes()), fetched_at: Timestamp(1), batch_seq: 1, settle_seq: 1 };
                w.push(&ctx, &r, text.as_bytes()).unwrap(); }
        }
        let a = hwm();
        let parts: Vec<_> = ws.into_iter().map(|w| w.finish().unwrap()).collect();
        println!("{format} target {target}: base {base}, full {a}, finished {}; {:?} {:?}", hwm(), parts.iter().map(|p| p.bytes.len()).collect::<Vec<_>>(), n);
    }
}
