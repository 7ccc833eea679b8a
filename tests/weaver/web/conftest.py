"""One web process for all tests of a module that only ask it things."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.core.home_files import make_home
from tests.weaver.web.web_process import WebProcess, running


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    with running(make_home(tmp_path_factory.mktemp("web") / "home")) as process:
        yield process
