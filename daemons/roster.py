"""Which daemons exist: name -> "module:Class", imported only when asked for, so that one daemon pays for one daemon."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from core.errors import NotFound
from daemons.harness.context import Daemon

ROSTER = {
    "generate_data": "daemons.generate_data:GenerateData",
    "watch_inbox": "daemons.watch_inbox:WatchInbox",
    "train_next": "daemons.train_next:TrainNext",
    "probe_checkpoints": "daemons.probe_checkpoints:ProbeCheckpoints",
    "rank_checkpoints": "daemons.rank_checkpoints:RankCheckpoints",
    "deploy_best": "daemons.deploy_best:DeployBest",
    "reclaim_stale": "daemons.reclaim_stale:ReclaimStale",
    "prune_checkpoints": "daemons.prune_checkpoints:PruneCheckpoints",
    "send_notices": "daemons.send_notices:SendNotices",
}


def load(name: str) -> Daemon:
    """Import and make a daemon. Raises NotFound with the names there are."""
    if name not in ROSTER:
        raise NotFound(kind="daemon", name=name, known=", ".join(ROSTER))
    module, _, kind = ROSTER[name].partition(":")
    return cast(Daemon, getattr(import_module(module), kind)())
