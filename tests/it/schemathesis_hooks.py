"""Makes new what has to be: the Idempotency-Key of each request, names, base URLs
and folders; names patients that there are. Only in data that the API should accept; what it should refuse is sent
as it was made."""

import itertools
import os

import schemathesis

# Patients, each with a connection of theirs.
CONNECTED = [pair.split("/") for pair in os.environ["CHARTLIFT_CONNECTED"].split(",")]
FOLDER = os.environ["CHARTLIFT_FOLDER"]
NUMBERS = itertools.count(1)
NAMES = {"name": 100, "external_id": 128}


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    number = next(NUMBERS)
    if case.headers.get("Idempotency-Key"):
        case.headers["Idempotency-Key"] = f"{case.headers['Idempotency-Key'][:200]}.{number}"
    if (case.query or {}).get("connection_id"):
        patient, connection = CONNECTED[number % len(CONNECTED)]
        case.path_parameters["id"] = patient
        case.query["connection_id"] = connection
    if case.method != "POST" or not isinstance(case.body, dict):
        return
    for member, longest in NAMES.items():
        if isinstance(case.body.get(member), str):
            end = f"-{number}"
            case.body[member] = case.body[member][: longest - len(end)] + end
    # Nor does it say which way to authenticate wants what.
    if "base_url" in case.body and case.body.get("auth", "none") in ("none", "bearer"):
        case.body.pop("login", None)
    if "source_patient_id" in case.body or case.path.endswith("/reconnect"):
        case.body.pop("grant", None)
    patients = case.body.get("patients")
    if isinstance(patients, list):
        # A schema does not say that one excludes the other.
        case.body.pop("full", None)
        case.body["patients"] = [CONNECTED[at % len(CONNECTED)][0] for at in range(len(patients))]
    if "location" in case.body and not case.body.get("credentials"):
        case.body["location"] = f"{FOLDER}/{number}"
    base_url = case.body.get("base_url")
    if isinstance(base_url, str) and not set(base_url) & set("?#@"):
        case.body["base_url"] = f"{base_url.rstrip('/')}/{number}"
