"""Whether checkpoints are what their names say (I7), what is served was decided (I8), and what is protected is there (I11).

Place in the flow: core/accounting/audit.py asks. Reads every byte of the checkpoints on disk, champion.json, deployments.jsonl
and the pins; writes nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from core.accounting.records import Findings
from core.checkpoints.champion import read_champion
from core.checkpoints.deployment import Deployment
from core.checkpoints.ledger import Ledger, verify
from core.checkpoints.served import changes, read_deployments, served
from core.errors import InvalidData, NotFound
from core.names import checkpoint_order, is_checkpoint
from core.paths import Paths


def check_weights(paths: Paths, ledger: Ledger) -> Findings:
    """Hash every checkpoint and training state on disk, and compare each child's memory of its parent."""
    findings = Findings()
    ids: dict[tuple[str, str], str] = {}
    for folder, model in _folders(paths, ledger):
        findings.checked += 1
        try:
            weights_id = verify(folder)
        except (InvalidData, FileNotFoundError) as error:
            if folder.exists():  # else it was pruned while we read it
                findings.add(str(error))
            continue
        if folder.parent.name == "state":
            continue
        if ledger.is_complete(model, folder.name):
            ids[model, folder.name] = weights_id
        elif folder.exists():
            findings.add(f"{folder}: its manifest matches, but it holds no readable record of this checkpoint")
    for model, name in ids:
        record = ledger.get(model, name)
        known = ids.get((model, record.parent)) if record.parent else None
        if known is not None and record.weights_id_of_parent not in (None, known):
            findings.add(f"{model}/{name} remembers its parent {record.parent} as {record.weights_id_of_parent}, not {known}")
    return findings


def _folders(paths: Paths, ledger: Ledger) -> Iterator[tuple[Path, str]]:
    """Give every folder with a checkpoint's name, among the weights and among the states, by step."""
    for model in ledger.models():
        root = paths.model(model).root
        for folder in (root, root / "state"):
            names = [path.name for path in folder.iterdir() if is_checkpoint(path.name)] if folder.is_dir() else []
            for name in sorted(names, key=checkpoint_order):
                yield folder / name, model


def check_serving(paths: Paths, ledger: Ledger) -> Findings:
    """Compare what each model's alias means with the last decision, or with one whose record is being written."""
    findings = Findings()
    for model in ledger.models():
        try:
            champion = read_champion(paths, model)
            decided = read_deployments(paths.model(model))
        except InvalidData as error:
            findings.add(str(error))
            continue
        if champion is None:
            continue
        findings.checked += 1
        current, previous = served(decided)
        is_new = not decided or champion.at > decided[-1].at
        if champion.checkpoint not in (current, previous) and not is_new:
            findings.add(f"{model}/champion means {champion.checkpoint}; the last decision was {current or 'none'}")
        try:
            weights_id = ledger.weights_id(model, champion.checkpoint)
        except (NotFound, InvalidData, FileNotFoundError) as error:
            findings.add(f"{model}/champion means {champion.checkpoint}, which cannot be read: {error}")
            continue
        if weights_id != champion.weights_id:
            findings.add(f"{model}/{champion.checkpoint} is {weights_id} on disk and was deployed as {champion.weights_id}")
    return findings


def _kept_previous(decided: Sequence[Deployment]) -> str | None:
    """Give what was served before, if it had to stay all the time since: it was served right before what is served now.

    After a rollback it is an earlier one, which retention could take while it was neither; a next rollback passes it over.
    """
    _, previous = served(decided)
    history = [checkpoint for checkpoint, _ in itertools.groupby(checkpoint for checkpoint, _ in changes(decided))]
    return previous if previous in history[-2:-1] else None


def check_protected(paths: Paths, ledger: Ledger) -> Findings:
    """See that head, what is served, what was before it and what is pinned are on disk, whole."""
    findings = Findings()
    for model in ledger.models():
        try:
            head, champion = ledger.head(model), read_champion(paths, model)
            previous = _kept_previous(read_deployments(paths.model(model)))
            pins = ledger.pins(model)
        except InvalidData as error:
            findings.add(str(error))
            continue
        wanted: dict[str | None, str] = {previous: "was served before", **dict.fromkeys(pins, "is pinned")}
        if champion is not None:
            wanted[champion.checkpoint] = "is served"
        if head is not None:
            wanted[head.checkpoint] = "is the head"
        for name, why in wanted.items():
            if name is None:
                continue
            findings.checked += 1
            if not ledger.is_complete(model, name):
                findings.add(f"{model}/{name} {why}, and is not there, or not whole")
    return findings
