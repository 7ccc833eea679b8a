"""plan() as tables: what there is, what is wished, what is done."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.process import ProcessRef
from core.status import State
from weaver.desired import Desired, Program
from weaver.observed import Observed, Track, asked_to_restart, killed, signalled
from weaver.plan import (
    LOOK_S,
    LOST_S,
    SLACK_S,
    STARTING_LOOK_S,
    Action,
    BuildBase,
    Kill,
    Park,
    Rest,
    Start,
    Terminate,
    next_look,
    plan,
)

NOW = 1000.0
ORACLE = Program(name="oracle", argv=("o",), stage=0, needs_base=True, grace_s=20.0)
WEB = Program(name="web", argv=("w",), stage=1)
INBOX = Program(name="inbox", argv=("i",), grace_s=15.0, hung_grace_s=5.0, start_s=60.0)
PROBE = Program(name="probe", argv=("p",), after=("oracle",))
TRAINER = Program(name="trainer", argv=None, grace_s=120.0, hung_grace_s=30.0)
ALL = (ORACLE, WEB, INBOX, PROBE, TRAINER)


def runs(name: str, due_in: float = 5.0, **changes: object) -> Track:
    process = ProcessRef(pid=sum(name.encode()), start_ticks=1, boot_id="b")
    track = Track(
        name, State.RUNNING, process, started=NOW - 100, watched=NOW - 100, next_due=NOW + due_in, running_since=NOW - 99
    )
    return replace(track, **changes)  # type: ignore[arg-type]


def is_down(name: str, state: State = State.STOPPED, **changes: object) -> Track:
    return replace(Track(name, state), **changes)  # type: ignore[arg-type]


def seen(*tracks: Track, **changes: object) -> Observed:
    return replace(Observed(tracks={track.name: track for track in tracks}), **changes)  # type: ignore[arg-type]


def wish(*programs: Program, off: tuple[str, ...] = (), stopping: bool = False) -> Desired:
    return Desired(programs=programs or ALL, off=frozenset(off), stopping=stopping)


HEALTHY = [runs(program.name) for program in ALL]


def test_healthy_factory_needs_nothing() -> None:
    assert plan(NOW, wish(), seen(*HEALTHY)) == []


def test_nothing_runs_yet_everything_is_started_in_order_but_what_waits() -> None:
    assert plan(NOW, wish(), seen()) == [Start("oracle"), Start("web"), Start("inbox"), Rest("probe", "waits for oracle")]


@pytest.mark.parametrize(
    ("oracle", "probe"),
    [
        (is_down("oracle", State.STARTING), [Rest("probe", "waits for oracle")]),
        (runs("oracle"), [Start("probe")]),
        (is_down("oracle", State.BACKOFF, retry=NOW + 9), [Start("probe")]),
        (is_down("oracle", State.PARKED), [Start("probe")]),
        (is_down("oracle", State.FATAL), [Start("probe")]),
    ],
)
def test_program_waits_only_until_the_other_was_tried(oracle: Track, probe: list[Action]) -> None:
    actions = plan(NOW, wish(ORACLE, PROBE), seen(oracle))
    assert [action for action in actions if getattr(action, "name", "") == "probe"] == probe


def test_program_does_not_wait_for_one_that_is_switched_off() -> None:
    assert plan(NOW, wish(ORACLE, PROBE, off=("oracle",)), seen()) == [Rest("oracle", "switched off"), Start("probe")]


def test_waiting_is_said_once() -> None:
    waiting = is_down("probe", reason="waits for oracle")
    assert (
        plan(
            NOW, wish(ORACLE, PROBE), seen(is_down("oracle", State.STARTING, process=HEALTHY[0].process, watched=NOW), waiting)
        )
        == []
    )


@pytest.mark.parametrize(
    ("track", "actions"),
    [
        (is_down("inbox", State.BACKOFF, retry=NOW + 0.1), []),
        (is_down("inbox", State.BACKOFF, retry=NOW), [Start("inbox")]),
        (is_down("inbox", State.PARKED), []),
        (is_down("inbox", State.FATAL), []),
    ],
)
def test_dead_program_is_started_when_its_state_says_so(track: Track, actions: list[Action]) -> None:
    assert plan(NOW, wish(INBOX), seen(track)) == actions


@pytest.mark.parametrize(
    ("track", "late"),
    [
        (runs("inbox", due_in=-0.4), None),
        (runs("inbox", due_in=-0.6), "no heartbeat when it was due"),
        (runs("inbox", next_due=None, watched=NOW - 60), None),
        (runs("inbox", next_due=None, watched=NOW - 61), "no first heartbeat"),
    ],
)
def test_program_past_its_promise_is_hung(track: Track, late: str | None) -> None:
    assert plan(NOW, wish(INBOX), seen(track)) == ([Terminate("inbox", 5.0, f"hung: {late}", hung=True)] if late else [])


def test_nobody_is_hung_while_the_weaver_itself_was_asleep() -> None:
    assert plan(NOW, wish(), seen(*[runs(program.name, -50) for program in ALL], blind_until=NOW + 1)) == []
    assert len(plan(NOW + 2, wish(), seen(*[runs(program.name, -50) for program in ALL], blind_until=NOW + 1))) == len(ALL)


def test_nothing_is_done_with_a_program_whose_death_is_not_recorded_yet() -> None:
    for track in (runs("inbox", -60), is_down("inbox", State.STARTING)):
        history = seen(track, unburied=frozenset({"inbox"}))
        assert plan(NOW, wish(INBOX, stopping=True), history) == plan(NOW, wish(INBOX), history) == []
        assert next_look(NOW, wish(INBOX), history) == LOOK_S
    waiting = seen(runs("web"), runs("inbox"), unburied=frozenset({"inbox"}))
    assert plan(NOW, wish(WEB, INBOX, stopping=True), waiting) == [], "what stops later waits for the record"


@pytest.mark.parametrize(("beaten", "hung_at"), [(NOW - 50, NOW - 5 + LOST_S), (NOW - 4, NOW)])
def test_promise_that_may_have_found_no_room_is_waited_for(beaten: float, hung_at: float) -> None:
    track = runs("inbox", due_in=0.0, beaten=beaten)
    for now, is_hung in ((hung_at + SLACK_S, False), (hung_at + SLACK_S + 1.0, True)):
        assert bool(plan(now, wish(INBOX), seen(track, full_until=NOW - 5))) is is_hung


def test_hung_trainer_is_ended_but_never_started() -> None:
    assert plan(NOW, wish(TRAINER), seen(runs("trainer", -1))) == [
        Terminate("trainer", 30.0, "hung: no heartbeat when it was due", hung=True)
    ]
    assert plan(NOW, wish(TRAINER), seen()) == []


@pytest.mark.parametrize(
    ("signalled_ago", "is_killed", "actions"),
    [(4.9, False, []), (5.0, False, [Kill("inbox")]), (50.0, True, [])],
)
def test_sigkill_follows_sigterm_after_the_grace_and_once(signalled_ago: float, is_killed: bool, actions: list[Action]) -> None:
    track = signalled(runs("inbox", -60), NOW - signalled_ago, 5.0, "hung")
    assert plan(NOW, wish(INBOX), seen(killed(track) if is_killed else track)) == actions


def test_program_that_is_not_wanted_is_stopped_and_rests() -> None:
    assert plan(NOW, wish(INBOX, off=("inbox",)), seen(runs("inbox"))) == [
        Terminate("inbox", 15.0, "it is not wanted on this host")
    ]
    assert plan(NOW, wish(INBOX, off=("inbox",)), seen(is_down("inbox", State.BACKOFF))) == [Rest("inbox", "switched off")]
    assert plan(NOW, wish(INBOX, off=("inbox",)), seen(is_down("inbox", reason="switched off"))) == []


def test_second_process_of_a_program_is_stopped() -> None:
    stray = Program(name="inbox.99", argv=(), stage=3)
    assert plan(NOW, wish(INBOX, stray), seen(runs("inbox"), runs("inbox.99"))) == [
        Terminate("inbox.99", 15.0, "it is not wanted on this host")
    ]


def test_restart_order_ends_the_process() -> None:
    assert plan(NOW, wish(INBOX), seen(asked_to_restart(runs("inbox")))) == [
        Terminate("inbox", 15.0, "a restart was asked for")
    ]


STOP = "everything is to stop"


@pytest.mark.parametrize(
    ("alive", "ended"),
    [
        (["oracle", "web", "inbox", "probe", "trainer"], ["inbox", "probe", "trainer"]),
        (["oracle", "web", "trainer"], ["trainer"]),
        (["oracle", "web"], ["web"]),
        (["oracle"], ["oracle"]),
        ([], []),
    ],
)
def test_everything_stops_in_reverse_order(alive: list[str], ended: list[str]) -> None:
    actions = plan(NOW, wish(stopping=True), seen(*map(runs, alive)))
    assert [action.name for action in actions if isinstance(action, Terminate) and action.reason == STOP] == ended
    assert not [action for action in actions if isinstance(action, Start | BuildBase)]


def test_trainer_gets_long_enough_to_save_when_everything_stops() -> None:
    assert Terminate("trainer", 120.0, STOP) in plan(NOW, wish(stopping=True), seen(*HEALTHY))


def test_oracle_waits_for_a_trainer_that_is_still_saving() -> None:
    saving = signalled(runs("trainer", -10), NOW - 100, 120.0, STOP)
    assert plan(NOW, wish(stopping=True), seen(runs("oracle"), runs("web"), saving)) == []


@pytest.mark.parametrize(
    ("base", "actions"),
    [
        ("missing", [BuildBase(), Rest("oracle", "waits for the base model"), Start("web")]),
        ("building", [Rest("oracle", "waits for the base model"), Start("web")]),
        ("ready", [Start("oracle"), Start("web")]),
        ("failed", [Park("oracle", "the base model could not be made: no space"), Start("web")]),
    ],
)
def test_base_model_comes_before_what_needs_it(base: str, actions: list[Action]) -> None:
    assert plan(NOW, wish(ORACLE, WEB), seen(base=base, base_reason="no space")) == actions


def test_base_is_not_built_for_programs_that_are_switched_off() -> None:
    assert BuildBase() not in plan(NOW, wish(off=("oracle",)), seen(base="missing"))


@pytest.mark.parametrize(
    ("track", "seconds"),
    [
        (runs("inbox", 100), LOOK_S),
        (runs("inbox", 0.0), 0.51),
        (is_down("inbox", State.STARTING), STARTING_LOOK_S),
        (is_down("inbox", State.BACKOFF, retry=NOW + 0.25), 0.25),
        (is_down("inbox", State.BACKOFF, retry=NOW - 5), 0.0),
        (signalled(runs("inbox"), NOW - 4.5, 5.0, ""), 0.5),
    ],
)
def test_next_look_is_when_something_falls_due(track: Track, seconds: float) -> None:
    assert next_look(NOW, wish(INBOX), seen(track)) == pytest.approx(seconds)
