"""What `--json` prints: the record type of every reading verb, in one place.

Place in the flow: weaver/cli/reference.py describes the types, the tests decode every verb's output by them. Invariant: a verb
with --json stands here; with it, stdout is exactly one JSON document of the first type named for it (with --follow and --watch
one document of the last type a line).
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import msgspec

from core.records import Record

OUTPUTS: dict[str, tuple[str, ...]] = {
    "status": ("core.status:StatusReport",),
    "logs": ("weaver.cli.logs:LogReport", "weaver.cli.logs:LogLine"),
    "audit": ("core.accounting.records:Audit",),
    "events": ("weaver.cli.history:EventList",),
    "why": ("weaver.explained:Explanation",),
    "trace": ("core.accounting.trace:Trace",),
    "doctor": ("weaver.doctor:Diagnosis",),
    "mend": ("weaver.mend:Mending",),
    "drill": ("weaver.drill.records:Drill",),
    "queue ls": ("weaver.queue_list:QueueList",),
    "queue show": ("weaver.cli.queue_told:JobView",),
    "queue add": ("weaver.cli.queue_add:Added",),
    "queue why": ("weaver.job_reasons:Why",),
    "queue wait": ("core.jobs.finding:Receipt",),
    "queue promote": ("weaver.cli.queue:Moved",),
    "queue retry": ("weaver.cli.queue:Moved",),
    "queue rm": ("weaver.cli.queue:Moved",),
    "queue pause": ("core.orders:Order",),
    "queue resume": ("core.orders:Order",),
    "queue stop": ("core.orders:Order",),
    "queue skip": ("core.orders:Order",),
    "data check": ("weaver.cli.data_check:DataCheck",),
    "data preview": ("weaver.cli.data_preview:Preview",),
    "data stats": ("weaver.cli.data_stats:DataStats",),
    "data convert": ("weaver.cli.data_convert:Converted",),
    "ckpt ls": ("weaver.cli.checkpoints:CheckpointList",),
    "ckpt show": ("weaver.cli.checkpoints:ShownCheckpoint",),
    "ckpt verify": ("weaver.cli.checkpoints:Verification",),
    "ckpt best": ("weaver.cli.checkpoints:Best",),
    "ckpt rm": ("weaver.cli.checkpoint_removal:Removal",),
    "deploy history": ("weaver.cli.deploy:Deployments",),
    "config show": ("weaver.cli.config:ConfigShown",),
    "config validate": ("weaver.cli.config:ConfigChecked",),
    "config schema": ("weaver.cli.config:ConfigSchemas",),
    "suites build": ("weaver.cli.suites:SuitesBuilt",),
    "version": ("weaver.cli.factory:VersionReport",),
}

Schema = dict[str, Any]


def output_types(path: str) -> list[type[Record]]:
    """Give the record types that a verb prints as JSON; the verb is given by its words. Raises KeyError for one without."""
    found: list[type[Record]] = []
    for where in OUTPUTS[path]:
        module, _, name = where.partition(":")
        found.append(getattr(import_module(module), name))
    return found


def fields(kind: type[msgspec.Struct]) -> list[tuple[str, str]]:
    """Give every field of a record as (path, type), those of its parts below it: ("daemons[].name", "string")."""
    whole = msgspec.json.schema(kind)
    defs: Schema = whole["$defs"]
    return _rows(_resolve(whole, defs)[1], defs, "", ())


def _rows(schema: Schema, defs: Schema, before: str, inside: tuple[str, ...]) -> list[tuple[str, str]]:
    rows = []
    for name, field in schema["properties"].items():
        text, parts = _type(field, defs)
        rows.append((before + name, text))
        for suffix, part in parts:
            if part not in inside:  # a part that holds itself is described once
                rows += _rows(defs[part], defs, f"{before}{name}{suffix}.", (*inside, part))
    return rows


def _resolve(schema: Schema, defs: Schema) -> tuple[str | None, Schema]:
    if "$ref" not in schema:
        return None, schema
    name = schema["$ref"].removeprefix("#/$defs/")
    return name, defs[name]


def _type(schema: Schema, defs: Schema) -> tuple[str, list[tuple[str, str]]]:
    """Say what a value is, and which parts it holds under which suffix of its name."""
    name, schema = _resolve(schema, defs)
    if "enum" in schema:
        return " or ".join(f'"{value}"' if isinstance(value, str) else str(value) for value in schema["enum"]), []
    if "anyOf" in schema:
        kinds = [_type(one, defs) for one in schema["anyOf"]]
        return " or ".join(text for text, _ in kinds), [part for _, parts in kinds for part in parts]
    if schema.get("type") == "array" and isinstance(schema.get("items"), dict):
        text, parts = _type(schema["items"], defs)
        return f"list of {text}", [(f"[]{suffix}", part) for suffix, part in parts]
    if name is not None and "properties" in schema:
        return "object", [("", name)]
    if isinstance(schema.get("additionalProperties"), dict):
        text, parts = _type(schema["additionalProperties"], defs)
        return f"object of {text}", [(f".*{suffix}", part) for suffix, part in parts]
    return str(schema.get("type", "any")), []
