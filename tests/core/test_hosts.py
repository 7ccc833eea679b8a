"""Which host this is: by variable, by name or address, and never by a guess."""

from __future__ import annotations

import socket

import pytest

from core.errors import InvalidConfig, NotFound
from core.hosts import Host, Hosts, Service, service_host, this_host

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
