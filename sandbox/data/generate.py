#!/usr/bin/env python3
"""Make synthea/*.ndjson.zst again: run Synthea, then edit its NDJSON as text.

Usage: generate.py JARS     (JARS: a folder with Synthea's jar and its dependencies; see README.md)

Resources are never parsed and written again, so numbers, escapes and key order
stay as Synthea wrote them. Needs Java 17 and the zstd program.
"""

import datetime
import json
import pathlib
import re
import subprocess
import sys
import tempfile

OUTPUT = pathlib.Path(__file__).resolve().parent / "synthea"

SYNTHEA = [
    "App", "-s", "4242", "-cs", "4242", "-p", "14", "-r", "20240101", "-e", "20240101",
    "--exporter.fhir.export", "true",
    "--exporter.fhir.bulk_data", "true",
    "--exporter.hospital.fhir.export", "true",
    "--exporter.practitioner.fhir.export", "true",
    "--exporter.years_of_history", "0",
    "--generate.thread_pool_size", "1",
    "--exporter.baseDirectory", "./out/",
    "Massachusetts",
]

# Synthea writes neither member; real portals differ, so ours has every kind.
WITH_VERSION_ID = {"Condition", "Encounter", "Immunization", "MedicationRequest"}
WITH_LAST_UPDATED = {"Condition", "DiagnosticReport", "Encounter", "MedicationRequest"}

# Shared by all patients: kept only when something that is kept refers to them.
SHARED = ("Location", "Organization", "Practitioner", "Medication")

CONDITIONAL = re.compile(r'"reference":"(Location|Organization|Practitioner)\?identifier=([^"|]*)\|([^"]*)"')
REFERENCE = re.compile(r'"reference":"([A-Za-z]+/[^"]+)"')
HEAD = re.compile(r'\{"resourceType":"([A-Za-z]+)","id":"([^"]+)"(,"meta":\{)?')


def read(folder):
    """{type: [line]}; the hospital and practitioner files carry a time in their names."""
    return {
        path.name.split(".")[0]: path.read_text(encoding="utf-8").rstrip("\n").split("\n")
        for path in sorted(folder.glob("*.ndjson"))
    }


def resolve(types):
    """Rewrite `Type?identifier=system|value` to `Type/id`."""
    ids = {}
    for kind in ("Location", "Organization", "Practitioner"):
        for line in types[kind]:
            resource = json.loads(line)
            for identifier in resource["identifier"]:
                ids[kind, identifier["system"], identifier["value"]] = resource["id"]

    def literal(match):
        return f'"reference":"{match[1]}/{ids[match.groups()]}"'

    return {kind: [CONDITIONAL.sub(literal, line) for line in lines] for kind, lines in types.items()}


def drop_unreferenced(types):
    """A PractitionerRole, which nothing refers to, stays with its practitioner."""
    used = {
        reference
        for kind, lines in types.items()
        if kind not in SHARED
        for line in lines
        for reference in REFERENCE.findall(line)
    }
    for kind in SHARED:
        types[kind] = [line for line in types[kind] if f"{kind}/{HEAD.match(line)[2]}" in used]
    practitioners = {i["value"] for line in types["Practitioner"] for i in json.loads(line)["identifier"]}
    types["PractitionerRole"] = [
        line
        for line in types["PractitionerRole"]
        if json.loads(line)["practitioner"]["identifier"]["value"] in practitioners
    ]


def with_meta(kind, row, line):
    """Insert versionId and lastUpdated, both functions of the row's number."""
    members = []
    if kind in WITH_VERSION_ID:
        members.append(f'"versionId":"{3 if row % 7 == 0 else 1}"')
    if kind in WITH_LAST_UPDATED:
        at = datetime.datetime(2023, 6, 1) + datetime.timedelta(minutes=row)
        members.append(f'"lastUpdated":"{at:%Y-%m-%dT%H:%M:%S}.000+00:00"')
    if not members:
        return line
    head, text = HEAD.match(line), ",".join(members)
    if head[3]:
        return f"{head[0]}{text},{line[head.end():]}"
    return f'{head[0]},"meta":{{{text}}}{line[head.end():]}'


def check(types):
    """Each line is JSON of its type, and each reference has its target."""
    keys, references = set(), set()
    for kind, lines in types.items():
        for line in lines:
            resource = json.loads(line)
            assert resource["resourceType"] == kind
            keys.add(f"{kind}/{resource['id']}")
            references.update(REFERENCE.findall(line))
    assert len(keys) == sum(map(len, types.values())), "duplicate ids"
    assert not references - keys, sorted(references - keys)[:5]


def main():
    jars = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as work:
        subprocess.run(["java", "-Xmx3g", "-cp", f"{jars}/*", *SYNTHEA], cwd=work, check=True, stdout=subprocess.DEVNULL)
        types = resolve(read(pathlib.Path(work) / "out" / "fhir"))
    drop_unreferenced(types)
    types = {kind: [with_meta(kind, row, line) for row, line in enumerate(lines)] for kind, lines in types.items()}
    check(types)
    OUTPUT.mkdir(exist_ok=True)
    for old in OUTPUT.glob("*.ndjson.zst"):
        old.unlink()
    for kind, lines in types.items():
        text = "".join(line + "\n" for line in lines).encode()
        packed = subprocess.run(["zstd", "-q", "-19", "-c"], input=text, stdout=subprocess.PIPE, check=True).stdout
        (OUTPUT / f"{kind}.ndjson.zst").write_bytes(packed)
        print(f"| {kind} | {len(lines)} | {len(text)} | {len(packed)} |")


main()
