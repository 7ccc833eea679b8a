"""TrainerEngine.run_job: the single entry point and the only training path, in seven named steps.

One engine holds one warm stream between jobs. A failed training is an outcome, never an exception.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from core.checkpoints.history import consumed_rows
from core.checkpoints.ledger import Ledger
from core.clock import SystemClock
from core.errors import DiskLow, InvalidConfig, InvalidData, PackingRefused, WeaverError
from core.files import OPS, Ops
from core.locked import ModelFacts
from core.paths import Paths
from core.runs.run import Outcome, Progress
from trainer import patience
from trainer.callbacks import PROGRESS_EVERY_S, Hooks, StreamCallback
from trainer.config import TrainerConfig, validate, validate_job
from trainer.config import create_default_config as create_default_config
from trainer.data.collator import Collate, packed_collator, padded_collator
from trainer.data.dataset import Row, make_rows, read_lines
from trainer.data.mask_checks import MaskChecks
from trainer.data.packing import choose_packing
from trainer.data.packing_proof import prove_packing
from trainer.fingerprint import job_pairs
from trainer.loop import Diverged, StreamTrainer, arguments, forward_of, freeze_once
from trainer.model import check_locked, open_stream
from trainer.plan import Planned, Rest, is_empty, make_plan, step_facts
from trainer.poison import LINE_ERRORS, Case, convict, leave_out, suspect_step, try_alone
from trainer.result import NotTrainable, TrainingResult, described
from trainer.result import TrainingStatusWriter as TrainingStatusWriter
from trainer.stream import Pending, Stream
from trainer.trial import is_out_of_memory
from trainer.version import CODE_VERSION
from trainer.weights import Origin, config_sha256, save_checkpoint

# What can go wrong inside a run that is the run's own failure: anything else is a bug of ours and ends the process loudly.
RUN_ERRORS = (WeaverError, OSError, RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, MemoryError)


@dataclass
class _Run:
    """One job under way."""

    config: TrainerConfig
    stream: Stream
    planned: Planned
    part: Pending
    rest: Rest
    collate: Collate
    callback: StreamCallback
    case: Case
    examples: list[Row]

    def note_taught(self) -> None:
        """Let the next fingerprint hold answers that were just taught, and none that is still to come."""
        taught = {line for row in self.part.rows[: self.part.stop] for line in row}
        pairs = job_pairs([row for row in self.examples if row.line in taught])
        self.stream.latest_pairs = pairs or self.stream.latest_pairs


class TrainerEngine:
    """Runs jobs on one model, which stays warm between them."""

    def __init__(
        self,
        writer: TrainingStatusWriter,
        beat: Callable[[str, str, float], None] = lambda phase, note, patience_s: None,
        stop_wanted: Callable[[], Outcome | None] = lambda: None,
        remark: Callable[[str], None] = lambda text: None,
        mono: Callable[[], float] = time.monotonic,
        ops: Ops = OPS,
    ) -> None:
        self.writer = writer
        self.order: Callable[[], Outcome | None] = lambda: None
        self._beat, self._stop_wanted, self._remark, self._mono, self._ops = beat, stop_wanted, remark, mono, ops
        self._stream: Stream | None = None
        self._origin: Origin | None = None
        self._paths: Paths | None = None

    def has_unsaved(self) -> bool:
        """Say whether rows were trained that are in no checkpoint yet."""
        return self._stream is not None and self._stream.has_unsaved()

    def save_is_due(self, every_s: float) -> bool:
        """Say whether there is something to save and the last save is every_s seconds ago."""
        return self._stream is not None and self.has_unsaved() and self._mono() - self._stream.saved_mono >= every_s

    def save(self) -> str:
        """Publish a checkpoint of the stream and give its name. Raises DiskLow, OSError (nothing is lost), Diverged."""
        if self._stream is None or self._origin is None or self._paths is None:
            raise InvalidData(where="the trainer", detail="nothing was trained yet; there is nothing to save")
        self._beat("save", f"step {self._stream.step}", patience.save_s(self._stream.parameters))
        return save_checkpoint(self._stream, self._paths, self._origin, SystemClock().now(), self._mono(), self._ops)

    def try_save(self) -> str | None:
        """Publish a checkpoint, or say why not and give None: then what was trained stays in memory. Raises Diverged."""
        try:
            return self.save()
        except (DiskLow, OSError) as error:
            assert self._stream is not None  # it was asked for before anything that these come from
            if not self.has_unsaved():
                self._remark(f"{self._stream.checkpoint} is published, but a power cut may still take it: {error}")
                return self._stream.checkpoint
            self._remark(f"no checkpoint now, what was trained stays in memory: {error}")
            self._stream.saved_mono = self._mono()
            return None

    def run_job(self, config: TrainerConfig) -> TrainingResult:
        """Train one job and say how it ended; never raises for a failed training."""
        began = self._mono()
        try:
            run = self._prepare(config, self._ready(config))
            while run.rest.batches and not self._train(run):
                run = self._prepare(config, run.stream, run.callback)
            return self._finish(run, began)
        except Diverged as error:
            self._stream = None
            return self._failed(Outcome.DIVERGED, error, began)
        except RUN_ERRORS as error:
            return self._failed(Outcome.FAILED, error, began)

    def _ready(self, config: TrainerConfig) -> Stream:
        """Steps 1 to 3. Raises NotTrainable for what is no fault of the job."""
        try:
            return self._open(config, self._validate(config))
        except (InvalidConfig, InvalidData) as error:
            raise NotTrainable(model=config.model.name, detail=str(error)) from error

    def _validate(self, config: TrainerConfig) -> ModelFacts:
        """Step 1 and 2: the configuration, the locked facts, and the profile, which is `none`: data untouched."""
        validate(config)
        if config.hyperparams.profile.name != "none":
            raise InvalidConfig(path="training.profile.name", detail=f"{config.hyperparams.profile.name!r}; valid: none")
        return check_locked(config.model)

    def _open(self, config: TrainerConfig, facts: ModelFacts) -> Stream:
        """Step 3: the model and its tokenizer, warm if the stream already continues what the job asks for."""
        stream = self._stream
        if stream is None or not stream.continues(config.model.name, config.hyperparams, config.model.parent):
            if self.has_unsaved():
                self.save()
            self._beat("load", config.model.name, patience.load_s(config.model.paths.model(config.model.name).root))
            torch.set_num_threads(config.environment.threads)
            stream, remarks = open_stream(config.model, config.hyperparams, config.environment.device)
            for remark in remarks:
                self._remark(remark)
            stream.saved_mono = self._mono()
            self._stream, self._paths = stream, config.model.paths
        self._origin = Origin(
            base_sha256=facts.base_sha256, config_sha256=config_sha256(config.hyperparams), code_version=CODE_VERSION,
            seed=config.hyperparams.seed, job=config.data.job, skill=config.data.skill, level=config.data.level,
        )  # fmt: skip
        return stream

    def _prepare(self, config: TrainerConfig, stream: Stream, before: StreamCallback | None = None) -> _Run:
        """Step 4 and 5: rows, mask checks, plan, poison, cursor, packing proofs, and the loop's callback.

        before: the callback of the first part of this run, when it found lines to leave out.
        """
        validate_job(config)
        self._beat("tokenise", config.data.job, patience.tokenise_s(config.data.lines))
        lines = read_lines(config.data.lines)
        rows = make_rows(stream.tokenizer, lines, config.model.config.max_length)
        choice = choose_packing(config.hyperparams.packing, config.environment.device)
        resumed = config.data.plan.exists()
        planned = make_plan(config, rows, choice.packed, stream)
        pad = stream.tokenizer.pad_token_id
        collate = packed_collator(pad) if planned.plan.packing else padded_collator(pad)
        masks = MaskChecks(lines, rows, stream.tokenizer).run(planned.features, collate, planned.plan.seed)
        self._remark(f"{config.data.job}: {choice.reason}; {masks.trained_ratio:.0%} of the tokens are trained")
        case = Case(config.data.folder, config.data.lines, stream, len(lines))
        planned = leave_out(case, planned, pad)
        rows_done = self._cursor(config, stream, planned.plan.parent) if resumed else 0
        rest = planned.remaining(rows_done)
        first = [planned.features[at] for at in rest.batches[0]] if rest.batches else []
        if planned.plan.packing and first:
            prove_packing([feature for feature in first if not is_empty(feature)], collate, forward_of(stream.model))
        # What is left out at the end of a plan is no step's: a plan with nothing left to train is done.
        stop = rows_done if rest.batches else len(planned.plan.rows)
        part = Pending(config.data.job, planned.rows, planned.rows_per_epoch, rows_done, stop)
        stream.pending.append(part)
        callback = StreamCallback(
            stream, part, step_facts(planned, rest), self._hooks(lambda: self._save_taught(run)),
            described(config, stream, len(rest.rows)), config.output.every_s, config.max_train_s,
            # A job that was begun before may kill its trainer: then the very step of its death must be known.
            0.0 if resumed else PROGRESS_EVERY_S,
        )  # fmt: skip
        if before is not None:
            callback.go_on_from(before)
        run = _Run(config, stream, planned, part, rest, collate, callback, case, rows)
        callback.before_step = self._suspicion(run)
        return run

    def _suspicion(self, run: _Run) -> Callable[[int], None]:
        """Give what is done before a step: the lines of one at which the trainer died before are tried alone first."""
        suspect = suspect_step(run.case)

        def tell(line: int) -> None:
            self._beat("train", f"trying line {line} alone: the trainer died at step {suspect}", _first_step_s(run))

        def before(done: int) -> None:
            if run.stream.step == suspect:
                try_alone(run.case, run.planned, run.rest, done, tell)

        return before

    def _cursor(self, config: TrainerConfig, stream: Stream, since: str | None) -> int:
        saved = consumed_rows(Ledger(config.model.paths), config.model.name, stream.checkpoint, config.data.job, since)
        return max(saved, stream.trained_rows(config.data.job) or 0)

    def _save_taught(self, run: _Run) -> str | None:
        run.note_taught()
        return self.try_save()

    def _hooks(self, save: Callable[[], object]) -> Hooks:
        return Hooks(
            mono=self._mono, wanted=lambda: self._stop_wanted() or self.order(), save=save,
            report=self._report, beat=lambda note, patience_s: self._beat("train", note, patience_s),
        )  # fmt: skip

    def _report(self, progress: Progress) -> None:
        try:
            self.writer.write(progress)
        except OSError as error:  # a view: a full disk ends no training
            self._remark(f"no progress could be written: {error}")

    def _train(self, run: _Run) -> bool:
        """Step 6: the loop, over what the cursor left; False when it met lines that are left out from now on."""
        try:
            self._loop(run)
        except LINE_ERRORS as error:
            if is_out_of_memory(error):
                raise
            self._beat("train", f"looking for the line at which step {run.stream.step + 1} failed", _first_step_s(run))
            found = convict(run.case, run.planned, run.rest, run.callback.done)
            for line in found:
                self._remark(f"{run.config.data.job}: line {line.line} is left out: {line.reason} ({error})")
            if not found:
                raise
            return False
        return True

    def _loop(self, run: _Run) -> None:
        run.callback.tell_begin()
        freeze_once()
        steps, device = len(run.callback.facts.rows), run.config.environment.device
        args = arguments(run.config.hyperparams, run.planned.plan.accumulation, steps, device)
        trainer = StreamTrainer(run.stream, args, run.planned.features, run.rest.batches, run.collate, [run.callback])
        run.callback.trainer = trainer
        self._beat("train", f"step {run.stream.step}", _first_step_s(run))
        trainer.train()

    def _finish(self, run: _Run, began: float) -> TrainingResult:
        """Step 7: save where it is due, and say how it ended."""
        total = len(run.planned.plan.rows)
        over_time = run.part.stop < total and run.callback.outcome is None
        # A job that used up its turn goes behind the others with its cursor: none of its lines is lost.
        outcome = Outcome.SKIPPED if over_time else run.callback.outcome or Outcome.COMPLETED
        output, train_s = run.config.output, run.callback.train_s
        run.note_taught()
        if self.has_unsaved() and (output.save_at_end or outcome is not Outcome.COMPLETED or self.save_is_due(output.every_s)):
            self.try_save()
        saved = not run.stream.has_unsaved()
        stream = run.stream
        return TrainingResult(
            outcome=outcome, success=outcome is Outcome.COMPLETED, global_step=stream.step, runtime_s=self._mono() - began,
            last_checkpoint_path=run.config.model.paths.model(stream.name).checkpoint(stream.checkpoint) if saved else None,
            final_loss=run.callback.smoothed, last_checkpoint=stream.checkpoint if saved else None,
            summary=_summary(run), error=None, rows_done=run.part.stop, train_s=train_s, tokens=run.callback.tokens,
        )  # fmt: skip

    def _failed(self, outcome: Outcome, error: Exception, began: float) -> TrainingResult:
        return TrainingResult(
            outcome=outcome, success=False, global_step=self._stream.step if self._stream else 0,
            runtime_s=self._mono() - began, last_checkpoint_path=None, final_loss=None, summary=outcome.value,
            error=f"{type(error).__name__}: {error}", permanent=isinstance(error, InvalidData | NotTrainable),
            misconfigured=isinstance(error, NotTrainable | PackingRefused),
        )  # fmt: skip


def _first_step_s(run: _Run) -> float:
    return patience.first_step_s(run.stream.parameters, run.callback.facts.tokens, run.config.environment.device)


def _summary(run: _Run) -> str:
    left_out = len(run.planned.left_out)
    more = f", {left_out} lines left out as poison" if left_out else ""
    return f"{run.part.stop} of {len(run.planned.plan.rows)} rows, step {run.stream.step}{more}"
