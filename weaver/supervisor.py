"""The Weaver's shell around plan(): it feeds events in and does what comes out; one of the three that may catch anything.

Place in the flow: weaver/supervise.py runs it, and `weaver down` where no Weaver lives. Reads heartbeats, config/ and orders;
writes status/supervisor.json, status/procs/weaver.json, config/local/supervision.json, logs/weaver.jsonl. Invariants: only what
it started or adopted, and what that left behind, is signalled, by pid, start time and boot id; if it dies, they go on.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import random
import signal
from collections.abc import Iterator, Mapping
from types import FrameType

from core.clock import Clock, SystemClock
from core.log import open_log
from core.paths import Paths
from core.process import STACKS_SIGNAL, ProcessRef, is_alive, spawn
from core.status import ProgramView, State, read_heartbeat
from weaver import observed as fold
from weaver.adoption import WEAVER, age_s, living
from weaver.backoff import SHORT_LIFE_S
from weaver.base_model import BaseModel
from weaver.desired import BASE_BUILDER, Desired, Program, python_argv, unexplained
from weaver.environment import program_environment
from weaver.memory import GIVEN_UP, Memory
from weaver.notifier import Notifier
from weaver.obedience import obey_orders
from weaver.observed import Observed, Track
from weaver.outputs import Outputs
from weaver.plan import LOOK_S, Action, BuildBase, Kill, Park, Rest, Start, Terminate, next_look, plan
from weaver.processes import Death, Processes
from weaver.publish import Publisher
from weaver.remains import code_and_words, end_all_left, end_left_by
from weaver.sight import Sight
from weaver.telling import Teller
from weaver.wishes import Wishes


class Supervisor:
    """Keeps the programs of one home running, or with stopping=True ends them all. The caller holds the lock of the home."""

    def __init__(
        self, paths: Paths, environ: Mapping[str, str], wishes: Wishes, stopping: bool = False, clock: Clock | None = None
    ) -> None:
        self._paths, self._environ, self._clock = paths, environ, clock or SystemClock()
        self._stopping = stopping
        self._log = open_log(paths, WEAVER)
        self._wishes = wishes
        self._base = BaseModel(paths, self._wishes.config.weaver.model)
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._processes = Processes(self._wake_read)
        self._dead: list[Death] = []
        self._unexplained: dict[str, Program] = {}
        self._publisher, self._notifier = Publisher(paths, self._clock, self._log), Notifier(environ)
        self._teller = Teller(paths, self._log)
        self._outputs = Outputs(paths.logs)
        self._rng = random.Random()
        self._sight = Sight(self._clock.mono())
        self._memory = Memory(paths, self._log)
        self._tracks = self._memory.recall(wishes.mark)
        self._problem = ""
        self._errors: dict[str, str] = {}  # of this step, by part
        self._said: dict[str, str] = {}  # of the step before

    def install_signals(self) -> None:
        """Turn SIGTERM and SIGINT into the wish that everything stops; become the parent of orphans. Main thread only."""
        faulthandler.enable()
        faulthandler.register(STACKS_SIGNAL)
        self._processes.become_reaper()
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True

    def run(self) -> None:
        """Work until everything was asked to stop and has stopped."""
        self._log.info("started (pid %d) in %s", os.getpid(), self._paths.home)
        self._adopt_living()
        while True:
            delay = LOOK_S
            self._said, self._errors = self._errors, {}
            with self._apart("this step"):
                delay = self._step()
            delay = min(LOOK_S if self._errors else delay, self._trim())
            if not self._errors:  # what fails for so long that the watchdog bites may be mended by a new Weaver
                self._notifier.alive(self._clock.mono(), self._publisher.note, self._stopping)
            if self._is_over():
                break
            self._dead += self._processes.wait(delay)
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 4096)
        self._memory.forget()
        self._publisher.publish(self._views(), True, "", exit_code=0)
        self._log.info("everything has stopped")

    @contextlib.contextmanager
    def _apart(self, what: str) -> Iterator[None]:
        """Keep an error of one part of a step from the others. It is logged, once for as long as it stays the same."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the supervisor is one of the three shells
            self._errors[what] = repr(error)
            if self._said.get(what) != repr(error):
                self._log.error("%s failed, the next step tries again: %s", what, error, exc_info=error)

    def _step(self) -> float:
        now = self._clock.mono()
        if self._sight.step(now, self._publisher.is_full):
            self._go_on(now)
        self._bury_the_dead(now)
        with self._apart("the look at config/"):
            self._look_at_wishes(now)
        for program in self._desired().programs:
            with self._apart(f"the look at {program.name}'s heartbeat"):
                self._read_beat(now, program.name)
        if self._stopping:
            self._adopt_living()
        with self._apart("the look at orders"):
            for name in obey_orders(self._paths, self._desired(), self._tracks, self._log):
                self._restart(name)
        for action in plan(now, self._desired(), self._observed()):
            with self._apart(str(action)):
                self._act(now, action)
        self._bury_the_dead(now)  # what died while it was started
        self._memory.keep(self._tracks, self._wishes.mark, now)
        self._publisher.publish(self._views(), self._stopping, self._problem, self._wishes.status())
        return next_look(now, self._desired(), self._observed())

    def _is_over(self) -> bool:
        if not self._stopping or self._processes.refs() or self._dead:
            return False
        with self._apart("the look for what is left over"):
            return end_all_left(self._paths, self._log)
        return False

    def _trim(self) -> float:
        """Keep what programs print bounded, also while a step fails; give the seconds until that is due again."""
        try:
            return self._outputs.trim(self._clock.mono())
        except OSError as error:
            self._log.error("what the programs print could not be cut: %s", error)
            return LOOK_S

    # -- seeing ----------------------------------------------------------------------------------------------------

    def _desired(self) -> Desired:
        return self._wishes.desired(tuple(self._unexplained.values()), self._stopping)

    def _observed(self) -> Observed:
        return Observed(
            tracks=self._tracks, base=self._base.state, base_reason=self._base.reason, blind_until=self._sight.blind_until,
            full_until=self._sight.full_until, unburied=frozenset(death.name for death in self._dead),
        )  # fmt: skip

    def _track(self, name: str) -> Track:
        return self._tracks.get(name, Track(name))

    def _views(self) -> list[ProgramView]:
        return [self._track(program.name).view() for program in self._desired().wanted]

    def _look_at_wishes(self, now: float) -> None:
        is_new = self._wishes.has_changed(now)
        if self._wishes.problem != self._problem:
            self._problem = self._wishes.problem
            self._teller.config(self._problem, self._wishes.status())
        if is_new:
            self._log.info("config/ has changed: what was given up is tried again")
            self._base.look_again(self._wishes.config.weaver.model)
            self._tracks = {name: fold.forgiven(track) for name, track in self._tracks.items()}

    def _read_beat(self, now: float, name: str) -> None:
        beat = read_heartbeat(self._paths, name)
        if beat is None:
            return
        if name not in self._processes and beat.exit_code is None and is_alive(beat.process):
            self._adopt(name, beat.process)
        before = self._track(name)
        after = self._tracks[name] = fold.beaten(before, now, beat)
        if after.state is not before.state:
            self._log.info("%s is %s", name, after.state)

    def _adopt_living(self) -> None:
        held = self._processes.refs()
        for name, ref in living(self._paths).items():
            if ref not in held:
                self._adopt(name, ref)

    def _adopt(self, name: str, ref: ProcessRef) -> None:
        if name in self._observed().unburied or not self._processes.adopt(name, ref):
            return
        if all(program.name != name for program in self._desired().programs):
            self._unexplained[name] = unexplained(name)
        if name == BASE_BUILDER:
            self._base.is_being_made()
        self._tracks[name] = fold.adopted(self._track(name), self._clock.mono(), ref, age_s(ref))
        self._log.info("adopted %s (pid %d)", name, ref.pid)

    def _bury_the_dead(self, now: float) -> None:
        for death in self._dead[:]:
            with self._apart(f"the record of {death.name}'s death"):
                self._bury(now, death)
                self._dead.remove(death)

    def _bury(self, now: float, death: Death) -> None:
        """Record a death. What may fail comes before the first change: then it is tried again."""
        name, ref = death.name, death.ref
        end_left_by(self._paths, death, self._log)
        code, words = code_and_words(self._paths, death, now - self._track(name).started)
        if name == BASE_BUILDER:
            self._base.settle(code)
        desired = self._desired()
        is_wanted = any(program.name == name and desired.wants(program) for program in desired.programs)
        excuse = death.unstarted or ("nothing could be written" if now - self._sight.full_until < SHORT_LIFE_S else "")
        track = self._tracks[name] = fold.exited(self._track(name), now, code, is_wanted, self._rng.random(), words, excuse)
        if self._unexplained.pop(name, None):
            del self._tracks[name]
        wait = f", next start in {track.retry - now:.1f} s" if track.state is State.BACKOFF else ""
        self._log.info("%s (pid %s) has ended: exit code %s; now %s%s", name, ref and ref.pid, code, track.state, wait)
        if track.state in GIVEN_UP:
            self._teller.given_up(track)
        elif track.state is State.BACKOFF:
            self._teller.event("died", name=name, reason=track.reason, last_exit=code)
        if name == BASE_BUILDER:
            self._base_is_settled()

    def _base_is_settled(self) -> None:
        self._log.info("the base of %s is %s %s", self._base.model, self._base.state, self._base.reason)
        if self._base.state == "ready":
            for program in self._desired().programs:
                if program.needs_base:
                    self._tracks[program.name] = fold.forgiven(self._track(program.name))

    def _go_on(self, now: float) -> None:
        """Try at once, now that there is room again, what failed without."""
        self._log.warning("heartbeats could not be written, and can be again: whatever waits is tried now")
        self._tracks = {name: fold.hurried(track, now) for name, track in self._tracks.items()}
        if self._base.state == "failed":
            self._base.look_again(self._wishes.config.weaver.model)

    # -- acting ----------------------------------------------------------------------------------------------------

    def _restart(self, name: str) -> None:
        if any(program.name == name and program.needs_base for program in self._desired().programs):
            self._base.look_again(self._wishes.config.weaver.model)
        self._tracks[name] = fold.asked_to_restart(self._track(name))

    def _act(self, now: float, action: Action) -> None:
        match action:
            case Start(name):
                program = next(program for program in self._desired().programs if program.name == name)
                self._spawn(now, name, python_argv(program), program.nice)
            case Terminate(name, grace_s, reason, is_hung):
                if is_hung and self._processes.ask_for_stacks(name):
                    self._log.warning("the stacks of %s's threads are in logs/%s.out", name, name)
                self._processes.signal(name, signal.SIGTERM)
                if is_hung:
                    self._processes.signal(name, signal.SIGCONT)  # one that was stopped may end in order
                self._tracks[name] = fold.signalled(self._track(name), now, grace_s, reason)
                self._log.info("SIGTERM to %s: %s", name, reason)
                if not self._stopping:
                    self._teller.event("terminated", name=name, reason=reason)
            case Kill(name):
                self._log.warning("SIGKILL to %s: still alive %.0f s after SIGTERM", name, self._track(name).grace_s)
                self._processes.signal(name, signal.SIGKILL)
                self._tracks[name] = fold.killed(self._track(name))
            case Park(name, reason):
                self._tracks[name] = fold.parked(self._track(name), reason)
                self._teller.given_up(self._tracks[name])
            case Rest(name, reason):
                self._tracks[name] = fold.resting(self._track(name), reason)
            case BuildBase():
                self._log.info("model %s has no checkpoint yet: making its base", self._base.model)
                self._base.is_being_made()
                self._spawn(now, BASE_BUILDER, self._base.builder_argv(), 0)

    def _spawn(self, now: float, name: str, argv: list[str], nice: int) -> None:
        environ = program_environment(self._environ, self._paths, self._wishes.config.weaver.sharing)
        self._tracks[name] = fold.started(self._track(name), now, None)
        try:
            child = spawn(argv, name, self._paths.home_id, self._paths.logs / f"{name}.out", environ, self._paths.home, nice)
            ref = self._processes.hold_child(name, child)
        except OSError as error:
            self._log.error("%s could not be started: %s", name, error)
            self._dead.append(Death(name, None, None, f"it could not be started: {error}"))
            return
        if ref is None:
            self._dead.append(Death(name, None, child.returncode))
            return
        self._tracks[name] = fold.held(self._track(name), ref)
        self._log.info("started %s (pid %d)", name, ref.pid)
