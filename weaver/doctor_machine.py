"""The doctor's checks of the machine: system, Python, GPU, limits, file system, space, time.

Place in the flow: weaver/doctor.py runs them. Reads /proc and the file system's own figures; writes nothing, imports no torch.
Invariant: each check is one function that gives one finding, and says the command that helps.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import resource
from datetime import timedelta
from pathlib import Path

from core.checkpoints.ledger import Ledger
from core.checkpoints.served import read_deployments
from core.clock import from_iso
from core.errors import InvalidData
from core.gpu import read_gpus
from core.jobs.spool import Spool
from core.paths import STATES
from core.status import read_heartbeat
from weaver.doctor_scene import Finding, Scene, fail, ok, warn

OLDEST_PYTHON = (3, 11)
OLDEST_KERNEL = (5, 4)  # pidfd_open, waiting on it; renameat2 is older
NETWORK = re.compile(r"nfs\d?|cifs|smb\d?|smbfs|fuse(\..*)?|fuseblk|9p|ceph|glusterfs|lustre|afs|beegfs|virtiofs")
LEAST_INODES, FEW_INODES = 1_000, 20_000
LEAST_FILES, FEW_FILES = 256, 1024
LEAST_SCRATCH = 64 * 2**20
WATCHES_NEEDED, INSTANCES_NEEDED = 1_000, 16
AHEAD = timedelta(seconds=60)


def system(scene: Scene) -> Finding:
    """Is it Linux, and new enough?"""
    machine = scene.machine
    if machine.system != "Linux":
        return fail("system", f"this is {machine.system}; Weaver needs Linux", "Run it on Linux: `uname -s` must say so.")
    numbers = tuple(int(number) for number in re.findall(r"\d+", machine.kernel)[:2])
    if numbers < OLDEST_KERNEL:
        wanted = ".".join(map(str, OLDEST_KERNEL))
        return fail("system", f"kernel {machine.kernel} is older than {wanted}", "Update the kernel: `uname -r` shows it.")
    return ok("system", f"Linux {machine.kernel}")


def python(scene: Scene) -> Finding:
    """Is Python new enough?"""
    found = ".".join(map(str, scene.machine.python))
    if scene.machine.python[:2] < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        return fail("python", f"Python {found}; {wanted} or newer is needed", "Remove .venv and run `./scripts/install.sh`.")
    return ok("python", f"Python {found}")


def gpu(scene: Scene) -> Finding:
    """Does torch's build fit the GPUs that the driver shows? Without importing torch."""
    try:
        build = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return fail("gpu", "torch is not installed: nothing can be trained or served", "`./scripts/install.sh training`")
    cards = read_gpus(scene.machine.driver)
    if not cards:
        if scene.machine.driver.exists():
            return warn("gpu", "the NVIDIA driver is loaded but shows no GPU", "`nvidia-smi` says why; the CPU is used so far.")
        return ok("gpu", f"no NVIDIA driver; torch {build} works on the CPU")
    names = ", ".join(card.name for card in cards)
    return fits(names, build)


def fits(names: str, build: str) -> Finding:
    """Say whether a build of torch, as its version names it, can use the GPUs of these names."""
    if build.endswith("+cpu"):
        version = build.partition("+")[0]
        fix = f"`.venv/bin/pip install torch=={version}` from a CUDA index that pytorch.org names."
        return warn("gpu", f"{names} is there, but torch {build} is built for the CPU alone", fix)
    return ok("gpu", f"{names}; torch {build}")


def open_files(scene: Scene) -> Finding:
    """May a process open enough files?"""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    say = f"a process may open {soft} files"
    fix = "`ulimit -n 4096` in the shell that runs `weaver up` (for good: /etc/security/limits.conf)."
    if soft != resource.RLIM_INFINITY and soft < LEAST_FILES:
        return fail("open_files", f"{say}; {LEAST_FILES} are needed", fix)
    if soft != resource.RLIM_INFINITY and soft < FEW_FILES:
        return warn("open_files", f"{say}; {FEW_FILES} are usual", fix)
    return ok("open_files", say)


def inotify(scene: Scene) -> Finding:
    """Does the kernel have file events left for this user?"""
    limits = scene.machine.proc / "sys" / "fs" / "inotify"
    try:
        instances, watches = (int((limits / f"max_user_{what}").read_text()) for what in ("instances", "watches"))
    except OSError:
        return warn("inotify", "the kernel tells no limits of file events", "Nothing to do: folders are looked at every beat.")
    used = _inotify_used(scene.machine.proc)
    say = f"{used} of {instances} instances of file events are in use by this user, {watches} watches are allowed"
    if instances - used < INSTANCES_NEEDED:
        return warn("inotify", f"{say}: too few are left", "`sudo sysctl fs.inotify.max_user_instances=512`")
    if watches < WATCHES_NEEDED:
        return warn("inotify", f"{say}: too few", "`sudo sysctl fs.inotify.max_user_watches=65536`")
    return ok("inotify", say)


def _inotify_used(proc: Path) -> int:
    used = 0
    for folder in proc.glob("[0-9]*/fd"):
        try:
            links = [str(entry.readlink()) for entry in folder.iterdir()] if folder.stat().st_uid == os.getuid() else []
        except OSError:
            continue  # it ended, or belongs to somebody else
        used += sum(link == "anon_inode:inotify" for link in links)
    return used


