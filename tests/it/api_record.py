"""Reads FHIR Bundles with an outside parser of FHIR R4 (4.0.1), and prints how many
resources of each type it took. Anything that the parser refuses ends it.

usage: api_record.py BUNDLE…
"""

import collections
import json
import sys

from fhir.resources import __fhir_version__
from fhir.resources.bundle import Bundle

assert __fhir_version__ == "4.0.1", __fhir_version__


def refused(bundle):
    try:
        Bundle.parse_obj(bundle)
    except (LookupError, ValueError):
        return True
    return False


types = collections.Counter()
for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as file:
        text = file.read()
    bundle = Bundle.parse_raw(text)
    assert bundle.type == "searchset", bundle.type
    entries = bundle.entry or []
    for entry, raw in zip(entries, json.loads(text).get("entry", []), strict=True):
        assert entry.resource.resource_type == raw["resource"]["resourceType"]
        assert entry.fullUrl.endswith(f"/{entry.resource.resource_type}/{entry.resource.id}")
        types[entry.resource.resource_type] += 1
    # That it accepts says something only if it refuses what is no Bundle of R4.
    for spoil in [
        lambda broken: broken.update(total="many"),
        lambda broken: broken["entry"][0]["resource"].update(resourceType="Nothing"),
        lambda broken: broken["entry"][0]["resource"].update(unknown=1),
    ]:
        broken = json.loads(text)
        spoil(broken)
        assert refused(broken), "the parser takes anything"
print(json.dumps(types))
