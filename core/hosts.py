"""Hosts and services: config/hosts.json, which host this is, where a service answers."""

from __future__ import annotations

import difflib
import socket
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from msgspec import Meta

from core.config_files import Fault
from core.config_shapes import Flaw, flaws
from core.errors import InvalidConfig, InvalidData, NotFound, Unavailable
from core.names import is_identifier
from core.paths import Paths
from core.records import Part, Record, decode_strict, read_if_there, strict_json
from core.strict_yaml import key_lines

FILE = "config/hosts.json"
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
ROLES = ("trainer", "inference", "hub", "storage")
_PORT_VARIABLES = {"inference": "WEAVER_ORACLE_PORT", "web": "WEAVER_WEB_PORT"}
SERVICES = tuple(_PORT_VARIABLES)
LARGEST_PORT = 65535
Port = Annotated[int, Meta(ge=0, le=LARGEST_PORT)]


class Service(Part, frozen=True):
    """One service of a host; port 0 takes any free one."""

    port: Port


class Ssh(Part, frozen=True):
    """How to reach a host for weights."""

    user: str
    port: Port = 22


class Host(Part, frozen=True):
    """One machine of the factory."""

    address: str
    roles: tuple[str, ...]
    services: dict[str, Service]
    models_dir: str = "models"
    ssh: Ssh | None = None


class Hosts(Record, frozen=True, tag="weaver.hosts/1"):
    """config/hosts.json."""

    hosts: dict[str, Host]


def compose_hosts(text: str | None) -> tuple[Hosts | None, list[Fault]]:
    """Make the hosts of the text of config/hosts.json; None and every fault where there is one."""
    if text is None:
        return None, [Fault(file=FILE, detail="is missing", valid="the shipped one fits every machine")]
    try:
        value = strict_json(text)
    except (ValueError, RecursionError) as error:
        return None, [Fault(file=FILE, detail=f"is not JSON: {error}")]
    shape = {key: inner for key, inner in value.items() if key != "schema"} if isinstance(value, dict) else value
    found = [*flaws(Hosts, shape)]
    if not found:
        try:
            hosts = decode_strict(Hosts, text.encode(), FILE)
        except InvalidData as error:
            return None, [Fault(file=FILE, detail=str(error))]
        found = [*_flaws_of_names(hosts)]
        if not found:
            return hosts, []
    lines = key_lines(text)
    return None, [
        Fault(
            file=FILE, line=lines.get(flaw.key), key=".".join(flaw.key) or None, detail=flaw.detail, valid=flaw.valid or None,
            suggestion=flaw.near or None,
        )
        for flaw in found
    ]  # fmt: skip


def _flaws_of_names(hosts: Hosts) -> Iterator[Flaw]:
    for name, host in hosts.hosts.items():
        if not is_identifier(name):
            yield Flaw(("hosts", name), f"{name!r} is no host id", "expected a-z, 0-9, '.', '_', '-'")
        for what, said, valid in (("roles", host.roles, ROLES), ("services", host.services, SERVICES)):
            for unknown in sorted(set(said) - set(valid)):
                near = difflib.get_close_matches(unknown, valid, 1)
                key = ("hosts", name, what)
                yield Flaw(key, f"there is no {unknown!r}", f"valid: {', '.join(valid)}", near[0] if near else "")


def this_host(hosts: Hosts, environ: Mapping[str, str]) -> str:
    """Say which host this is: WEAVER_HOST, else the one that has this machine's name or address.

    Raises InvalidConfig, with the hosts there are, when that is none or several.
    """
    known = ", ".join(sorted(hosts.hosts))
    named = environ.get("WEAVER_HOST")
    if named is not None:
        if named not in hosts.hosts:
            raise InvalidConfig(path="WEAVER_HOST", detail=f"{named!r} is not in hosts.json; known: {known}")
        return named
    me = {socket.gethostname(), socket.gethostname().lower()}
    found = [name for name, host in hosts.hosts.items() if name in me or host.address in LOOPBACK]
    if len(found) < len(hosts.hosts):
        import psutil  # not for the shipped file: light programs and `weaver status` do without it

        mine = {entry.address for entries in psutil.net_if_addrs().values() for entry in entries} | LOOPBACK
        found = [name for name, host in hosts.hosts.items() if name in me or host.address in mine]
    if len(found) != 1:
        what = "no host" if not found else f"several hosts ({', '.join(found)})"
        raise InvalidConfig(path="hosts.json", detail=f"{what} of {known} is this machine; set WEAVER_HOST")
    return found[0]


def service_host(hosts: Hosts, service: str, here: str) -> str:
    """Say which host answers for a service: this one first, else the first that has it. Raises NotFound."""
    for name in (here, *hosts.hosts):
        if service in hosts.hosts[name].services:
            return name
    known = sorted({known for host in hosts.hosts.values() for known in host.services})
    raise NotFound(kind="service", name=service, known=", ".join(known) or "none")


class Endpoint(Record, frozen=True, tag="weaver.endpoint/1"):
    """status/endpoints/<service>.json: the port that a service of this host really took."""

    service: str
    host: str
    address: str
    port: int
    pid: int


def read_endpoint(paths: Paths, service: str) -> Endpoint | None:
    """Read which port a service of this host took; None when it did not say, or the view is damaged."""
    try:
        return read_if_there(Endpoint, paths.endpoint(service))
    except InvalidData:
        return None


def get_service_url(paths: Paths, hosts: Hosts, service: str, environ: Mapping[str, str]) -> str:
    """Give the base URL of a service, by the port it really took when it runs on this host.

    Raises NotFound for an unknown service, Unavailable while one that takes any port (0) has not said which.
    """
    here = this_host(hosts, environ)
    name = service_host(hosts, service, here)
    taken = read_endpoint(paths, service) if name == here else None
    port = taken.port if taken else wanted_port(hosts.hosts[name], service, environ if name == here else {})
    url = base_url(hosts.hosts[name].address, port)
    if not port:
        raise Unavailable(service=service, url=url, detail="it takes any free port and has not said which one")
    return url


def base_url(address: str, port: int) -> str:
    """Give the URL of a service; an IPv6 address stands in brackets (RFC 3986, section 3.2.2)."""
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def wanted_port(host: Host, service: str, environ: Mapping[str, str]) -> int:
    """Give the port a service should take: WEAVER_WEB_PORT or WEAVER_ORACLE_PORT, else hosts.json. Raises InvalidConfig.

    The variables are about the services of this host: for another one environ is empty.
    """
    variable = port_variable(service)
    text = environ.get(variable)
    if text is None:
        return host.services[service].port
    if not (text.isascii() and text.isdigit() and len(text) <= 5) or int(text) > LARGEST_PORT:
        raise InvalidConfig(path=variable, detail=f"{text!r} is not a port (0 to {LARGEST_PORT})")
    return int(text)


def port_variable(service: str) -> str:
    """Give the environment variable that overrides the port of a service."""
    return _PORT_VARIABLES[service]


def describe(hosts: Hosts) -> dict[str, Any]:
    """Give what status shows of each host."""
    return {name: {"address": host.address, "roles": list(host.roles)} for name, host in hosts.hosts.items()}
