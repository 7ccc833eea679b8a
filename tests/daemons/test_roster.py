"""The roster, the Weaver's table of programs and the classes agree."""

from __future__ import annotations

import pytest

from core.errors import NotFound
from daemons.harness.schedule import Schedule
from daemons.roster import ROSTER, load
from weaver.desired import PROGRAMS


def test_weaver_starts_exactly_the_daemons_of_the_roster() -> None:
    started = [(program.name, program.argv[2]) for program in PROGRAMS if program.argv and program.argv[1] == "daemons"]
    assert sorted(started) == [(name, name) for name in sorted(ROSTER)]


@pytest.mark.parametrize("name", sorted(ROSTER))
def test_daemon_of_the_roster_has_what_the_harness_needs(name: str) -> None:
    daemon = load(name)
    assert daemon.name == name
    assert Schedule(daemon.every).next_due  # type: ignore[truthy-function]
    assert daemon.patience_s >= 6.0
    assert 0 <= daemon.nice <= 19
    assert all(not glob.startswith("/") and ".." not in glob for glob in daemon.wakes_on)


def test_unknown_daemon_is_an_error_with_the_names() -> None:
    with pytest.raises(NotFound, match="reclaim_stale"):
        load("nobody")
