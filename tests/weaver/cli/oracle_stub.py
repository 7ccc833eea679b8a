"""An oracle that only says what it has in memory, on a real port, alive as this very process."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

from core.checkpoints.ledger import Ledger
from core.hosts import Endpoint
from core.http.oracle import ModelInfo, ModelList, ModelRow
from core.keys import make_keys
from core.names import checkpoint_step
from core.paths import Paths
from core.records import encode, encode_pretty
from tests.core.home_files import beat


def _row(paths: Paths, id_: str, loaded: bool) -> ModelRow:
    model, _, name = id_.partition("/")
    info = ModelInfo(
        checkpoint=id_, loaded=loaded, held=loaded, weights_id=Ledger(paths).weights_id(model, name),
        step=checkpoint_step(name), dtype=None, device=None, bytes=5,
    )  # fmt: skip
    return ModelRow(id=id_, object="model", created=0, owned_by="weaver", weaver=info)


@contextmanager
def oracle_with(paths: Paths, *loaded: str) -> Iterator[None]:
    """Let an oracle of this home answer GET /v1/models: every checkpoint of tiny, those named are in memory."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            ids = [f"tiny/{name}" for name in Ledger(paths).names("tiny")]
            body = encode(ModelList(object="list", data=[_row(paths, id_, id_ in loaded) for id_ in ids]))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    make_keys(paths)
    beat(paths, "oracle")
    folder = paths.status / "endpoints"
    folder.mkdir(exist_ok=True)
    endpoint = Endpoint(service="inference", host="local", address="127.0.0.1", port=server.server_address[1], pid=os.getpid())
    (folder / "inference.json").write_bytes(encode_pretty(endpoint))
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
