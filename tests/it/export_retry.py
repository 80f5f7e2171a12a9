"""Runs the DuckDB statements of the contract over a destination and prints how many
rows are live, and how many of these are the newest publication's.

usage: export_retry.py CONTRACT_MD FOLDER
"""

import re
import sys

import duckdb

contract, folder = sys.argv[1:3]
statements = re.search(r"```sql\n(.*?)```", open(contract).read(), re.S).group(1)
duckdb.sql(statements.replace("/data/lake", folder))
newest = "publication = (SELECT max(publication) FROM rows)"
print(*duckdb.sql(f"SELECT count(*), count(*) FILTER ({newest}) FROM live").fetchall()[0])
