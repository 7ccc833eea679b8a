"""What a person does with the unit, inside of a systemd user manager that test_systemd.py started. Run as a script in a home.

Exit 0: all held; 3 with "no user manager": there is none after all.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from core.errors import Conflict
from core.paths import Paths
from core.process import is_alive
from core.status import State, read_supervisor_view
from tests.fakes import wait_for
from weaver.adoption import living, weaver_process
from weaver.desired import is_down
from weaver.lifecycle import down, up
from weaver.systemd import unit_name, unit_path, up_by_systemd

PATHS = Paths(Path(os.environ["WEAVER_HOME"]))
NAME = unit_name(PATHS)


def ask(*words: str) -> str:
    """Call systemctl --user."""
    return subprocess.run(["systemctl", "--user", *words], capture_output=True, text=True, check=False).stdout.strip()


def show(key: str) -> str:
    """Give one property of the unit."""
    return ask("show", f"--property={key}", "--value", NAME)


def weaver_is_new(old: int) -> bool:
    """Say whether another Weaver answers that has its program running."""
    found, view = weaver_process(PATHS), read_supervisor_view(PATHS)
    runs = view is not None and all(program.state is State.RUNNING for program in view.programs)
    return found is not None and found.pid != old and view is not None and view.pid == found.pid and runs


def main() -> None:
    """Start, kill, stop by systemd, freeze, stop by hand, start as the machine does, start by hand."""
    up(PATHS.home)
    try:
        up_by_systemd(PATHS.home, os.environ)
    except Conflict as error:
        assert "outside of" in str(error)
    else:
        raise AssertionError("two Weavers")
    down(PATHS.home)
    assert is_down(PATHS) and up_by_systemd(PATHS.home, os.environ) == NAME and not is_down(PATHS)
    assert (show("ActiveState"), ask("is-enabled", NAME)) == ("active", "enabled")
    weaver, programs = weaver_process(PATHS), living(PATHS)
    assert weaver is not None and int(show("MainPID")) == weaver.pid and set(programs) == {"reclaim_stale"}
    wait_for("its status", lambda: show("StatusText") == "1 of 1 run")

    os.kill(weaver.pid, signal.SIGKILL)
    wait_for("a restart by systemd", lambda: weaver_is_new(weaver.pid), 30.0)
    assert living(PATHS) == programs, "the new Weaver adopted them, and systemd killed nothing"
    assert show("NRestarts") == "1"

    began = time.monotonic()
    ask("stop", NAME)
    assert (show("ActiveState"), show("Result")) == ("inactive", "success"), ask("status", NAME)
    assert not living(PATHS) and not any(map(is_alive, programs.values())) and weaver_process(PATHS) is None
    print(f"stopped in {time.monotonic() - began:.1f} s")
    assert not is_down(PATHS), "that was systemd, not weaver down"

    quick = unit_path(PATHS, os.environ).with_name(f"{NAME}.d")
    quick.mkdir()
    (quick / "quick.conf").write_text("[Service]\nWatchdogSec=2\nTimeoutAbortSec=1\n")
    ask("daemon-reload")
    ask("start", NAME)
    wait_for("a start", lambda: weaver_is_new(0), 30.0)
    frozen, programs = weaver_process(PATHS), living(PATHS)
    assert frozen is not None
    os.kill(frozen.pid, signal.SIGSTOP)
    wait_for("another Weaver after the watchdog", lambda: weaver_is_new(frozen.pid), 30.0)
    assert living(PATHS) == programs, "adopted"
    ask("stop", NAME)

    ask("start", NAME)
    wait_for("a start", lambda: weaver_is_new(0), 30.0)
    down(PATHS.home)
    wait_for("the end of the unit", lambda: show("ActiveState") == "inactive", 20.0)
    assert show("Result") == "success" and is_down(PATHS)
    ask("start", NAME)  # as at the next start of the machine
    wait_for("the end of the unit", lambda: show("ActiveState") == "inactive", 20.0)
    assert show("Result") == "success" and weaver_process(PATHS) is None, "it stays stopped"
    up_by_systemd(PATHS.home, os.environ)
    assert show("ActiveState") == "active"
    ask("stop", NAME)
    ask("disable", NAME)


if __name__ == "__main__":
    if ask("is-system-running") not in ("running", "degraded"):
        print("no user manager")
        sys.exit(3)
    main()
