"""`python -m core.jobs.unpack ORDER`: unpack one drop, in a process of its own that is bounded and dies with its parent.

Place in the flow: core/jobs/unpack/child starts it. Files written: lines.jsonl and then unpacked.json in the order's folder.
Invariants: it needs no more address space than ADDRESS_BYTES, whatever the file holds; killed at any instant it leaves nothing
that is taken for whole. Exit codes: 0 answered, 75 the disk is nearly full; everything else is a crash.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import sys
from pathlib import Path
from typing import BinaryIO

from core.errors import DiskLow
from core.files import OPS, replace_durable
from core.jobs.formats import DropRefused
from core.jobs.inbox import reading_of
from core.jobs.job import Reason
from core.jobs.unpack.child import DISK_LOW
from core.jobs.unpack.csv_records import write_csv
from core.jobs.unpack.json_elements import write_json
from core.jobs.unpack.order import ANSWER, Order, Unpacked
from core.jobs.unpack.output import Output, check_space
from core.jobs.unpack.packed import open_packed
from core.records import decode, encode_pretty

ADDRESS_BYTES = 3 * 2**30
_PR_SET_PDEATHSIG = 1
_WHOLE = ".whole.parquet"
_BLOCK = 1 << 20
_SINGLE_THREADED = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}


def main(text: str) -> int:
    """Obey the order and give the exit code."""
    order = decode(Order, text.encode(), "the order")
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != order.parent:
        return 0
    os.environ.update(_SINGLE_THREADED)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_BYTES, ADDRESS_BYTES))
    try:
        obey(order)
    except DiskLow:
        return DISK_LOW
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return DISK_LOW
    return 0


def obey(order: Order) -> Unpacked:
    """Unpack, in this process, and write the answer. Raises DiskLow, OSError when nothing can be written."""
    raw, folder = Path(order.raw), Path(order.folder)
    facts = raw.stat()
    unit, refusal = "line", None
    with Output(folder, order.bounds, facts.st_size) as output:
        try:
            unit = _write(raw, order, output)
        except DropRefused as error:
            refusal = Reason(code=error.code, message=error.detail)
        except MemoryError:
            refusal = Reason(
                code="too_big",
                message=f"reading it needs more than {ADDRESS_BYTES >> 30} GiB of memory; write it in smaller pieces "
                "(row groups), or as .jsonl",
            )
        output.finish()
    (folder / _WHOLE).unlink(missing_ok=True)
    answer = Unpacked(
        unit=unit, bytes=output.bytes, refusal=refusal,
        raw_bytes=facts.st_size, raw_mtime_ns=facts.st_mtime_ns, raw_inode=facts.st_ino,
    )  # fmt: skip
    replace_durable(folder / ANSWER, encode_pretty(answer), OPS)
    return answer


def _write(raw: Path, order: Order, output: Output) -> str:
    """Write all lines; give what the person counts."""
    reading = reading_of(order.name)
    assert reading is not None  # else it was refused unopened
    kind, packing = reading
    try:
        stream = open_packed(raw, packing, order.bounds)
    except OSError as error:
        raise DropRefused(code="unreadable", detail=f"the file cannot be opened: {error.strerror}") from error
    if packing:
        output.basis = order.bounds.max_file_bytes  # the stream has its own ratio
    with stream:
        if kind == ".csv":
            write_csv(stream, output, order.bounds)
            return "record"
        if kind == ".json":
            return write_json(stream, output, order.bounds, order.columns)
        if kind == ".jsonl":
            while block := stream.read(_BLOCK):
                output.write(block)
            return "line"
        whole = _whole(raw, packing, stream, order) if packing else raw
    from core.jobs.unpack.parquet_rows import write_parquet

    output.basis = whole.stat().st_size
    write_parquet(whole, output, order.columns)
    return "row"


def _whole(raw: Path, packing: str, stream: BinaryIO, order: Order) -> Path:
    """Unpack a packed Parquet file, which is read from its end."""
    path = Path(order.folder) / _WHOLE
    with path.open("wb") as file:
        while block := stream.read(_BLOCK):
            check_space(path.parent, order.bounds)
            file.write(block)
    return path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
