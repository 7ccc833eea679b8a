"""weaver queue ls | show | add | why | wait | promote | retry | rm | pause | resume | stop | skip.

Place in the flow: core.jobs.spool moves jobs, core.jobs.adding drops files, core.orders asks train_next; this says what came of
it. A job is named by its id, the name of the dropped file, or any part of the id that fits no other (core.jobs.finding).
Invariant: each verb does one thing by the same function as the web process, and says whether it was done.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, cast

import typer

from core.clock import SystemClock, iso
from core.errors import UsageError
from core.jobs.finding import resolve
from core.jobs.job import Priority
from core.jobs.spool import Spool
from core.orders import order_queue
from core.paths import PRIORITIES
from core.records import Record
from weaver.cli import queue_told
from weaver.cli.home import this_home
from weaver.cli.output import plain, print_data, print_message, print_record
from weaver.cli.queue_table import LIMIT, Listing, run_listing
from weaver.cli.queue_wait import answer_to, await_end
from weaver.cli.sidecar_options import Map, Model, Said, SidecarFile, SpecName, columns_of
from weaver.queue_list import ASKED

app = typer.Typer(no_args_is_help=True, help="Jobs: list, add, explain, wait for, move; pause and resume the queue.")
BY = "cli"
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="Its id, a part of it, or the name of the dropped file.")]
Timeout = Annotated[float | None, typer.Option("--timeout", min=0, help="Give up after so many seconds (exit 124).")]


class Moved(Record, frozen=True, tag="weaver.moved/1"):
    """What a verb did to a job."""

    job: str
    source: str
    target: str


@app.command("ls")
def ls(
    state: Annotated[str | None, typer.Option("--state", help=f"Only these: {', '.join(ASKED)}.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="How many; 0 lists all.")] = LIMIT,
    json: Json = False,
) -> None:
    """List the jobs: what trains, what waits in the order it will go, then what ended, newest first.

    Examples:
      weaver queue ls
      weaver queue ls --state rejected --limit 5
    """
    run_listing(this_home(), Listing(state, limit, json))


@app.command("show")
def show(job: JobId, json: Json = False) -> None:
    """Show everything that is recorded about one job.

    Examples:
      weaver queue show chat-messages.jsonl
      weaver queue show 213005123-9f2c --json
    """
    paths = this_home()
    view = queue_told.view_of(paths, resolve(Spool(paths), job))
    if json:
        print_record(view)
    else:
        print_data("\n".join(queue_told.view_lines(view)))


@app.command("add")
def add(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files to copy into the inbox.")],
    priority: Annotated[str | None, typer.Option("--priority", help="high, normal or low.")] = None,
    map: Map = None,
    spec: SpecName = None,
    model: Model = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="How often each line is trained.")] = None,
    sidecar: SidecarFile = None,
    force: Annotated[bool, typer.Option("--force", help="Train it even if its lines were trained before.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the verdict; exit 6 when a file is rejected.")] = False,
    timeout: Timeout = None,
    json: Json = False,
) -> None:
    """Copy files into the inbox, whole and durably, each with its sidecar first; also while the factory is stopped.

    Examples:
      weaver queue add data.jsonl --wait
      weaver queue add questions.csv --map prompt=question --map completion=answer
    """
    from weaver.cli.queue_add import add_files

    said = Said(sidecar, columns_of(map), spec, model, priority, epochs, force)
    raise typer.Exit(add_files(this_home(), files, said, wait, timeout, json))


@app.command("why")
def why(job: JobId, json: Json = False) -> None:
    """Say why a job was refused or failed, or what a queued one waits for.

    Examples:
      weaver queue why gsm8k.jsonl
      weaver queue why 213005123-9f2c --json
    """
    from weaver.job_reasons import why_drop, why_job

    paths, clock = this_home(), SystemClock()
    found = queue_told.job_or_drop(paths, job)
    told = why_job(paths, found, os.environ, clock) if isinstance(found, str) else why_drop(paths, found, os.environ, clock)
    if json:
        print_record(told)
    else:
        print_data("\n".join(queue_told.why_lines(told)))


@app.command("wait")
def wait_for(job: JobId, timeout: Timeout = None, json: Json = False) -> None:
    """Wait until a job or a drop ends: exit 0 completed, 1 failed or rejected, 124 not within --timeout.

    Examples:
      weaver queue wait data.jsonl --timeout 600
      weaver queue wait 213005123-9f2c && weaver chat -m "hello"
    """
    raise typer.Exit(await_end(this_home(), job, timeout, json))


@app.command("promote")
def promote(
    job: JobId,
    to: Annotated[str, typer.Option("--to", help="high, normal or low.")] = "high",
    json: Json = False,
) -> None:
    """Give a queued job another priority.

    Examples:
      weaver queue promote data.jsonl
      weaver queue promote 213005123-9f2c --to low
    """
    if to not in PRIORITIES:
        raise UsageError(detail=f"--to {to}: expected high, normal or low.")
    spool, name, source = _found(job)
    _say_moved(spool.promote(name, cast(Priority, to)), name, source, json)


@app.command("retry")
def retry(
    job: JobId,
    fresh: Annotated[bool, typer.Option("--fresh", help="From its first line on, not from where it stopped.")] = False,
    json: Json = False,
) -> None:
    """Queue a failed, completed or duplicate job again.

    Examples:
      weaver queue retry data.jsonl
      weaver queue retry 213005123-9f2c --fresh
    """
    spool, name, source = _found(job)
    _say_moved(spool.retry(name, fresh), name, source, json)


@app.command("rm")
def rm(job: JobId, json: Json = False) -> None:
    """Take a queued job out of the queue; it lies in queue/rejected/ with everything it had.

    Examples:
      weaver queue rm data.jsonl
      weaver queue rm 213005123-9f2c --json
    """
    spool, name, source = _found(job)
    _say_moved(spool.remove(name, BY, iso(SystemClock().now())), name, source, json)


def _found(job: str) -> tuple[Spool, str, str]:
    spool = Spool(this_home())
    name = resolve(spool, job)
    return spool, name, spool.find(name)


def _say_moved(folder: Path, job: str, source: str, json: bool) -> None:
    if json:
        print_record(Moved(job=job, source=source, target=folder.parent.name))
    else:
        print_data(f"{plain(job)}: {source} -> {folder.parent.name}")


@app.command("pause")
def pause(json: Json = False) -> None:
    """Save the running job and hold it where it is; nothing is claimed until resume.

    Examples:
      weaver queue pause
      weaver queue pause --json
    """
    _order("pause", json)


@app.command("resume")
def resume(json: Json = False) -> None:
    """Go on after pause or stop.

    Examples:
      weaver queue resume
      weaver queue resume --json
    """
    _order("resume", json)


@app.command("stop")
def stop(json: Json = False) -> None:
    """Save the running job and give it back to its place in the queue; nothing is claimed until resume.

    Examples:
      weaver queue stop
      weaver queue stop --json
    """
    _order("stop", json)


@app.command("skip")
def skip(json: Json = False) -> None:
    """Save the running job, put it behind the others and train the next one.

    Examples:
      weaver queue skip
      weaver queue skip --json
    """
    _order("skip", json)


def _order(verb: str, json: bool) -> None:
    paths = this_home()
    order = answer_to(paths, order_queue(paths, verb, BY, SystemClock().now()))
    if json:
        print_record(order)
    elif order.ok is None:
        print_data(f"{verb}: ordered")
    else:
        print_data(plain(order.message or verb))
    if order.ok is None:
        print_message(f"Weaver is not running; {verb} is obeyed when it is started, `weaver up`.")
    raise typer.Exit(1 if order.ok is False else 0)
