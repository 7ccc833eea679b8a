"""weaver up, down, restart, status, open, audit, version: the verbs about the factory as a whole.

Place in the flow: each calls one function of weaver.lifecycle, weaver.cli.status or core.accounting, or asks the web process,
and says what came of it. Invariant: messages for people go to stderr, what a program may read (URLs, JSON, counts) to stdout.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from core import __version__
from core.clock import SystemClock
from core.errors import Degraded, NotRunning, Unavailable
from core.keys import read_key
from core.paths import Paths
from core.records import Record
from weaver.cli.home import this_home
from weaver.cli.output import plain, print_data, print_message, print_record

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def up(
    systemd: Annotated[bool, typer.Option("--systemd", help="As a systemd user unit, which starts with the machine.")] = False,
) -> None:
    """Start the factory in the background and wait until every program runs; exit 0 also when it already runs.

    Examples:
      WEAVER_WEB_PORT=0 WEAVER_ORACLE_PORT=0 weaver up    # any free ports
      weaver up --systemd
    """
    from weaver.lifecycle import up as start

    paths = this_home()
    try:
        if systemd:
            _up_by_systemd(paths)
        else:
            start(paths.home)
    except Degraded:
        _say_where(paths)
        raise
    _say_where(paths)


def _up_by_systemd(paths: Paths) -> None:
    from weaver.systemd import lingers, up_by_systemd

    name = up_by_systemd(paths.home, os.environ)
    when = "starts with the machine" if lingers() else "starts when you log in; with the machine: loginctl enable-linger"
    print_message(f"{name} is enabled: it {when}.\nOff again: systemctl --user disable --now {name}")


def _say_where(paths: Paths) -> None:
    from core.overview import collect

    status, weaver = collect(paths, os.environ, SystemClock()).status, command()
    print_data(f"state   {status.state}\nweb     {status.web or '-'}\noracle  {status.oracle or '-'}")
    print_message(f"next    {weaver} status    {weaver} open    {weaver} chat")


def command() -> str:
    """Give the shortest words by which a person calls this program from here."""
    called = Path(sys.argv[0])
    if called.name != "weaver":
        return "python -m weaver"
    found = shutil.which("weaver")
    if found and Path(found).absolute() == called.absolute():
        return "weaver"
    return os.path.relpath(called)


def status(
    json: Json = False, watch: Annotated[bool, typer.Option("-w", "--watch", help="Show it again every 2 s.")] = False
) -> None:
    """Show the whole factory; exit 0 healthy, 4 degraded, 3 stopped.

    Examples:
      weaver status
      weaver status --watch
      weaver status --json
    """
    from weaver.cli.status import run_status

    raise typer.Exit(run_status(this_home(), as_json=json, watch=watch))


def down() -> None:
    """Stop everything of this home, also when no Weaver runs; a running training saves first.

    Examples:
      weaver down
      WEAVER_HOME=/data/factory weaver down
    """
    from weaver.lifecycle import down as stop

    raise typer.Exit(stop(this_home().home))


def restart(name: Annotated[str, typer.Argument(help="A program, as `weaver status` names it.")]) -> None:
    """Start one program anew, whatever its state, and wait until it runs.

    Examples:
      weaver restart oracle
      weaver restart train_next
    """
    from weaver.lifecycle import restart as start_anew

    start_anew(this_home().home, name)
    print_message(f"{name} runs.")


class _Code(msgspec.Struct):
    code: str
    expires_s: float


def open_page() -> None:
    """Print the link that logs a browser in; it is good once, for a minute.

    Examples:
      weaver open
      firefox $(weaver open)
    """
    from core.http.client import Client
    from core.in_force import read_in_force
    from core.liveness import Liveness, living_url

    paths, key = this_home(), this_home().tokens / "web"
    if not key.exists():
        raise NotRunning(home=paths.home)
    try:
        url = living_url(paths, read_in_force(paths, os.environ).hosts, "web", os.environ)
        with Client("the web process", url, read_key(key), timeout_s=10.0) as client:
            code = client.post("/api/login-code", None, _Code)
    except Unavailable:
        if not Liveness(paths, SystemClock().mono()).weaver_is_well:
            raise NotRunning(home=paths.home) from None
        raise
    print_data(f"{url}/login#{code.code}")
    print_message(f"Good once, for {code.expires_s:.0f} s.")


def audit(
    json: Json = False,
    repair: Annotated[bool, typer.Option("--repair", help="First rebuild views and copies from the truth.")] = False,
) -> None:
    """Account for every dropped line, verify every checkpoint, hold every invariant; exit 1 when anything is wrong.

    Examples:
      weaver audit
      weaver audit --repair --json
    """
    from core.accounting.audit import audit as account
    from core.accounting.repair import repair as rebuild

    if repair:
        for text in rebuild(this_home()):
            print_message(plain(text))
    found = account(this_home())
    if json:
        print_record(found)
    else:
        for name in found.lines.__struct_fields__:
            print_data(f"{name:<12} {getattr(found.lines, name):>10}")
        for invariant in found.invariants:
            print_data(f"{invariant.id:<12} {'holds' if invariant.ok else 'BROKEN'} ({invariant.checked} checked)")
            for violation in invariant.violations:
                print_data(f"  {plain(violation)}")
    raise typer.Exit(0 if found.ok else 1)


class VersionReport(Record, frozen=True, tag="weaver.version/1"):
    """`weaver version --json`."""

    version: str
    python: str


def version(json: Json = False) -> None:
    """Print the version.

    Examples:
      weaver version
      weaver version --json
    """
    if json:
        print_record(VersionReport(version=__version__, python=platform.python_version()))
    else:
        print_data(f"weaver {__version__}")
