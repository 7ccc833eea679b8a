"""champion.json: which checkpoint the alias `<model>/champion` means, kept by the oracle of this host.

Place in the flow: the oracle writes it when deploy_best moves the alias and reads it at start; everybody else may read it.
Invariant: it is written durably before the oracle answers under the alias, so a restart serves what was served before.
"""

from __future__ import annotations

from core.names import is_identifier
from core.paths import Paths
from core.records import Record, read_if_there

ALIAS = "champion"


class Champion(Record, frozen=True, tag="weaver.champion/1"):
    """models/<model>/champion.json. checkpoint: its name within the model; weights_id: what it hashed to then."""

    alias: str
    checkpoint: str
    weights_id: str
    at: str


def read_champion(paths: Paths, model: str) -> Champion | None:
    """Read what a model's alias means; None before its first deployment. Raises CorruptRecord, NewerRecord."""
    return read_if_there(Champion, paths.model(model).champion)


def alias_model(alias: str, default_model: str) -> str | None:
    """Give the model whose alias this is: `champion` is the default model's, `<model>/champion` its own; None for no alias."""
    if alias == ALIAS:
        return default_model
    model, _, last = alias.rpartition("/")
    return model if last == ALIAS and is_identifier(model) else None
