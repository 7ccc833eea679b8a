"""One line of the table of verbs.

Place in the flow: weaver/cli/app.py holds the table, weaver/cli/frame.py makes commands of it. Reads and writes no file.
Invariant: light to import; where a verb is written is a name, so that the table imports none.
"""

from __future__ import annotations

from typing import NamedTuple


class Verb(NamedTuple):
    """A verb: its heading in the overview, what it does, where it is written; of a group no heading, and its verbs' names."""

    heading: str
    summary: str
    where: str

    @property
    def verbs(self) -> list[str]:
        """Give the verbs of a group; a verb has none."""
        return self.summary.split() if self.where.endswith(":app") else []
