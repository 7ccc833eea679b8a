"""weaver doctor: every check with the thing really broken, and the command that it then names; it never writes."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.clock import SystemClock
from core.keys import make_keys
from core.locked import ModelFacts
from core.orders import place
from core.paths import Paths
from core.process import SPAWN_VARIABLE
from core.records import encode_pretty
from core.status import State
from tests.core.checkpoints.checkpoint_builder import make_checkpoint
from tests.core.home_files import beat, dead_process, healthy, make_home, program, put_job, supervise
from tests.fakes import wait_for
from tests.weaver.cli.command import command, environment, weaver
from weaver.doctor import OF_HOME, WITHOUT_HOME, examine
from weaver.doctor_machine import FEW_FILES, LEAST_INODES
from weaver.doctor_scene import Machine

FACTS = ModelFacts(
    name="tiny", base="builtin:tiny-qwen3", architecture="Qwen3ForCausalLM", context_length=1024, vocab_size=320,
    tokenizer_sha256="0" * 64, base_sha256="0" * 64, created_at="2026-11-20T21:30:00.000Z",
)  # fmt: skip
NAMES = {check.__name__ for check in (*OF_HOME, *WITHOUT_HOME)}


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A home in which everything seems to be well; its ports are any free ones."""
    home = make_home(tmp_path / "home")
    make_keys(home)
    home.local.chmod(0o700)
    make_checkpoint(home, 0, None)
    home.model("tiny").facts.write_bytes(encode_pretty(FACTS))
    healthy(home, "web", "oracle")
    return home


def diagnose(paths: Paths, **environ: str) -> dict[str, Any]:
    """Run `weaver doctor --json` and give its findings by name; its exit code is checked."""
    ports = {"WEAVER_WEB_PORT": "0", "WEAVER_ORACLE_PORT": "0"}
    done = weaver(paths.home, "doctor", "--json", **{**ports, **environ})
    found = json.loads(done.stdout)
    assert found["schema"] == "weaver.doctor/1", done.stderr
    checks = {check["name"]: check for check in found["checks"]}
    failed = any(check["result"] == "fail" for check in found["checks"])
    assert (found["ok"], done.returncode) == (not failed, int(failed))
    assert all((check["fix"] is None) == (check["result"] == "ok") for check in found["checks"])
    return checks


def listing(home: Path) -> dict[str, tuple[int, str]]:
    """Give every file and folder of a home, dates and contents included."""
    return {
        str(path): (path.lstat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "")
        for path in [home, *home.rglob("*")]
    }


def test_there_are_at_least_twelve_checks_and_all_are_well_in_a_well_home(paths: Paths) -> None:
    before = listing(paths.home)
    checks = diagnose(paths)
    assert {name for name, check in checks.items() if check["result"] == "fail"} == set(), checks
    assert set(checks) == NAMES and len(NAMES) >= 20
    assert listing(paths.home) == before


def test_people_see_one_line_each_and_the_fix_under_it(paths: Paths) -> None:
    (paths.tokens / "web").chmod(0o644)
    done = weaver(paths.home, "doctor", WEAVER_WEB_PORT="0", WEAVER_ORACLE_PORT="0")
    lines = done.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("fail keys"))
    assert done.returncode == 1 and done.stderr == "" and "-> `chmod 0600" in lines[at + 1]
    assert "\x1b" not in done.stdout


# -- each thing broken, on the real command line ------------------------------------------------------------------------


def break_config(paths: Paths) -> None:
    (paths.config / "weaver.yaml").write_text("modle: tiny\n")


def break_hosts(paths: Paths) -> None:
    text = (paths.config / "hosts.json").read_text().replace('"127.0.0.1"', '"203.0.113.9"')
    (paths.config / "hosts.json").write_text(text)


def break_keys(paths: Paths) -> None:
    (paths.tokens / "oracle-admin").chmod(0o640)


def break_local(paths: Paths) -> None:
    paths.local.chmod(0o755)


def lose_folder(paths: Paths) -> None:
    paths.state("normal").rmdir()


def put_file_for_folder(paths: Paths) -> None:
    lose_folder(paths)
    paths.state("normal").write_text("")


def move_away(paths: Paths) -> None:
    lose_folder(paths)
    paths.state("normal").symlink_to("/dev/shm")


def come_from_the_future(paths: Paths) -> None:
    job = put_job(paths, "normal")
    (paths.state("normal") / job).rename(paths.state("normal") / f"2099{job[4:]}")


def kill_weaver(paths: Paths) -> None:
    for name in ("web", "oracle"):
        beat(paths, name, process=dead_process())
    supervise(paths, [program("web")], process=dead_process())
    beat(paths, "weaver", process=dead_process())


