"""The doctor's checks of a home's own files: configuration, host, ports, keys, folders, orders.

Place in the flow: weaver/doctor.py runs them. Reads config/, queue/, status/ and /proc; writes nothing and takes no port.
Invariant: each check is one function that gives one finding, and says the command that helps.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from core.errors import InvalidConfig
from core.hosts import Host, port_variable, read_endpoint, this_host, wanted_port
from core.http.ports import port_holder
from core.keys import KEY_NAMES
from core.paths import Paths
from core.process import ProcessRef
from weaver.adoption import living
from weaver.doctor_scene import Finding, Scene, fail, ok, warn

OLD_ORDER_S = 60.0
_PROGRAM_OF = {"web": "web", "inference": "oracle"}


def home(scene: Scene) -> Finding:
    """How was the home found?"""
    return ok("home", f"{scene.paths.home}, by {scene.how}")


def config(scene: Scene) -> Finding:
    """Are the files under config/ good?"""
    if not scene.faults:
        return ok("config", "config/ is good")
    first = scene.faults[0]
    more = f", and {len(scene.faults) - 1} more" if len(scene.faults) > 1 else ""
    in_force = f"; the files of {scene.in_force.at} stay in force" if scene.in_force else "; nothing can start"
    wrong = f"{first.where}: {first.text}{more}{in_force}"
    return fail("config", wrong, "Mend the place named; `weaver config validate` lists everything that is wrong.")


def host(scene: Scene) -> Finding:
    """Which host of hosts.json is this?"""
    if scene.in_force is None:
        return fail(
            "host", "without a good config/ nobody knows which host this is", "Mend config/ first: `weaver config validate`."
        )
    hosts = scene.in_force.hosts
    try:
        here = this_host(hosts, scene.environ)
    except InvalidConfig as error:
        known = ", ".join(sorted(hosts.hosts))
        return fail("host", str(error), f"`export WEAVER_HOST=` one of {known}, or name this machine in config/hosts.json.")
    return ok("host", f"this is {here} ({', '.join(hosts.hosts[here].roles)})")


def ports(scene: Scene) -> Finding:
    """Are the ports of this host's services free, or held by our own programs?"""
    if scene.in_force is None:
        return warn("ports", "not looked at: config/ is not good", "Mend config/ first: `weaver config validate`.")
    here = scene.in_force.hosts.hosts[scene.in_force.here]
    ours = living(scene.paths)
    try:
        said = [_port(scene, here, service, ours) for service in sorted(here.services)]
    except InvalidConfig as error:
        return fail("ports", str(error), f"`unset {error.facts['path']}`, or set it to a number from 0 to 65535.")
    taken = [(text, fix) for text, fix in said if fix]
    if taken:
        return fail("ports", "; ".join(text for text, _ in taken), taken[0][1])
    return ok("ports", "; ".join(text for text, _ in said) or "this host has no services")


def _port(scene: Scene, here: Host, service: str, ours: dict[str, ProcessRef]) -> tuple[str, str]:
    """Say who has the port of a service, and what to do when it is somebody else."""
    program = ours.get(_PROGRAM_OF[service])
    endpoint = read_endpoint(scene.paths, service)
    if program is not None and endpoint is not None and endpoint.pid == program.pid:
        return f"{service} has {endpoint.port}", ""
    port = wanted_port(here, service, scene.environ)
    if port == 0:
        return f"{service} takes any free port", ""
    listening = _listening(port)
    if listening is None or listening in {ref.pid for ref in ours.values()}:
        return f"{service}: {port} is free" if listening is None else f"{service} has {port}", ""
    variable = port_variable(service)
    fix = f"Stop that program, or `weaver down` and `{variable}=0 weaver up` (0: any free port)."
    return f"port {port} of {service} is taken by {port_holder(port)}; {variable} chooses another", fix


def _listening(port: int) -> int | None:
    """Give the pid that listens on a port, 0 for one of another user; None when nobody does."""
    import psutil

    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
            return connection.pid or 0
    return None


def keys(scene: Scene) -> Finding:
    """Are the keys there, and ours alone?"""
    folder = scene.paths.tokens
    there = [folder / name for name in KEY_NAMES if (folder / name).exists()]
    for path in (scene.paths.local, *there):
        if not path.exists():
            continue
        facts = path.stat()
        if facts.st_uid != os.getuid():
            return fail("keys", f"{path} belongs to user {facts.st_uid}, not to you", f"`sudo chown -R $USER {folder.parent}`")
        if facts.st_mode & 0o077:
            mode, wanted = stat.S_IMODE(facts.st_mode), "0700" if path.is_dir() else "0600"
            fix = f"`chmod {wanted} {path}`, or `weaver mend`; who read a key may still use it: remove the file for a new one."
            return fail("keys", f"{path} can be read by others (mode {mode:04o}, expected {wanted})", fix)
    missing = [name for name in KEY_NAMES if folder / name not in there]
    if missing:
        return warn("keys", f"not made yet: {', '.join(missing)}", "`weaver up` makes them (`weaver down` first if it runs).")
    return ok("keys", f"{len(there)} keys, readable by you alone")


def folders(scene: Scene) -> Finding:
    """Are the queue's folders there, writable, and on one file system?"""
    paths = scene.paths
    if not paths.queue.is_dir() and not paths.status.is_dir():
        return warn("folders", "the folders of the factory are not made yet", "`weaver up` makes them.")
    for folder in paths.folders():
        if folder.exists() and not folder.is_dir():
            return fail("folders", f"{folder} is not a folder", f"`mv {folder} {folder}.old`, then `weaver mend`.")
        if not folder.exists():
            return fail("folders", f"{folder} is missing", "`weaver mend` makes it.")
        if not os.access(folder, os.W_OK | os.X_OK):
            return fail("folders", f"{folder} cannot be written to", f"`chmod u+rwx {folder}`")
    device = paths.queue.stat().st_dev
    away = next((folder for folder in _moved_between(paths) if folder.stat().st_dev != device), None)
    if away is not None:
        fix = f"Make it a folder of the home: `rm {away} && weaver mend`, then move what it held back in."
        return fail("folders", f"{away} is on another file system than queue/: no rename reaches it", fix)
    return ok("folders", "queue/, models/, status/ and logs/ can be written to; queue/ is on one file system")


def _moved_between(paths: Paths) -> list[Path]:
    return [folder for folder in paths.folders() if folder.is_relative_to(paths.queue)]


def orders(scene: Scene) -> Finding:
    """Does an order wait that nobody obeys?"""
    old = []
    for path in sorted(scene.paths.orders.glob("*/[!.]*.json")):
        owner = path.parent.name
        try:
            age_s = scene.now.timestamp() - path.lstat().st_mtime
        except FileNotFoundError:
            continue  # just answered
        if owner != "done" and age_s > OLD_ORDER_S:
            old.append((owner, age_s))
    if not old:
        return ok("orders", "no order waits for an answer")
    owner, age_s = max(old, key=lambda pair: pair[1])
    say = f"{len(old)} unanswered, the oldest to {owner} for {age_s:.0f} s"
    return warn("orders", say, f"`weaver logs {owner}` says why; `weaver restart {owner}`, or `weaver up` when nothing runs.")
