"""Which host this is: by variable, by name or address, and never by a guess."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.config_files import HOSTS, read_files, refusal_of
from core.errors import InvalidConfig, NotFound, Unavailable
from core.files import replace_quick
from core.hosts import (
    Endpoint,
    Host,
    Hosts,
    Service,
    base_url,
    compose_hosts,
    describe,
    get_service_url,
    port_variable,
    service_host,
    this_host,
    wanted_port,
)
from core.paths import Paths
from core.records import encode
from tests.house.tree import ROOT

FAR, FARTHER = "240.0.0.1", "240.0.0.2"  # reserved for ever: no machine has them


def hosts(**addresses: str) -> Hosts:
    services = {"web": Service(port=1)}
    return Hosts(hosts={name: Host(address=address, roles=("hub",), services=services) for name, address in addresses.items()})


def test_the_only_host_with_a_loopback_address_is_this_one() -> None:
    assert this_host(hosts(here="127.0.0.1", there=FAR), {}) == "here"


def test_the_host_with_the_name_of_this_machine_is_this_one() -> None:
    assert this_host(hosts(**{socket.gethostname(): FAR, "there": FARTHER}), {}) == socket.gethostname()


def test_the_variable_goes_before_everything() -> None:
    assert this_host(hosts(here="127.0.0.1", there=FAR), {"WEAVER_HOST": "there"}) == "there"


@pytest.mark.parametrize(
    ("known", "environ"),
    [
        (hosts(one=FAR, two=FARTHER), {}),
        (hosts(one="127.0.0.1", two="127.0.0.1"), {}),
        (hosts(**{socket.gethostname(): FAR, "one": "127.0.0.1"}), {}),
        (hosts(one="127.0.0.1"), {"WEAVER_HOST": "two"}),
        (hosts(one="127.0.0.1"), {"WEAVER_HOST": ""}),
    ],
    ids=["none", "several by address", "one by name and one by address", "unknown variable", "empty variable"],
)
def test_none_or_several_is_an_error_with_the_list(known: Hosts, environ: dict[str, str]) -> None:
    with pytest.raises(InvalidConfig) as caught:
        this_host(known, environ)
    assert caught.value.exit_code == 6
    assert all(name in str(caught.value) for name in known.hosts)


def test_unknown_service_is_an_error_with_the_valid_names() -> None:
    with pytest.raises(NotFound, match="web"):
        service_host(hosts(here="127.0.0.1"), "inferense", "here")


def test_service_on_any_port_is_unavailable_until_it_says_which(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    environ = {"WEAVER_WEB_PORT": "0"}
    known = hosts(here="127.0.0.1")
    with pytest.raises(Unavailable, match="any free port"):
        get_service_url(paths, known, "web", environ)
    endpoint = Endpoint(service="web", host="here", address="127.0.0.1", port=4711, pid=1)
    replace_quick(paths.status / "endpoints" / "web.json", encode(endpoint))
    assert get_service_url(paths, known, "web", environ) == "http://127.0.0.1:4711"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    (tmp_path / "config").mkdir()
    return Paths(tmp_path)


def load(paths: Paths) -> Hosts:
    files, faults = read_files(paths)
    known, found = compose_hosts(files.get(HOSTS)) if not faults else (None, faults)
    if known is None:
        raise refusal_of(found)
    return known


def host(address: str = "127.0.0.1", **more: Any) -> dict[str, Any]:
    return {"address": address, "roles": ["trainer"], "services": {"web": {"port": 1}, "inference": {"port": 2}}, **more}


def put(paths: Paths, **hosts: Any) -> None:
    (paths.config / "hosts.json").write_text(json.dumps({"schema": "weaver.hosts/1", "hosts": hosts}))


def test_shipped_file_is_one_host_that_is_every_machine(paths: Paths) -> None:
    shutil.copy(ROOT / "config" / "hosts.json", paths.config)
    shipped = load(paths)
    assert this_host(shipped, {}) == "local"
    assert set(shipped.hosts["local"].roles) == {"trainer", "inference", "hub"}
    assert get_service_url(paths, shipped, "web", {}) == "http://127.0.0.1:8888"
    assert get_service_url(paths, shipped, "inference", {}) == "http://127.0.0.1:8765"
    assert describe(shipped) == {"local": {"address": "127.0.0.1", "roles": ["trainer", "inference", "hub"]}}


def test_host_with_an_address_of_this_machine_is_this_one() -> None:
    found = {entry.address for entries in psutil.net_if_addrs().values() for entry in entries}
    for address in found - {"127.0.0.1", "::1"}:
        assert this_host(hosts(here=address, there=FAR), {}) == "here"
        with pytest.raises(InvalidConfig, match=r"several hosts \(here, there\)"):
            this_host(hosts(here=address, there="localhost"), {})


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"one": host(roles=["trainer", "trianer"])}, "hosts.one.roles: there is no 'trianer'; did you mean 'trainer'"),
        ({"one": host(services={"wbe": {"port": 1}})}, "hosts.one.services: there is no 'wbe'; did you mean 'web'"),
        ({"Big Box": host()}, "'Big Box' is no host id"),
        ({"../one": host()}, "'../one' is no host id"),
        ({"": host()}, "'' is no host id"),
        ({"one": host(services={"web": {"port": 65536}})}, "Expected `int` <= 65535"),
        ({"one": host(services={"web": {"port": -1}})}, "`int` >= 0"),
        ({"one": host(services={"web": {"port": "1"}})}, "Expected `int`"),
        ({"one": host(services={"web": {"prot": 1}})}, "unknown key hosts.one.services.web.prot; did you mean 'port'"),
        ({"one": host(ssh={"user": "w", "port": 70000})}, "Expected `int` <= 65535"),
        ({"one": host(ssh={})}, "hosts.one.ssh.user: is missing"),
        ({"one": host(adress="x")}, "unknown key hosts.one.adress; did you mean 'address'"),
        ({"one": {"address": "127.0.0.1"}}, "hosts.one.roles: is missing"),
        ({"one": None}, "hosts.one: expected keys and values, got null"),
    ],
)
def test_bad_host_is_an_error_that_names_the_file_and_what_is_valid(paths: Paths, facts: dict[str, Any], said: str) -> None:
    put(paths, **facts)
    with pytest.raises(InvalidConfig) as caught:
        load(paths)
    assert said in str(caught.value) and "hosts.json" in str(caught.value)
    assert caught.value.exit_code == 6


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "hosts.json"),
        ('{"hosts": {}}', 'expected {"schema": "weaver.hosts/1"'),
        ('{"schema": "weaver.hosts/2", "hosts": {}}', "weaver.hosts/2"),
        ('{"schema": "weaver.hosts/1", "hosts": {}, "hosts": {}}', "'hosts' appears twice"),
        ('{"schema": "weaver.hosts/1", "hosts": {}, "default": "x"}', "unknown key default"),
    ],
)
def test_bad_file_is_an_error_of_exit_code_6(paths: Paths, text: str, said: str) -> None:
    (paths.config / "hosts.json").write_text(text)
    with pytest.raises(InvalidConfig) as caught:
        load(paths)
    assert said in str(caught.value) and caught.value.exit_code == 6


def test_file_that_is_missing_or_a_folder_is_an_error_of_exit_code_6(paths: Paths) -> None:
    with pytest.raises(InvalidConfig, match=r"hosts\.json: is missing") as caught:
        load(paths)
    assert caught.value.exit_code == 6
    (paths.config / "hosts.json").mkdir()
    with pytest.raises(InvalidConfig, match=r"hosts\.json: cannot be read: .*Is a directory"):
        load(paths)


def test_no_host_at_all_is_an_error(paths: Paths) -> None:
    put(paths)
    with pytest.raises(InvalidConfig, match="no host") as caught:
        this_host(load(paths), {})
    assert caught.value.exit_code == 6


def two_boxes(paths: Paths) -> None:
    put(
        paths, there={**host(FAR), "services": {"inference": {"port": 8765}}},
        here={**host(), "services": {"web": {"port": 8888}}}, other={**host(FARTHER), "services": {"inference": {"port": 9}}},
    )  # fmt: skip


def test_service_of_this_host_goes_before_one_elsewhere_and_then_the_first_that_has_it(paths: Paths) -> None:
    two_boxes(paths)
    assert get_service_url(paths, load(paths), "web", {}) == "http://127.0.0.1:8888"
    assert get_service_url(paths, load(paths), "inference", {}) == f"http://{FAR}:8765"
    assert get_service_url(paths, load(paths), "inference", {"WEAVER_HOST": "other"}) == f"http://{FARTHER}:9"
    with pytest.raises(NotFound, match=r"no service named 'oracle'. Known: inference, web"):
        get_service_url(paths, load(paths), "oracle", {})


def test_ports_that_this_host_took_or_was_told_say_nothing_about_another(paths: Paths) -> None:
    two_boxes(paths)
    endpoint = Endpoint(service="inference", host="here", address="127.0.0.1", port=4711, pid=1)
    replace_quick(paths.status / "endpoints" / "inference.json", encode(endpoint))
    environ = {"WEAVER_ORACLE_PORT": "4712", "WEAVER_WEB_PORT": "4713"}
    assert get_service_url(paths, load(paths), "inference", environ) == f"http://{FAR}:8765"
    assert get_service_url(paths, load(paths), "web", environ) == "http://127.0.0.1:4713"


@pytest.mark.parametrize("view", [b"", b"{", b'{"schema": "weaver.endpoint/9"}', b"\xff"])
def test_damaged_view_of_a_port_is_passed_over_until_its_owner_writes_it_again(paths: Paths, view: bytes) -> None:
    put(paths, here=host())
    (paths.status / "endpoints").mkdir(parents=True)
    (paths.status / "endpoints" / "web.json").write_bytes(view)
    assert get_service_url(paths, load(paths), "web", {}) == "http://127.0.0.1:1"


@pytest.mark.parametrize(("text", "port"), [("0", 0), ("1", 1), ("65535", 65535), ("08080", 8080)])
@pytest.mark.parametrize(("service", "variable"), [("web", "WEAVER_WEB_PORT"), ("inference", "WEAVER_ORACLE_PORT")])
def test_port_of_the_environment_goes_before_the_file(service: str, variable: str, text: str, port: int) -> None:
    box = Host(address="127.0.0.1", roles=(), services={"web": Service(port=5), "inference": Service(port=5)})
    assert port_variable(service) == variable
    assert wanted_port(box, service, {variable: text}) == port
    assert wanted_port(box, service, {}) == 5


@pytest.mark.parametrize("text", ["", " ", "http", "-1", "65536", "1.5", "80 ", "+80", "0x50", "²", "٨٠", "9" * 5000])
def test_bad_port_of_the_environment_is_an_error_that_names_the_variable(text: str) -> None:
    box = Host(address="127.0.0.1", roles=(), services={"web": Service(port=5)})
    with pytest.raises(InvalidConfig, match=r"WEAVER_WEB_PORT: .* is not a port \(0 to 65535\)") as caught:
        wanted_port(box, "web", {"WEAVER_WEB_PORT": text})
    assert caught.value.exit_code == 6


@pytest.mark.parametrize(
    ("address", "url"), [("::1", "http://[::1]:80"), ("10.0.0.7", "http://10.0.0.7:80"), ("box.lan", "http://box.lan:80")]
)
def test_address_of_any_kind_makes_a_url(address: str, url: str) -> None:
    assert base_url(address, 80) == url
