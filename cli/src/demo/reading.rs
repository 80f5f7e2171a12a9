//! One line each that reads what was delivered, with tools of others. The file
//! lists come from the publications: a glob over the folders would see parts
//! that do not count.

use super::setup::Scene;
use model::FileFormat;

/// A name and a shell line for each destination.
pub(super) fn lines(scene: &Scene) -> Vec<(&'static str, String)> {
    let line = |destination: &db::Destination| match destination.format {
        FileFormat::Parquet => ("DuckDB", duckdb(&destination.location)),
        _ => ("Python", python(&destination.location)),
    };
    scene.destinations.iter().map(line).collect()
}

/// Rows per type of a Parquet destination.
fn duckdb(folder: &str) -> String {
    let folder = folder.replace('\'', "''");
    let sql = format!(
        "SET VARIABLE files = (SELECT list('{folder}/' || part.path) FROM (SELECT unnest(parts) AS part \
         FROM read_json('{folder}/_chartlift/publications/*.json', columns = {{parts: 'STRUCT(path VARCHAR)[]'}}))); \
         SELECT resource_type, count(*) FROM read_parquet(getvariable('files')) GROUP BY ALL ORDER BY ALL;"
    );
    format!("duckdb -c {}", quoted(&sql))
}

/// Lines per type of an NDJSON (gzip) destination.
fn python(folder: &str) -> String {
    let folder = folder.replace('\\', "\\\\").replace('\'', "\\'");
    let program = format!(
        "import collections,glob,gzip,json; d='{folder}/'; parts=[p for f in \
         glob.glob(glob.escape(d)+'_chartlift/publications/*.json') for p in json.load(open(f))['parts'] \
         if not p['deleted']]; print(collections.Counter(json.loads(line)['resourceType'] for p in parts \
         for line in gzip.open(d+p['path'])))"
    );
    format!("python3 -c {}", quoted(&program))
}

/// A text as one word of a POSIX shell.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\' | '$' | '`') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_it_as_one_word() {
        assert_eq!(
            quoted(r#"a 'b' "c" $d `e` \f"#),
            r#""a 'b' \"c\" \$d \`e\` \\f""#
        );
    }

    #[test]
    fn folders_cannot_end_the_text_they_stand_in() {
        assert!(duckdb("/it's").contains("'/it''s/'"));
        assert!(python("/it's").contains(r"d='/it\\'s/'"));
    }
}
