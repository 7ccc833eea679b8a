"""The digest of a problem: by it items are held out, suites are frozen and leaks of evaluation items are recognised.

Place in the flow: skills hold problems out by it, suites store it, watch_inbox compares every line's text with it. Reads and
writes no file. Invariant: two texts that differ only in Unicode composition or in white space have one digest.
"""

from __future__ import annotations

import hashlib
import unicodedata


def folded(text: str) -> str:
    """Normalise text to NFC, with every run of white space as one space and none at the ends."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def problem_digest(text: str) -> str:
    """Give the SHA-256 of the folded text, 64 hex digits."""
    return hashlib.sha256(folded(text).encode("utf-8", "surrogatepass")).hexdigest()
