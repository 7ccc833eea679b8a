"""Which checkpoint a name in a request means: never another one than was asked for. What is not there: a 404 with the list."""

from __future__ import annotations

from core.checkpoints.champion import ALIAS, alias_model
from core.checkpoints.ledger import Ledger
from core.errors import NotFound
from core.paths import Paths
from trainer.serve.api_errors import invalid, unknown_model
from trainer.serve.loaded import Target
from trainer.serve.pool import Pool


class Names:
    """Resolves names against the aliases, what is in memory and what is on the disk. For the thread of the event loop."""

    def __init__(self, paths: Paths, pool: Pool, default_model: str) -> None:
        self._pool, self._default = pool, default_model
        self.ledger = Ledger(paths)

    def resolve(self, name: object) -> Target:
        """Give the checkpoint of an id, `<model>@<step>`, a unique bare name or an alias. Raises ApiError."""
        if not isinstance(name, str) or not name:
            raise invalid("model", "expected the id of a checkpoint or an alias; see GET /v1/models")
        model = alias_model(name, self._default)
        if model is not None:
            return self._alias(name, f"{model}/{ALIAS}")
        there = self._pool.loaded.get(name)
        if there is not None:
            return Target(there.model, there.checkpoint)
        try:
            return Target(*self.ledger.resolve(name))
        except NotFound as error:
            several = error.facts["kind"] == "single checkpoint"
            why = f": several checkpoints are called that ({error.facts['known']})" if several else ""
            raise unknown_model(name, self.available(), why) from error

    def alias(self, name: str) -> str:
        """Give the full name of an alias that may be set. Raises ApiError."""
        model = alias_model(name, self._default)
        if model is None:
            raise invalid("alias", f"expected '{ALIAS}' or '<model>/{ALIAS}', got {name!r}")
        return f"{model}/{ALIAS}"

    def available(self) -> list[str]:
        """List every name that can be asked for, the aliases first, then the newest checkpoints of each model."""
        return [*self.aliases(), *self.checkpoints()]

    def aliases(self) -> list[str]:
        """List the aliases that answer now."""
        names = list(self._pool.aliases)
        return [ALIAS, *names] if f"{self._default}/{ALIAS}" in names else names

    def checkpoints(self) -> list[str]:
        """List the ids of all checkpoints on the disk or in memory, the newest of each model first."""
        found = [f"{model}/{name}" for model in self.ledger.models() for name in reversed(self.ledger.names(model))]
        return [*found, *(id_ for id_ in self._pool.loaded if id_ not in found)]

    def _alias(self, name: str, full: str) -> Target:
        target = self._pool.aliases.get(full)
        if target is None:
            lost = self._pool.broken.get(full)
            why = f": the alias was not restored ({lost})" if lost else ": nothing has been deployed under this alias"
            raise unknown_model(name, self.available(), why)
        return target
