"""`weaver up --systemd`: the factory as a systemd user unit, which starts with the machine and restarts a dead or stuck Weaver.

Place in the flow: called by the CLI; weaver/notifier.py is the other half. File written: weaver-<home id>.service under
~/.config/systemd/user/. Invariants: systemd never ends a program of ours (KillMode=process): a restarted Weaver adopts them,
and stopping is `weaver down`; what a person stopped with it stays stopped when the machine starts again.
"""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from core.errors import Conflict, InvalidConfig, WeaverError
from core.files import replace_durable
from core.paths import Paths
from weaver.adoption import weaver_process
from weaver.desired import PROGRAMS, Program, write_down
from weaver.lifecycle import await_health
from weaver.notifier import UNIT_VARIABLE
from weaver.wishes import Wishes

WATCHDOG_S = 60
MARGIN_S = 30
# Exit codes that another start would only give again: usage, not found, invalid configuration, another Weaver holds the home.
FINAL_CODES = "2 5 6 7"
SYSTEMCTL_S = 120.0


class NoUserManager(WeaverError):
    """systemd's user manager does not take the unit: {detail}. The unit is written to {path}.

    Log in where one runs, or set XDG_RUNTIME_DIR to its folder, and call `weaver up --systemd` again; `weaver up` needs none.
    """

    exit_code = 8


def unit_name(paths: Paths) -> str:
    """Give the name of the unit of one home."""
    return f"weaver-{paths.home_id}.service"


def unit_path(paths: Paths, environ: Mapping[str, str]) -> Path:
    """Give where systemd looks for the unit of this user."""
    base = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME") or Path.home(), ".config")  # noqa: PTH118
    return Path(base) / "systemd" / "user" / unit_name(paths)


def longest_stop_s(programs: Iterable[Program] = PROGRAMS) -> float:
    """Give how long `weaver down` may take: stages stop one after the other, each as long as its longest grace."""
    graces: dict[int, float] = {}
    for program in programs:
        graces[program.stage] = max(graces.get(program.stage, 0.0), program.grace_s)
    return sum(graces.values())


def unit_text(paths: Paths, environ: Mapping[str, str], python: str = sys.executable) -> str:
    """Give the unit. What the environment configures now (WEAVER_...) goes into it. Raises InvalidConfig for odd paths."""
    kept = {
        name: value for name, value in sorted(environ.items())
        if name.startswith("WEAVER") and name not in ("WEAVER_HOME", "WEAVER_SPAWN", UNIT_VARIABLE)
    }  # fmt: skip
    kept = {"WEAVER_HOME": str(paths.home), UNIT_VARIABLE: unit_name(paths), **kept}
    if set(python) & set("\"'\\"):
        raise InvalidConfig(
            path="systemd", detail=f"{python!r}: systemd starts no program with quotes or backslashes in its path"
        )
    command = f"{_quoted(python)} -m weaver"
    return "\n".join([
        "# Written by `weaver up --systemd`, which writes it anew.",
        "[Unit]",
        f"Description=Weaver, the fine-tuning factory in {_plain(str(paths.home))}",
        "StartLimitIntervalSec=600",
        "StartLimitBurst=20",
        "",
        "[Service]",
        "Type=notify",
        "NotifyAccess=main",
        f"WorkingDirectory={_plain(str(paths.home))}",
        *(f"Environment={_quoted(f'{name}={value}')}" for name, value in kept.items()),
        f"ExecStart={command} supervise",
        f"ExecStop={command} down",
        "KillMode=process",
        "Restart=on-failure",
        "RestartSec=1",
        f"RestartPreventExitStatus={FINAL_CODES}",
        f"WatchdogSec={WATCHDOG_S}",
        f"TimeoutStopSec={longest_stop_s() + MARGIN_S:.0f}",
        "",
        "[Install]",
        "WantedBy=default.target",
        "",
    ])  # fmt: skip


def _plain(text: str) -> str:
    """Escape what systemd would expand in an unquoted value. Raises InvalidConfig."""
    if not text.isprintable() or text != text.strip() or text.endswith("\\"):
        raise InvalidConfig(path="systemd", detail=f"{text!r} cannot be written into a unit: it has odd characters")
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    """Quote for Environment= and Exec...= (systemd.syntax(7)). Raises InvalidConfig."""
    if not text.isprintable():
        raise InvalidConfig(path="systemd", detail=f"{text!r} cannot be written into a unit: it has odd characters")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'


def up_by_systemd(home: Path, environ: Mapping[str, str], wait_s: float = 120.0) -> str:
    """Write the unit, have systemd start it now and with the machine, wait until everything runs; give the unit's name.

    Raises Conflict (a Weaver runs outside of the unit), NoUserManager, and what weaver.lifecycle.up raises.
    """
    paths = Paths(home.resolve())
    Wishes(paths, environ)  # where there never was a good configuration: an error here, not in systemd's journal
    name, path = unit_name(paths), unit_path(paths, environ)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_durable(path, unit_text(paths, environ).encode())
    tool = shutil.which("systemctl")
    if tool is None:
        raise NoUserManager(detail="there is no systemctl on this machine", path=path)
    _call(tool, ["daemon-reload"], path)
    running = weaver_process(paths)
    if running is not None and _main_pid(tool, path, name) != running.pid:
        raise Conflict(
            detail=f"A Weaver (pid {running.pid}) runs in {paths.home} outside of {name}. The unit is written; "
            "stop that one with `weaver down`, then `weaver up --systemd` again."
        )
    write_down(paths, False)
    _call(tool, ["enable", name], path)
    _call(tool, ["start", name], path)
    await_health(paths, wait_s)
    return name


def _main_pid(tool: str, path: Path, name: str) -> int:
    return int(_call(tool, ["show", "--property=MainPID", "--value", name], path).strip() or 0)


def _call(tool: str, arguments: list[str], path: Path) -> str:
    words = [tool, "--user", *arguments]
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=SYSTEMCTL_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoUserManager(detail=str(error), path=path) from error
    if done.returncode:
        detail = done.stderr.strip().replace("\n", "; ") or f"exit code {done.returncode} of {' '.join(words)}"
        raise NoUserManager(detail=detail, path=path)
    return done.stdout


def lingers() -> bool:
    """Say whether this user's units start with the machine, and not only at log-in (loginctl enable-linger)."""
    return Path("/var/lib/systemd/linger", getpass.getuser()).exists()
