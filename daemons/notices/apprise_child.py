"""The child that hands one notice to apprise: `python -m daemons.notices.apprise_child`, everything in its environment.

Place in the flow: send_notices starts it for each notice to a URL that is no http(s) one, so that apprise (30 MB, and the code
of a hundred services) is in no daemon. The URL comes in a variable because command lines are shown to all users. Written: what
apprise said, to stdout, which is logs/apprise.out. Exit codes: 0 delivered, 1 not. Invariant: no part of the URL is printed.
"""

from __future__ import annotations

import logging
import os
import re
import sys

URL, TITLE, BODY = "WEAVER_NOTICE_URL", "WEAVER_NOTICE_TITLE", "WEAVER_NOTICE_BODY"
_SHORTEST_SECRET = 4


def without_secrets(text: str, url: str) -> str:
    """Give a text without any part of a URL that is long enough to tell somebody something."""
    parts = re.split(r"[/:@?&=#,]+", url.partition("://")[2])
    for part in sorted(filter(lambda part: len(part) >= _SHORTEST_SECRET, {url, *parts}), key=len, reverse=True):
        text = text.replace(part, "...")
    return text


class _Printer(logging.Handler):
    def __init__(self, url: str) -> None:
        super().__init__(logging.WARNING)
        self._url = url

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record of apprise's log."""
        print(without_secrets(record.getMessage(), self._url), flush=True)


def main() -> int:
    """Send the one notice; give the exit code."""
    url = os.environ[URL]
    logger = logging.getLogger("apprise")
    logger.addHandler(_Printer(url))
    logger.propagate = False
    from apprise import Apprise

    service = Apprise.instantiate(url)
    if service is None:
        print("this is no URL that apprise knows: weaver config validate", flush=True)
        return 1
    sender = Apprise()
    sender.add(service)
    return 0 if sender.notify(title=os.environ[TITLE], body=os.environ[BODY]) else 1


if __name__ == "__main__":
    sys.exit(main())
