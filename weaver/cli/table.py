"""The plain table of `weaver status`: an Overview as at most 23 lines of at most 80 columns.

Place in the flow: weaver/cli/status.py prints it. Reads and writes no file. Invariant: a pure function of the overview;
whatever stands in names and notes, every line fits and holds no escape but our own colours.
"""

from __future__ import annotations

import textwrap

from core.overview import Overview, SkillLine
from core.status import DaemonStatus, State, StatusReport
from weaver.cli.output import bytes_text, duration_text, fit, pad, paint, plain

COLUMNS = 80
LINES = 23
_COLOURS = {"healthy": "green", "degraded": "yellow", "stopped": "red"}
_STATE_COLOURS = {
    State.RUNNING: "green", State.STARTING: "yellow", State.STOPPING: "yellow", State.BACKOFF: "yellow",
    State.FATAL: "red", State.PARKED: "red", State.UNKNOWN: "red", State.EXITED: "red",
}  # fmt: skip
_HEADER = f"{'NAME':<17} {'STATE':<8} {'PID':>7} {'UP':>6} {'RST':>3} {'BEAT':>5} {'EXIT':>4} NOTE"


def lines(overview: Overview, colours: bool) -> list[str]:
    """Give the lines to print."""
    status = overview.status
    before = [_first(status, colours), _second(status)]
    after = [*_queue(status), _training(status), _serving(overview, colours), *_learning(overview), *_ranking(overview)]
    after += [_cut(f"web      {status.web or '-'}   oracle {status.oracle or '-'}")]
    after += [paint(_cut(line), "red", colours) for line in _problems(overview.problems)]
    after += [_cut(f"next     {next_command(overview)}")]
    room = LINES - len(before) - len(after) - 1
    return [*before, *_table(status.daemons, room, colours), *after]


def _problems(problems: list[str]) -> list[str]:
    """Give the first problem on up to three lines, so that it says what to do, and two more on one each."""
    out = []
    for most, problem in zip((3, 1, 1), problems, strict=False):
        pieces = textwrap.wrap(plain(problem), COLUMNS - 9)
        pieces = [*pieces[: most - 1], " ".join(pieces[most - 1 :])] if len(pieces) > most else pieces
        out += [f"{'' if at else 'problem':<8} {piece}" for at, piece in enumerate(pieces)]
    return out


def _cut(text: str) -> str:
    return fit(text, COLUMNS)


def _first(status: StatusReport, colours: bool) -> str:
    supervisor = status.supervisor
    weaver = f"weaver pid {supervisor.pid} up {duration_text(supervisor.up_s)}" if supervisor else "no weaver"
    state = status.state.upper()
    rest = f"  {weaver}  host {plain(status.host)}  {status.checked_at[:19]}Z"
    return paint(state, _COLOURS.get(status.state), colours) + fit(rest, COLUMNS - len(state))


def _second(status: StatusReport) -> str:
    gpus = "; ".join(
        f"{plain(gpu.name)} {bytes_text(gpu.memory_used_bytes)}/{bytes_text(gpu.memory_total_bytes)}"
        + (f" {gpu.utilisation:.0%}" if gpu.utilisation is not None else "")
        for gpu in status.gpus
    )
    disk = f"disk {bytes_text(status.disk.free_bytes)} free"
    if status.disk.floor_bytes is not None and status.disk.free_bytes < status.disk.floor_bytes:
        disk += f", below the floor of {bytes_text(status.disk.floor_bytes)}"
    return _cut(f"home {plain(status.home)}  {disk}  {gpus or 'no GPU'}")


def _table(rows: list[DaemonStatus], room: int, colours: bool) -> list[str]:
    """Give header and rows; where they do not fit, those in order are left out first and counted."""
    if not rows:
        return []
    shown = rows
    if len(rows) > room:
        worst_first = sorted(range(len(rows)), key=lambda at: rows[at].state is State.RUNNING)
        shown = [rows[at] for at in sorted(worst_first[: max(0, room - 1)])]
    left_out = len(rows) - len(shown)
    out = [paint(_HEADER, "dim", colours), *(_row(row, colours) for row in shown)]
    return out + ([f"... and {left_out} more: weaver status --json"] if left_out else [])


