"""What GET /v1/models says of each checkpoint and alias.

Files read: the manifests and the sizes in checkpoint folders, once each, because neither ever changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from core.checkpoints.ledger import manifest_id
from core.errors import ManifestMismatch
from core.http.oracle import ModelInfo, ModelList, ModelRow
from core.names import checkpoint_order
from core.paths import Paths
from trainer.serve.names import Names
from trainer.serve.pool import Pool

OWNER = "weaver"


@dataclass(frozen=True, slots=True)
class _Facts:
    weights_id: str
    bytes: int


class Listing:
    """Lists what can be asked for. For the thread of the event loop."""

    def __init__(self, paths: Paths, pool: Pool, names: Names) -> None:
        self._paths, self._pool, self._names = paths, pool, names
        self._facts: dict[str, _Facts] = {}

    def models(self) -> ModelList:
        """List the aliases and every checkpoint."""
        ids = self._names.checkpoints()
        self._facts = {id_: facts for id_, facts in self._facts.items() if id_ in ids}
        aliases = [(name, self._names.resolve(name).id) for name in self._names.aliases()]
        rows = [self._row(name, id_) for name, id_ in [*aliases, *((id_, id_) for id_ in ids)]]
        return ModelList(object="list", data=[row for row in rows if row is not None])

    def weights_id(self, id_: str) -> str:
        """Give the weights_id of a checkpoint on the disk or in memory. Raises ManifestMismatch when it has just gone."""
        loaded = self._pool.loaded.get(id_)
        return loaded.weights_id if loaded else self._of_disk(id_).weights_id

    def _row(self, name: str, id_: str) -> ModelRow | None:
        loaded = self._pool.loaded.get(id_)
        try:
            facts = self._of_disk(id_)
        except (ManifestMismatch, OSError):
            if loaded is None:  # it was removed while the list was made
                return None
            facts = _Facts(loaded.weights_id, loaded.bytes)
        step, day, time, _ = checkpoint_order(id_.partition("/")[2])
        info = ModelInfo(
            checkpoint=id_, loaded=loaded is not None, held=id_ in self._pool.held,
            weights_id=loaded.weights_id if loaded else facts.weights_id, step=step,
            dtype=loaded.dtype if loaded else None, device=loaded.device if loaded else None, bytes=facts.bytes,
        )  # fmt: skip
        made = datetime.strptime(day + time, "%Y%m%d%H%M").replace(tzinfo=UTC)
        return ModelRow(id=name, object="model", created=int(made.timestamp()), owned_by=OWNER, weaver=info)

    def _of_disk(self, id_: str) -> _Facts:
        if id_ not in self._facts:
            model, _, checkpoint = id_.partition("/")
            folder = self._paths.model(model).checkpoint(checkpoint)
            size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
            self._facts[id_] = _Facts(manifest_id(folder), size)
        return self._facts[id_]
