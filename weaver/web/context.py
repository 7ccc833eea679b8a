"""What every route of the web process needs: the paths, the limits and the log, in one frozen object.

Place in the flow: weaver/web/server.py makes it, weaver/web/app.py hands it to the routes. Invariant: routes keep nothing else
between requests, but for the short-lived login codes, the names of recent uploads and the stream of events.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from core.clock import Clock
from core.overview import Overview, collect
from core.paths import Paths


@dataclass(frozen=True)
class WebContext:
    """The home as the web process sees it. Sizes in bytes."""

    paths: Paths
    environ: Mapping[str, str]
    clock: Clock
    log: logging.Logger
    key: str
    allowed_hosts: tuple[str, ...]
    max_upload_bytes: int
    floor_bytes: int

    def overview(self) -> Overview:
        """Collect the present state from files."""
        return collect(self.paths, self.environ, self.clock)
