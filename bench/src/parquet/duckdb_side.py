"""DuckDB's side of the Parquet comparison, and the check of both outputs."""

import json
import os
import sys

import duckdb

# One extraction with a list of paths: five single ones cost twice as much.
QUERY = """
COPY (
  SELECT 'http://127.0.0.1/fhir' AS source, head[1] AS resource_type, head[2] AS id,
    'pat_0193a5b6c7d87e8f9a0b1c2d3e4f5061' AS patient_id,
    'con_0193a5b6c7d87e8f9a0b1c2d3e4f5061' AS connection_id,
    head[3] AS version_id, head[4] AS last_updated, 'new' AS change, 'none' AS reason,
    1::BIGINT AS batch_seq, 1::BIGINT AS settle_seq, make_timestamp(1700000000000000) AS pulled_at,
    'exp_0193a5b6c7d87e8f9a0b1c2d3e4f5061' AS export_id, resource
  FROM (
    SELECT json_extract_string(json, ['$.resourceType', '$.id', '$.meta.versionId', '$.meta.lastUpdated']) AS head,
      json::VARCHAR AS resource
    FROM read_ndjson_objects('{source}')
  )
) TO '{target}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)
"""

# The order of rows is not compared.
SUMS = """
SELECT count(*), sum(strlen(resource)),
  bit_xor(hash(resource_type, id, version_id, last_updated, resource))::VARCHAR
FROM read_parquet('{folder}/*.parquet')
"""


def convert(connection, source, target):
    size_bytes = 0
    for name in sorted(os.listdir(source)):
        out = os.path.join(target, name.replace(".ndjson", ".parquet"))
        connection.execute(QUERY.format(source=os.path.join(source, name), target=out))
        size_bytes += os.path.getsize(out)
    return {"size_bytes": size_bytes, "version": duckdb.__version__}


def check(connection, first, second):
    sums = [connection.execute(SUMS.format(folder=folder)).fetchone() for folder in (first, second)]
    return {"first": [int(value) for value in sums[0]], "second": [int(value) for value in sums[1]]}


def peak_rss_kb():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


connection = duckdb.connect()
connection.execute("SET threads = 1")
connection.execute("SET preserve_insertion_order = false")
said = {"convert": convert, "check": check}[sys.argv[1]](connection, *sys.argv[2:4])
print(json.dumps({**said, "rss_kb": peak_rss_kb()}))
