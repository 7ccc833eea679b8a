"""What is in memory and which name means what: at most MOST_MODELS checkpoints, and the alias of each model.

Place in the flow: the worker thread calls everything that changes or loads; other threads only read `aliases`, `held`,
`is_loaded` and `loaded`, which are replaced whole and never changed in place. Files read: models/*/champion.json, checkpoint
folders; written: models/<model>/champion.json (this process is its only writer). Invariants: an alias, or a checkpoint that a
request waits for, is never evicted; an alias answers as one checkpoint or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from logging import Logger

from core.checkpoints.champion import ALIAS, Champion, read_champion
from core.checkpoints.ledger import Ledger
from core.clock import iso
from core.errors import InvalidData
from core.files import replace_durable
from core.paths import Paths
from core.records import encode_pretty
from trainer.serve.api_errors import ApiError
from trainer.serve.loaded import Loaded, Target, Tokenizers, load

MOST_MODELS = 3


class Pool:
    """The checkpoints in memory, the least recently used first. is_wanted says whether a request waits for a checkpoint id."""

    def __init__(self, paths: Paths, device: str, log: Logger, is_wanted: Callable[[str], bool]) -> None:
        self._paths, self._device, self._log, self._is_wanted = paths, device, log, is_wanted
        self._tokenizers = Tokenizers()
        self.loaded: Mapping[str, Loaded] = {}
        self.held: frozenset[str] = frozenset()
        self.aliases: Mapping[str, Target] = {}
        self.broken: Mapping[str, str] = {}

    def is_loaded(self, target: Target) -> bool:
        """Say whether a checkpoint is in memory."""
        return target.id in self.loaded

    def read_aliases(self) -> None:
        """Take up the aliases that the last process left; each is loaded by restore() before it is served."""
        found: dict[str, Target] = {}
        for model in Ledger(self._paths).models():
            try:
                champion = read_champion(self._paths, model)
            except InvalidData as error:
                self._break(f"{model}/{ALIAS}", str(error))
                continue
            if champion is not None:
                found[f"{model}/{ALIAS}"] = Target(model, champion.checkpoint, champion.weights_id)
        self.aliases = found

    def restore(self, alias: str) -> None:
        """Load what an alias means; an alias that cannot be loaded as it was is dropped, said loudly, and answers nothing."""
        try:
            self.get(self.aliases[alias])
        except (InvalidData, ApiError) as error:
            self.aliases = {name: target for name, target in self.aliases.items() if name != alias}
            self._break(alias, str(error))

    def get(self, target: Target) -> Loaded:
        """Give a checkpoint, loading it if needed. Raises InvalidData when it is damaged, ApiError when there is no room."""
        there = self.loaded.get(target.id)
        if there is not None:
            if target.weights_id not in (None, there.weights_id):
                raise InvalidData(where=target.id, detail=f"{there.weights_id} is loaded, expected {target.weights_id}")
            self._keep(there)
            return there
        self._make_room(target)
        new = load(self._paths, target, self._tokenizers, self._device)
        self._keep(new)
        self.held = self.held | {new.id}
        self._log.info("loaded %s, weights_id %s", new.id, new.weights_id, extra={"event": "loaded", "checkpoint": new.id})
        return new

    def set_alias(self, alias: str, target: Target, now: datetime) -> Loaded:
        """Point `<model>/champion` at a checkpoint: load it, record it durably, then let the name mean it."""
        new = self.get(target)
        champion = Champion(alias=alias, checkpoint=new.checkpoint, weights_id=new.weights_id, at=iso(now))
        replace_durable(self._paths.model(new.model).champion, encode_pretty(champion))
        self.aliases = {**self.aliases, alias: Target(new.model, new.checkpoint, new.weights_id)}
        self.broken = {name: why for name, why in self.broken.items() if name != alias}
        self._log.info("%s now means %s", alias, new.id, extra={"event": "alias", "checkpoint": new.id})
        return new

    def unload(self, target: Target) -> None:
        """Let a checkpoint go; one that is not in memory is gone already. Raises ApiError (in_use) for what must stay."""
        if not self.is_loaded(target):
            return
        if self._must_stay(target.id):
            raise ApiError(409, "in_use", f"{target.id} is an alias or has requests waiting; it stays.", "model")
        self._drop(target.id)

    def _make_room(self, target: Target) -> None:
        if len(self.loaded) < MOST_MODELS:
            return
        for old in self.loaded:
            if not self._must_stay(old):
                self._drop(old)
                return
        detail = f"{target.id} cannot be loaded: all {MOST_MODELS} places are taken by aliases or busy models: "
        raise ApiError(503, "pool_full", detail + ", ".join(self.loaded) + ". Try again later.", "model")

    def _must_stay(self, id_: str) -> bool:
        return self._is_wanted(id_) or any(target.id == id_ for target in self.aliases.values())

    def _keep(self, used: Loaded) -> None:
        """Make a checkpoint the most recently used one."""
        self.loaded = {**{id_: loaded for id_, loaded in self.loaded.items() if id_ != used.id}, used.id: used}

    def _drop(self, id_: str) -> None:
        self.loaded = {old: loaded for old, loaded in self.loaded.items() if old != id_}
        self._log.info("unloaded %s", id_, extra={"event": "unloaded", "checkpoint": id_})

    def _break(self, alias: str, why: str) -> None:
        self.broken = {**self.broken, alias: why}
        self._log.error("the alias %s was not restored: %s", alias, why, extra={"event": "alias_lost"})
