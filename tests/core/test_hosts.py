"""Which host this is: by variable, by name or address, and never by a guess."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from core.errors import InvalidConfig, NotFound, Unavailable
from core.files import replace_quick
from core.hosts import Endpoint, Host, Hosts, Service, get_service_url, service_host, this_host
from core.paths import Paths
from core.records import encode

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
    paths.config.mkdir()
    (paths.config / "hosts.json").write_bytes(encode(hosts(here="127.0.0.1")))
    environ = {"WEAVER_WEB_PORT": "0"}
    with pytest.raises(Unavailable, match="any free port"):
        get_service_url(paths, "web", environ)
    endpoint = Endpoint(service="web", host="here", address="127.0.0.1", port=4711, pid=1)
    replace_quick(paths.status / "endpoints" / "web.json", encode(endpoint))
    assert get_service_url(paths, "web", environ) == "http://127.0.0.1:4711"