def leave_orphans(paths: Paths) -> None:
    supervise(paths, [program("web")], process=dead_process())
    beat(paths, "weaver", process=dead_process())


def silence_weaver(paths: Paths) -> None:
    beat(paths, "weaver", due_in_s=-5.0)


def park(paths: Paths) -> None:
    healthy(paths, "oracle")
    parked = program("web", State.PARKED, reason="port 8888 of web is taken by pid 7 (nc)")
    supervise(paths, [parked, program("oracle")])


def silence_program(paths: Paths) -> None:
    beat(paths, "oracle", due_in_s=-30.0, note="answers")


def lose_base(paths: Paths) -> None:
    paths.model("tiny").facts.unlink()


def fail_base(paths: Paths) -> None:
    lose_base(paths)
    (paths.logs / "base_builder.out").write_text("no space left\n")
    supervise(paths, [program("oracle", State.PARKED, reason="the base model could not be made: exit code 1")])


def damage_newest(paths: Paths) -> None:
    name = make_checkpoint(paths, 10, None)
    (paths.model("tiny").checkpoint(name) / "model.safetensors").write_bytes(b"other")


def forget_order(paths: Paths) -> None:
    order = place(paths, "train_next", "pause", {}, "ann", SystemClock().now())
    long_ago = time.time() - 3600
    os.utime(paths.orders / "train_next" / f"{order.id}.json", (long_ago, long_ago))


@pytest.mark.parametrize(
    ("broken", "name", "result", "found", "fix"),
    [
        (break_config, "config", "fail", "modle", "`weaver config validate`"),
        (break_config, "ports", "warn", "not looked at", "`weaver config validate`"),
        (break_config, "base", "warn", "not looked at", "`weaver config validate`"),
        (break_hosts, "host", "fail", "which host this is", "`weaver config validate`"),
        (break_keys, "keys", "fail", "mode 0640, expected 0600", "`chmod 0600"),
        (break_local, "keys", "fail", "mode 0755, expected 0700", "`chmod 0700"),
        (lose_folder, "folders", "fail", "normal is missing", "`weaver mend`"),
        (put_file_for_folder, "folders", "fail", "is not a folder", "`mv "),
        (move_away, "folders", "fail", "another file system", "weaver mend`"),
        (come_from_the_future, "clock", "fail", "of 2099", "`timedatectl"),
        (kill_weaver, "weaver", "fail", "died without being asked", "`weaver mend`"),
        (leave_orphans, "weaver", "fail", "its programs are", "`weaver up`"),
        (silence_weaver, "weaver", "fail", "silent", "`weaver down`"),
        (park, "programs", "fail", "web is PARKED: port 8888", "`weaver restart web`"),
        (silence_program, "programs", "warn", "oracle is UNKNOWN", "`weaver logs oracle`"),
        (lose_base, "base", "warn", "no checkpoint yet", "`weaver up`"),
        (fail_base, "base", "fail", "no space left", "`weaver restart oracle`"),
        (damage_newest, "checkpoint", "fail", "model.safetensors hashes to", "`weaver ckpt verify`"),
        (forget_order, "orders", "warn", "train_next for 3", "`weaver restart train_next`"),
    ],
)
def test_broken_thing_is_found_with_the_command_that_helps(
    paths: Paths, broken: Callable[[Paths], None], name: str, result: str, found: str, fix: str
) -> None:
    broken(paths)
    before = listing(paths.home)
    finding = diagnose(paths)[name]
    assert finding["result"] == result and found in finding["found"] and fix in finding["fix"], finding
    assert listing(paths.home) == before


def test_missing_home_is_said_and_the_machine_is_looked_at_all_the_same(tmp_path: Path) -> None:
    for environ in ({"WEAVER_HOME": ""}, {"WEAVER_HOME": str(tmp_path / "nowhere")}):
        done = weaver(tmp_path / "x", "doctor", "--json", **environ)
        found = json.loads(done.stdout)
        assert (done.returncode, found["home"], found["ok"]) == (1, None, False)
        home, *others = found["checks"]
        assert home["name"] == "home" and "export WEAVER_HOME=" in home["fix"]
        assert {check["name"] for check in others} == {check.__name__ for check in WITHOUT_HOME}


def test_home_that_was_never_started_is_no_failure(tmp_path: Path) -> None:
    home = tmp_path / "home"
    make_home(home / "made")
    (home / "made" / "config").rename(home / "config")
    checks = diagnose(Paths(home))
    assert {name for name, check in checks.items() if check["result"] == "fail"} == set()
    assert all("`weaver up`" in checks[name]["fix"] for name in ("folders", "keys", "weaver", "base"))


