"""What is served and what was: the deployments of a model read as a history, and the view of it in status/.

Place in the flow: deploy_best appends decisions and writes the view; status, retention and promotion read them. Files:
models/<model>/deployments.jsonl (the truth, appended) and status/deployment.json (the view). Invariant: only `deployed` and
`rolled_back` change what is served; a refused or failed decision leaves it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from core.checkpoints.deployment import Deployment
from core.errors import InvalidData
from core.files import OPS, Ops, append_record, read_records, replace_quick
from core.paths import ModelPaths, Paths
from core.process import ProcessRef
from core.records import Record, decode, encode, encode_pretty, read_if_there

CHAMPION = "champion"


class Serving(Record, frozen=True, tag="weaver.serving/1"):
    """status/deployment.json: what the alias serves and when that was last proved, against which oracle process.

    checkpoint is the full id <model>/<checkpoint>; deployment is the id of the decision that chose it.
    """

    deployment: str
    model: str
    checkpoint: str
    weights_id: str
    host: str
    alias: str
    deployed_at: str
    verified_at: str
    oracle: ProcessRef | None


def serving_path(paths: Paths) -> Path:
    """Give the path of the view of what is served."""
    return paths.status / "deployment.json"


def read_serving(paths: Paths) -> Serving | None:
    """Read the view; None when there is none or it is damaged (deploy_best writes it again)."""
    try:
        return read_if_there(Serving, serving_path(paths))
    except InvalidData:
        return None


def write_serving(paths: Paths, view: Serving) -> None:
    """Publish the view. Only deploy_best may call this."""
    replace_quick(serving_path(paths), encode_pretty(view))


def append_deployment(model: ModelPaths, deployment: Deployment, ops: Ops = OPS) -> None:
    """Append a decision durably. Only deploy_best may call this."""
    append_record(model.deployments, encode(deployment), ops)


def read_deployments(model: ModelPaths) -> list[Deployment]:
    """Give every decision in order; torn lines are passed over. Raises CorruptRecord, NewerRecord for another kind of line."""
    return [decode(Deployment, record, str(model.deployments)) for record in read_records(model.deployments)]


def changes(deployments: Iterable[Deployment]) -> Iterator[tuple[str | None, Deployment]]:
    """Give (what was served from then on, the decision) for every decision that changed it."""
    for deployment in deployments:
        if deployment.verdict == "deployed":
            yield deployment.checkpoint, deployment
        elif deployment.verdict == "rolled_back":
            yield deployment.previous, deployment


def served(deployments: Iterable[Deployment]) -> tuple[str | None, str | None]:
    """Give the checkpoint that is served and the last other one that was and was not taken back; or None."""
    deployments = list(deployments)
    history = [checkpoint for checkpoint, _ in changes(deployments)]
    current = history[-1] if history else None
    gone = rolled_back(deployments) | {current}
    return current, next((name for name in reversed(history) if name is not None and name not in gone), None)


def ever_served(deployments: Iterable[Deployment]) -> list[str]:
    """Give the checkpoints that were deployed and not taken back, oldest first, each once."""
    deployments = list(deployments)
    taken_back = rolled_back(deployments)
    names = dict.fromkeys(item.checkpoint for item in deployments if item.verdict == "deployed")
    return [name for name in names if name not in taken_back]


def rolled_back(deployments: Iterable[Deployment]) -> set[str]:
    """Give the checkpoints that were taken back, by a failed proof or by hand, and not deployed by hand since.

    They are not chosen again automatically.
    """
    last = {item.checkpoint: item.verdict for item in deployments if item.verdict in ("deployed", "rolled_back")}
    return {checkpoint for checkpoint, verdict in last.items() if verdict == "rolled_back"}