def file_system(scene: Scene) -> Finding:
    """Does the home lie on a local file system, where locks and renames hold?"""
    found = _mount(scene.machine.proc / "self" / "mountinfo", scene.paths.home)
    if found is None:
        return warn("file_system", "the kernel does not say where the home is mounted", f"`findmnt -T {scene.paths.home}`")
    mount, kind = found
    if NETWORK.fullmatch(kind):
        fix = "Move the home to a local disk and `export WEAVER_HOME=` there; `findmnt -t ext4,xfs,btrfs` lists some."
        return fail("file_system", f"the home is on {kind} ({mount}), where locks and renames are not certain", fix)
    return ok("file_system", f"the home is on {kind} ({mount})")


def _mount(mountinfo: Path, home: Path) -> tuple[str, str] | None:
    """Give mount point and type of the file system that holds the home (proc(5): field 5, and the first after the dash)."""
    try:
        lines = mountinfo.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    best: tuple[str, str] | None = None
    where = home.resolve()
    for line in lines:
        fields, _, rest = line.partition(" - ")
        words = fields.split()
        if len(words) < 5 or not rest.split():
            continue
        point = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), words[4])
        if where.is_relative_to(point) and (best is None or len(point) >= len(best[0])):
            best = point, rest.split()[0]
    return best


def disk(scene: Scene) -> Finding:
    """Is there space above the floor, and are there inodes?"""
    figures = scene.machine.statvfs(scene.paths.home)
    free = figures.f_bavail * figures.f_frsize
    floor = scene.in_force.config.weaver.disk.floor_bytes if scene.in_force else 0
    say = f"{free / 2**30:.1f} GiB are free, the floor is {floor / 2**30:.1f} GiB"
    if free < floor:
        fix = "Free some space: `weaver ckpt rm NAME --dry-run` says what a checkpoint would free; work then resumes by itself."
        return fail("disk", f"{say}: intake and training pause", fix)
    if figures.f_files and figures.f_favail < FEW_INODES:
        say = f"only {figures.f_favail} inodes are left of {figures.f_files}"
        fix = f"`df -i {scene.paths.home}`; remove small files there."
        return (fail if figures.f_favail < LEAST_INODES else warn)("disk", say, fix)
    return ok("disk", say)


def scratch(scene: Scene) -> Finding:
    """Is there room for temporary files, and for memory that processes share?"""
    temporary = Path(scene.environ.get("TMPDIR") or "/tmp")
    for folder, fix in (
        (
            temporary,
            "`export TMPDIR=` a folder that can be written to and has space, then start Weaver anew.",
        ),
        (Path("/dev/shm"), "`mount | grep shm`; in a container give it more: `--shm-size=1g`."),
    ):
        if not os.access(folder, os.W_OK | os.X_OK):
            return fail("scratch", f"{folder} is not there or cannot be written to", fix)
        figures = scene.machine.statvfs(folder)
        if figures.f_bavail * figures.f_frsize < LEAST_SCRATCH:
            free = figures.f_bavail * figures.f_frsize / 2**20
            return warn("scratch", f"only {free:.0f} MiB are free in {folder}", fix)
    return ok("scratch", f"{temporary} and /dev/shm can be written to")


def clock(scene: Scene) -> Finding:
    """Is it later than the newest record of this home?"""
    newest, what = max(_records(scene), default=("", ""))
    if newest and from_iso(newest) > scene.now + AHEAD:
        fix = "Set the clock: `timedatectl set-ntp true`; names and orders of jobs and checkpoints follow it."
        return fail("clock", f"{what} is of {newest}, which is yet to come", fix)
    return ok("clock", f"the newest record ({what}) is of {newest}" if newest else "there is no record yet")


def _records(scene: Scene) -> list[tuple[str, str]]:
    """Give (time, what) of the newest records of each kind."""
    paths, ledger = scene.paths, Ledger(scene.paths)
    found = []
    for path in sorted(paths.procs.glob("[!.]*.json")):
        beat = read_heartbeat(paths, path.stem)
        if beat is not None:
            found.append((beat.beat_at, f"the heartbeat of {beat.name}"))
    jobs = [job for state in STATES for job in Spool(paths).list(state)[-1:]]
    found += [(_from_name(job), f"job {job}") for job in jobs]
    for model in ledger.models():
        found += [(link.created_at, f"{model}/{name}") for name, link in list(ledger.links(model).items())[-1:]]
        try:
            found += [(one.at, f"the deployment {one.id}") for one in read_deployments(paths.model(model))[-1:]]
        except InvalidData:
            continue  # `weaver audit` says so
    return [(at, what) for at, what in found if at]


def _from_name(job: str) -> str:
    """Give the time in a job's name, YYYYMMDD-HHMMSSmmm, as ISO 8601; nothing where there is none."""
    found = re.match(r"(\d{4})(\d{2})(\d{2})-(\d{2})(\d{2})(\d{2})(\d{3})-", job)
    return "{}-{}-{}T{}:{}:{}.{}Z".format(*found.groups()) if found else ""