def test_port_of_another_program_is_named_with_pid_and_variable(paths: Paths) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        for service, variable in (("web", "WEAVER_WEB_PORT"), ("inference", "WEAVER_ORACLE_PORT")):
            beat(paths, "web", process=dead_process())
            beat(paths, "oracle", process=dead_process())
            beat(paths, "weaver", process=dead_process())
            finding = diagnose(paths, **{variable: str(server.getsockname()[1])})["ports"]
            assert finding["result"] == "fail" and f"of {service} is taken by pid {os.getpid()}" in finding["found"]
            assert f"`{variable}=0 weaver up`" in finding["fix"]


def test_port_that_is_no_number_is_said(paths: Paths) -> None:
    beat(paths, "web", process=dead_process())
    finding = diagnose(paths, WEAVER_WEB_PORT="eighty")["ports"]
    assert finding["result"] == "fail" and "`unset WEAVER_WEB_PORT`" in finding["fix"]


def test_disk_below_the_floor_is_said(paths: Paths) -> None:
    finding = diagnose(paths, WEAVER__DISK__FLOOR_GB="99999999")["disk"]
    assert finding["result"] == "fail" and "`weaver ckpt rm NAME --dry-run`" in finding["fix"]


def test_package_of_another_version_is_named(paths: Paths, tmp_path: Path) -> None:
    other = tmp_path / "other" / "requests-0.0.1.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: requests\nVersion: 0.0.1\n")
    there = environment(paths.home)["PYTHONPATH"]
    finding = diagnose(paths, PYTHONPATH=f"{other.parent}:{there}")["packages"]
    assert finding["result"] == "warn" and "requests 0.0.1 (pinned 2." in finding["found"]
    assert "./scripts/install.sh`" in finding["fix"]


@pytest.mark.parametrize("package", ["typer", "yaml", "psutil"])
def test_missing_package_that_the_doctor_itself_needs_is_one_line_with_the_fix(
    paths: Paths, tmp_path: Path, package: str
) -> None:
    (tmp_path / "hole").mkdir()
    hole = f'raise ModuleNotFoundError("No module named {package!r}", name={package!r})'
    (tmp_path / "hole" / f"{package}.py").write_text(hole)
    beat(paths, "web", process=dead_process())
    done = weaver(paths.home, "doctor", PYTHONPATH=f"{tmp_path / 'hole'}:{environment(paths.home)['PYTHONPATH']}")
    assert (done.returncode, done.stdout) == (6, "") and done.stderr.count("\n") == 1
    assert f"package {package} is not installed" in done.stderr and "./scripts/install.sh`" in done.stderr


def test_cpu_torch_beside_nothing_is_well_and_missing_folder_for_temporaries_is_not(paths: Paths) -> None:
    checks = diagnose(paths, TMPDIR="/nonexistent")
    assert checks["gpu"]["result"] == "ok"
    assert checks["scratch"]["result"] == "fail" and "`export TMPDIR=`" in checks["scratch"]["fix"]


def test_low_limit_of_open_files_is_said(paths: Paths) -> None:
    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FEW_FILES - 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    done = subprocess.run(
        command("doctor", "--json"), env=environment(paths.home), capture_output=True, text=True, preexec_fn=lower, check=False
    )
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["open_files"]["result"] == "warn" and "`ulimit -n 4096`" in checks["open_files"]["fix"]


def test_stray_process_of_this_home_is_named(paths: Paths) -> None:
    environ = {**environment(paths.home), SPAWN_VARIABLE: f"{paths.home_id}:nobody"}
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=environ, start_new_session=True
    ) as stray:
        finding = diagnose(paths)["strays"]
        assert stray.stdin is not None
        stray.stdin.close()
    assert finding["result"] == "warn" and f"pid {stray.pid} (nobody)" in finding["found"] and "`weaver down`" in finding["fix"]


