"""Reads what the publications of each destination list, with DuckDB and pyarrow,
and compares it with what the portal holds: counts per type, and every line and
`resource` token for token.

usage: delivery_exact.py FILES_FOLDER EXPECTED_NDJSON SANDBOX_DATA_FOLDER
"""

import collections
import glob
import json
import os
import sys

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

files, oracle, sandbox = sys.argv[1:4]


def lines(path, compression):
    with pa.input_stream(path, compression=compression) as stream:
        return [line for line in stream.read().split(b"\n") if line]


def key(line):
    resource = json.loads(line)
    return resource["resourceType"], resource["id"]


def parts(folder):
    listed = []
    feed = sorted(glob.glob(os.path.join(folder, "_chartlift/publications/*.json")))
    assert feed, f"no publications in {folder}"
    for number, path in enumerate(feed, 1):
        publication = json.load(open(path))
        assert publication["number"] == number, f"publication {number} is missing"
        listed += [(part, os.path.join(folder, part["path"])) for part in publication["parts"]]
    assert len({path for _, path in listed}) == len(listed), "a part is listed twice"
    return listed


expected = collections.Counter(lines(oracle, None))
expected_types = collections.Counter(key(line)[0] for line in expected)

# What the oracle says is in turn what the sandbox's own files hold.
own = set(line for line in lines(os.path.join(sandbox, "edge-cases.ndjson"), None))
for path in glob.glob(os.path.join(sandbox, "synthea/*.ndjson.zst")):
    own.update(lines(path, "zstd"))
missing = [line for line in expected if line not in own]
assert not missing, f"{len(missing)} expected lines are in no file of the sandbox, such as {missing[0][:120]}"

compressions = {"ndjson": None, "ndjson-gzip": "gzip", "ndjson-zstd": "zstd"}
for name, compression in compressions.items():
    delivered = collections.Counter()
    for part, path in parts(os.path.join(files, name)):
        assert not part["deleted"]
        rows = lines(path, compression)
        assert len(rows) == part["row_count"], path
        assert all(key(row)[0] == part["resource_type"] for row in rows), path
        assert os.path.getsize(path) == part["size_bytes"], path
        delivered.update(rows)
    # A shared resource (an organization) lies in each record that refers to it.
    assert set(delivered) == set(expected), name
    assert delivered == expected, name
    print(f"{name}: {sum(delivered.values())} lines, equal")

table_parts = parts(os.path.join(files, "parquet"))
delivered = collections.Counter()
for part, path in table_parts:
    table = pq.read_table(path)
    assert table.num_rows == part["row_count"], path
    delivered.update(value.encode() for value in table.column("resource").to_pylist())
assert delivered == expected, "parquet (pyarrow)"

paths = [path for _, path in table_parts]
latest = duckdb.sql(
    f"""
    SELECT resource_type, id, resource FROM read_parquet({paths!r})
    QUALIFY row_number() OVER (
        PARTITION BY source, resource_type, id
        ORDER BY last_updated DESC NULLS LAST, settle_seq DESC, batch_seq DESC) = 1
    """
).fetchall()
assert collections.Counter(t for t, _, _ in latest) == expected_types, "counts per type (DuckDB)"
assert {resource.encode() for _, _, resource in latest} == set(expected), "parquet (DuckDB)"
for resource_type, id_, resource in latest:
    assert key(resource) == (resource_type, id_)
print(f"parquet: {sum(delivered.values())} rows, {len(latest)} in the latest view, equal")
