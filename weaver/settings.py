"""Every setting in force with where it came from, and everything that a person can check in config/ beyond what programs do.

Place in the flow: `weaver config` prints it. Files read: config/, through core.in_force. Invariants: the value given is the one
that programs started with this environment take; nothing here changes a file; secrets in URLs are masked.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any, Literal

import msgspec

from core.config_files import HOSTS, Fault, Source
from core.config_shapes import Flaw, Key, leaves
from core.errors import InvalidData
from core.evals.suite import load_suites
from core.hosts import FILE, Hosts, port_variable, wanted_port
from core.in_force import InForce, judge
from core.notify_urls import is_webhook, masked
from core.paths import Paths
from core.records import Part, strict_json
from core.strict_yaml import key_lines

_MISNAMED = 0.85
_TOP = ("weaver.yaml", "training.yaml", "evals.yaml")


class Setting(Part, frozen=True):
    """One key in force. origin: default, file (then file and mostly line are known) or environment (then variable is)."""

    key: str
    value: Any
    origin: Literal["default", "file", "environment"]
    file: str | None = None
    line: int | None = None
    variable: str | None = None


def settings(now: InForce, environ: Mapping[str, str]) -> list[Setting]:
    """Give every key of every file, in the order of the documentation."""
    return [*(one for source in now.sources for one in _of_source(now, source)), *_of_hosts(now, environ)]


def _of_source(now: InForce, source: Source) -> Iterator[Setting]:
    section = now.config.skills[source.name[1]] if source.name[0] == "skills" else getattr(now.config, source.name[0])
    lines = key_lines(source.text)
    for key, value in leaves(source.kind, msgspec.to_builtins(section)):
        if key == ("notify", "urls"):
            value = [masked(url) for url in now.config.weaver.notify.urls]
        setter = next((at for at in source.variables if key[: len(at)] == at), None)
        if setter is not None:
            yield Setting(key=source.full(key), value=value, origin="environment", variable=source.variables[setter])
        elif _is_in(source.values, key):
            yield Setting(key=source.full(key), value=value, origin="file", file=source.file, line=lines.get(key))
        else:
            yield Setting(key=source.full(key), value=value, origin="default")


def _of_hosts(now: InForce, environ: Mapping[str, str]) -> Iterator[Setting]:
    text = now.files[HOSTS]
    written, lines = strict_json(text), key_lines(text)
    ports = {
        ("hosts", now.here, "services", name, "port"): name
        for name in now.hosts.hosts[now.here].services
        if port_variable(name) in environ
    }
    for key, value in leaves(Hosts, msgspec.to_builtins(now.hosts)):
        name = ".".join(key)
        if key in ports:
            port, variable = wanted_port(now.hosts.hosts[now.here], ports[key], environ), port_variable(ports[key])
            yield Setting(key=name, value=port, origin="environment", variable=variable)
        elif _is_in(written, key):
            yield Setting(key=name, value=value, origin="file", file=FILE, line=lines.get(key))
        else:
            yield Setting(key=name, value=value, origin="default")


def _is_in(values: object, key: Key) -> bool:
    for part in key:
        if not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return True


def all_faults(paths: Paths, environ: Mapping[str, str]) -> list[Fault]:
    """Give everything that is wrong: what programs refuse, damaged suites, URLs that apprise refuses, files nobody reads."""
    good, _, faults = judge(paths, environ)
    if good is not None:
        faults = [*_refused_by_apprise(good)]
    try:
        load_suites(paths.suites)
    except InvalidData as error:
        faults.append(Fault(file="config/suites", detail=str(error), valid="a frozen suite is never edited: restore it"))
    return [*faults, *_misnamed(paths)]


def _refused_by_apprise(now: InForce) -> Iterator[Fault]:
    others = [(at, url) for at, url in enumerate(now.config.weaver.notify.urls) if not is_webhook(url)]
    if not others or find_spec("apprise") is None:
        return
    logging.getLogger("apprise").addHandler(logging.NullHandler())  # else it prints the URL that it cannot read
    logging.getLogger("apprise").propagate = False
    from apprise import Apprise

    weaver = next(source for source in now.sources if source.name == ("weaver",))
    for at, url in others:
        if Apprise.instantiate(url) is None:
            yield weaver.fault(Flaw(("notify", "urls"), f"number {at + 1}, {masked(url)}, is no URL that apprise knows"))


def _misnamed(paths: Paths) -> Iterator[Fault]:
    """Give the files that look like configuration and are read by nobody."""
    for path in sorted([*paths.config.glob("[!.]*.y*ml"), *paths.config.glob("skills/[!.]*.yml")]):
        name = str(path.relative_to(paths.config))
        if name in _TOP:
            continue
        near = next(iter(get_close_matches(name, _TOP, 1, _MISNAMED)), None)
        if name.startswith("skills/"):
            near = f"{name[:-4]}.yaml"
        if near:
            yield Fault(file=f"config/{name}", detail="is read by nobody", suggestion=f"config/{near}")