def test_lock_that_no_weaver_holds_is_named(paths: Paths) -> None:
    kill_weaver(paths)
    hold = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(paths.home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None and holder.stdin is not None
        assert holder.stdout.readline()
        finding = diagnose(paths)["weaver"]
        holder.stdin.close()
    assert finding["result"] == "fail" and f"pid {holder.pid} holds the lock" in finding["found"]
    assert f"`ps {holder.pid}`" in finding["fix"]


# -- what only a stand-in for the machine can break ---------------------------------------------------------------------


def look(paths: Paths, name: str, **machine: Any) -> dict[str, Any]:
    found = examine({"WEAVER_HOME": str(paths.home)}, paths.home, Machine(**machine))
    return {check.name: {"result": check.result, "found": check.found, "fix": check.fix} for check in found.checks}[name]


def test_other_system_old_kernel_and_old_python_are_said(paths: Paths) -> None:
    assert "needs Linux" in look(paths, "system", system="Darwin")["found"]
    finding = look(paths, "system", kernel="4.19.0-27-amd64")
    assert finding["result"] == "fail" and "`uname -r`" in finding["fix"]
    finding = look(paths, "python", python=(3, 10, 12))
    assert finding["result"] == "fail" and "`./scripts/install.sh`" in finding["fix"]


def test_missing_package_is_named(paths: Paths, tmp_path: Path) -> None:
    (tmp_path / "constraints.txt").write_text("requests==2.0\nnever-heard-of==1.0\nnever_needed==1.0\n")
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["Never.Heard_of>=1"]\n')
    finding = look(paths, "packages", code=tmp_path)
    assert finding["result"] == "fail" and "missing: never-heard-of 1.0; other: requests" in finding["found"]
    assert "never-needed" not in finding["found"] and "./scripts/install.sh`" in finding["fix"]
    assert look(paths, "packages", code=tmp_path / "nowhere")["result"] == "warn"


def test_driver_without_a_gpu_is_said(paths: Paths, tmp_path: Path) -> None:
    (tmp_path / "version").write_text("NVRM version\n")
    finding = look(paths, "gpu", driver=tmp_path / "version")
    assert finding["result"] == "warn" and "`nvidia-smi`" in finding["fix"]


def test_gpu_beside_a_torch_for_the_cpu_is_said() -> None:
    from weaver.doctor_machine import fits

    finding = fits("NVIDIA RTX 4090", "2.13.0+cpu")
    assert finding.result == "warn" and "pip install torch==2.13.0" in (finding.fix or "")
    assert fits("NVIDIA RTX 4090", "2.13.0+cu130").result == "ok"


@pytest.mark.parametrize(("kind", "result"), [("nfs4", "fail"), ("fuse.sshfs", "fail"), ("ext4", "ok"), ("overlay", "ok")])
def test_file_system_that_is_not_local_is_said(paths: Paths, tmp_path: Path, kind: str, result: str) -> None:
    (tmp_path / "self").mkdir()
    where = str(paths.home.resolve()).replace(" ", "\\040")
    rows = ["21 1 8:1 / / rw - xfs /dev/sda1 rw", f"22 21 0:5 / {where} rw shared:1 - {kind} somewhere rw"]
    (tmp_path / "self" / "mountinfo").write_text("\n".join(rows) + "\n")
    finding = look(paths, "file_system", proc=tmp_path)
    assert finding["result"] == result and kind in finding["found"]
    assert result == "ok" or "WEAVER_HOME=" in finding["fix"]
    assert look(paths, "file_system", proc=tmp_path / "nowhere")["result"] == "warn"


def test_exhausted_file_events_are_said(paths: Paths, tmp_path: Path) -> None:
    limits = tmp_path / "sys" / "fs" / "inotify"
    limits.mkdir(parents=True)
    (limits / "max_user_watches").write_text("65536\n")
    (limits / "max_user_instances").write_text("20\n")
    held = tmp_path / "7" / "fd"
    held.mkdir(parents=True)
    for number in range(5):
        (held / str(number)).symlink_to("anon_inode:inotify")
    finding = look(paths, "inotify", proc=tmp_path)
    assert finding["result"] == "warn" and "5 of 20" in finding["found"] and "max_user_instances" in finding["fix"]
    (limits / "max_user_instances").write_text("128\n")
    (limits / "max_user_watches").write_text("10\n")
    assert "max_user_watches" in look(paths, "inotify", proc=tmp_path)["fix"]


def test_few_inodes_are_said(paths: Paths) -> None:
    def few(path: Path) -> os.statvfs_result:
        return os.statvfs_result((4096, 4096, 10**9, 10**9, 10**9, 10**6, LEAST_INODES - 1, LEAST_INODES - 1, 0, 255))

    finding = look(paths, "disk", statvfs=few)
    assert finding["result"] == "fail" and "inodes" in finding["found"] and "`df -i" in finding["fix"]


def test_check_that_cannot_read_is_a_finding_and_not_the_end(paths: Paths) -> None:
    def refuses(path: Path) -> os.statvfs_result:
        raise PermissionError(13, "Permission denied", str(path))

    found = examine({"WEAVER_HOME": str(paths.home)}, paths.home, Machine(statvfs=refuses))
    disk = next(check for check in found.checks if check.name == "disk")
    assert disk.result == "fail" and "Permission denied" in disk.found and len(found.checks) == len(NAMES)


def test_real_weaver_is_found_well_with_its_lock(running_home: Paths) -> None:
    from tests.fakes import switch_on

    switch_on(running_home, "reclaim_stale")
    done = subprocess.run(command("up"), cwd=running_home.home, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    checks = wait_for("a fresh home", lambda: diagnose(running_home))
    assert checks["weaver"]["result"] == "ok" and "has the lock" in checks["weaver"]["found"]
    assert checks["programs"]["found"] == "1 of 1 wanted programs run"
