"""What a history of checkpoints holds: where training can go on, and how far each job's rows are in it.

Place in the flow: train_next advances head and completes jobs by it, the trainer resumes and finds its cursor by it; both must
answer alike. Reads the ledger, writes head.json (for train_next). Invariant: rows that an earlier plan of a job trained, before
it was queued afresh, never count for its present plan.
"""

from __future__ import annotations

from core.checkpoints.checkpoint import Head
from core.checkpoints.ledger import Ledger


def newest_complete(ledger: Ledger, model: str, start: str) -> str | None:
    """Give the newest of start and its descendants whose weights and training state are complete; a base needs no state.

    What a reset cut off is not among them.
    """
    family, there, newest = {start}, set(ledger.names(model)), None
    head = ledger.head(model)
    cut = set(head.cut) if head is not None else set()
    for name, link in ledger.links(model).items():
        if link.parent in family and name not in cut:
            family.add(name)
        if name in family and name in there and (link.step == 0 or ledger.has_state(model, name)):
            newest = name
    return newest


def where_to_go_on(ledger: Ledger, model: str, start: str) -> str:
    """Give the checkpoint from which a request to go on from start is meant: start, or head when a reset took start back."""
    head = ledger.head(model)
    return head.checkpoint if head is not None and not set(head.cut).isdisjoint(lineage(ledger, model, start)) else start


def lineage(ledger: Ledger, model: str, name: str) -> set[str]:
    """Give a checkpoint and all its ancestors, as far as they are recorded."""
    links, found = ledger.links(model), set[str]()
    at: str | None = name
    while at is not None and at in links and at not in found:
        found.add(at)
        at = links[at].parent
    return found


def advance_head(ledger: Ledger, model: str, at: str) -> None:
    """Move head to its newest complete descendant, to the base to begin with. Only train_next may call this."""
    names = ledger.names(model)
    if not names:
        return
    head = ledger.head(model)
    start = head.checkpoint if head else names[0]
    newest = newest_complete(ledger, model, start) or start
    if head is None or newest != start:
        reason = "trained further" if newest != names[0] else "the base"
        ledger.write_head(model, Head(checkpoint=newest, reason=reason, at=at, cut=head.cut if head else []))


def consumed_rows(ledger: Ledger, model: str, checkpoint: str, job: str, since: str | None) -> int:
    """Say how many rows of a job's plan the history up to a checkpoint holds.

    since: the checkpoint that the plan was made on. What it and its ancestors hold was trained by an older plan of the job.
    """
    links = ledger.links(model)
    at: str | None = checkpoint
    while at is not None and at != since and at in links:
        rows = [span.rows_to for span in ledger.get(model, at).consumed if span.job == job]
        if rows:
            return max(rows)
        at = links[at].parent
    return 0