def _row(row: DaemonStatus, colours: bool) -> str:
    age = "-" if row.heartbeat_age_s is None else duration_text(row.heartbeat_age_s)
    text = "{:>7} {:>6} {:>3} {:>5} {:>4} ".format(
        row.pid or "-", duration_text(row.up_s), row.restarts, fit(age, 5), "-" if row.last_exit is None else row.last_exit
    )
    state = paint(pad(row.state.value, 8), _STATE_COLOURS.get(row.state), colours)
    used = 18 + 9 + len(text)
    return f"{pad(plain(row.name), 17)} {state} {text}{fit(plain(row.note), COLUMNS - used)}".rstrip()


def _queue(status: StatusReport) -> list[str]:
    q = status.queue
    waiting = f"queue    inbox {q.inbox}  high {q.high}  normal {q.normal}  low {q.low}  processing {q.processing}"
    return [
        _cut(waiting + ("  PAUSED" if q.paused else "")),
        _cut(f"ended    completed {q.completed}  failed {q.failed}  rejected {q.rejected}"),
    ]


def _training(status: StatusReport) -> str:
    t = status.training
    if t is None:
        return "training nothing: no job is claimed"
    step = f"step {t.step}/{t.total_steps}" if t.step is not None else "not begun"
    figures = [
        f" loss {t.loss:.3f}" if t.loss is not None else "",
        f" {t.tokens_per_s:.0f} tok/s" if t.tokens_per_s is not None else "",
        f" {duration_text(t.eta_s)} left" if t.eta_s is not None else "",
    ]
    return _cut(f"training {plain(t.model)} {plain(t.phase)} {step}{''.join(figures)}  {plain(t.job)}")


def _serving(overview: Overview, colours: bool) -> str:
    serving = overview.status.serving
    if serving is None:
        return "serving  nothing yet: no checkpoint was deployed"
    age = duration_text(overview.proof_age_s)
    proof = f"NOT proved for {age}" if overview.proof_is_late else f"proved {age} ago"
    if not overview.oracle_is_up:
        proof = "but the oracle is not up"
    text = _cut(f"serving  {plain(serving.checkpoint)} on {plain(serving.host)}, {proof}")
    return paint(text, "yellow" if overview.proof_is_late or not overview.oracle_is_up else None, colours)


def _skill(line: SkillLine) -> str:
    if line.mastered_level >= line.target_level:
        return f"{plain(line.skill)} done (mastered {line.mastered_level})"
    return f"{plain(line.skill)} level {line.training_level} (mastered {line.mastered_level})"


def _learning(overview: Overview) -> list[str]:
    """Give the curriculum: every skill, as many to a line as fit, and whether there is nothing left to learn."""
    if overview.skills is None:
        return ["learning unknown: no curriculum computed yet"]
    parts = ["nothing to learn:"] if overview.nothing_to_learn else []
    out = [" ".join(["learning", *parts])]
    for text in [_skill(line) for line in overview.skills] or ["no skill is enabled"]:
        joined = f"{out[-1]} {text}" if out[-1].endswith((":", "learning")) else f"{out[-1]} · {text}"
        if len(joined) <= COLUMNS:
            out[-1] = joined
        else:
            out.append(f"         {text}")
    return [_cut(line) for line in out]


def _ranking(overview: Overview) -> list[str]:
    if not overview.ranking:
        return []
    best = "  ".join(
        f"{ranked.place}. {plain(ranked.checkpoint).removeprefix('checkpoint-')} {100 * ranked.accuracy:.1f}%"
        for ranked in overview.ranking
    )
    return [_cut(f"ranking  {best}")]


def next_command(overview: Overview) -> str:
    """Give what a person most likely wants to do next."""
    status = overview.status
    ill = [row.name for row in status.daemons if row.state is not State.RUNNING]
    if status.state == "stopped":
        return "weaver up    starts the factory"
    if status.supervisor is None:
        return "weaver up    starts a Weaver, which adopts what runs"
    if ill:
        return f"weaver logs {plain(ill[0])}    says what it did; weaver restart {plain(ill[0])}    starts it again"
    if status.serving is None:
        return "weaver status -w    watches until the first checkpoint is deployed"
    return "weaver chat    talks with the champion; drop files into queue/inbox/"
