"""GET /api/lineage: what became of the data of each generator, as each validator judged it.

Place in the flow: watch_inbox keeps status/data_lineage.json, which is served as it is. Reads every job folder only while that
view is missing. Invariant: the answer is the same either way, for both come from core.jobs.lineage.
"""

from __future__ import annotations

import threading

from starlette.responses import Response

from core.jobs.lineage import Lineage, LineageTally, read_lineage
from core.paths import Paths
from weaver.web.replies import reply


class LineageApi:
    """The lineage route. Keeps what it read of the jobs as long as the view stays away."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._tally: LineageTally | None = None
        self._lock = threading.Lock()

    def lineage(self) -> Response:
        """Give the tallies per generator and validator."""
        return reply(self.read())

    def read(self) -> Lineage:
        """Read the view, or add the jobs up where there is none."""
        view = read_lineage(self._paths)
        with self._lock:
            if view is not None:
                self._tally = None
                return view
            self._tally = self._tally or LineageTally(self._paths)
            self._tally.look()
            return self._tally.lineage()
