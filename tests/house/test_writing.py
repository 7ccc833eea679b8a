"""Every published name appears through core/files.py; whoever else opens a file for writing does so in a private place.

The list below names each such module with its place, which no reader opens, and the reason. A new entry is a decision: the
place must be a folder or file name that begins with a dot, a log, or a folder outside of the home.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.house.tree import modules

WRITERS = {
    "core/files.py": ("everything", "the four operations that publish"),
    "core/log.py": ("logs/", "rotates <program>.jsonl and the events; cuts <program>.out in place: the program holds it open"),
    "core/process.py": ("logs/", "opens <program>.out before exec, so that a program's last words are kept"),
    "core/jobs/adding.py": (".add-", "copies a person's file under a dot-name of the inbox; the move to its name publishes it"),
    "core/jobs/check.py": ("outside of the home", "copies the file that is checked into the temporary folder of its caller"),
    "core/jobs/archive.py": (".data.jsonl.zst.part", "compresses under a dot-name of the job; the rename publishes the copy"),
    "core/jobs/intake.py": (".building/", "writes a job's lines there; the move to the queue publishes them"),
    "core/jobs/unpack/__main__.py": (".building/", "unpacks Parquet into the drop's private folder while it is read"),
    "core/jobs/unpack/output.py": (".building/", "writes the drop's lines into its private folder; never published"),
    "trainer/model.py": (".staging/", "writes the base there; seal and move publish it"),
    "trainer/resume.py": (".staging/", "writes the training state there; seal and move publish it"),
    "trainer/tiny/model.py": (".staging/", "transformers writes the embedded model into the folder it is given"),
    "trainer/tiny/tokenizer.py": (".staging/", "transformers writes the tokenizer into the folder it is given"),
    "trainer/weights.py": (".staging/", "writes a checkpoint there; seal and move publish it"),
    "weaver/cli/data_convert.py": (".convert-", "writes under a dot-name beside the target; the move publishes it"),
    "weaver/cli/data_place.py": (
        "outside of the home",
        "a temporary folder for the files that are checked, removed afterwards",
    ),
    "weaver/cli/output.py": ("outside of the home", "/dev/null takes the place of a stream that is closed"),
    "weaver/drill/drops.py": ("outside of the home", "drops files into a drill's own home, as a person does"),
    "weaver/drill/run.py": ("outside of the home", "writes the configuration of a drill's own home before it is started"),
    "weaver/drill/site.py": ("outside of the home", "makes a drill's own home in a temporary folder, and removes it"),
    "weaver/drill/storms.py": ("outside of the home", "puts a folder in the place of a log of a drill's own home"),
    "weaver/drill/views.py": ("outside of the home", "tears and deletes the views of a drill's own home"),
    "weaver/web/upload.py": (".upload-", "receives into a dot-name of the inbox; the move to its name publishes it"),
}
PLACES = re.compile(r"\.[a-z].*|logs/|everything|outside of the home")

METHODS = {"write_text", "write_bytes", "touch", "truncate", "ftruncate", "rename", "renames", "symlink_to", "hardlink_to"}
LIBRARY = {"save_pretrained", "save_file", "savez", "to_parquet", "FileHandler", "RotatingFileHandler", "NamedTemporaryFile",
           "TemporaryFile", "TemporaryDirectory", "SpooledTemporaryFile", "mkstemp", "mkdtemp"}  # fmt: skip
OWNED = {
    "os": {"replace", "link", "symlink", "mkfifo", "mknod", "open"},
    "shutil": {"copy", "copy2", "copyfile", "copyfileobj", "copytree", "move"},
    "torch": {"save"},
    "np": {"save"},
}
FLAGS = {"O_WRONLY", "O_RDWR", "O_CREAT", "O_APPEND", "O_TRUNC"}
MODE = re.compile(r"[rwaxbt+]{1,4}")


def writes(tree: ast.Module) -> Iterator[str]:
    """Give the source of every call that opens, creates or renames a file by another way than core/files.py."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _is_write(node):
            yield ast.unparse(node)


def _is_write(call: ast.Call) -> bool:
    owner, name = "", ""
    if isinstance(call.func, ast.Attribute):
        owner, name = ast.unparse(call.func.value), call.func.attr
    elif isinstance(call.func, ast.Name):
        name = call.func.id
    if owner == "os" and name == "open":
        return any(flag.attr in FLAGS for flag in ast.walk(call) if isinstance(flag, ast.Attribute))
    if name in {"open", "fdopen"}:
        return _opens_for_writing(call)
    if name == "replace" and owner and not call.keywords:
        return len(call.args) == 1 or owner == "os"  # text.replace() takes two
    return name in METHODS | LIBRARY or name in OWNED.get(owner, set())


def _opens_for_writing(call: ast.Call) -> bool:
    """Say whether a call of open() or something.open() has a mode that writes, or one that only runs could tell."""
    given = [one for one in call.keywords if one.arg in {"mode", None}]
    literals = [arg.value for arg in call.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    modes = [text for text in literals if MODE.fullmatch(text)]
    for one in given:
        if not isinstance(one.value, ast.Constant):
            return True
        modes.append(str(one.value.value))
    unknown = isinstance(call.func, ast.Name) and len(call.args) > 1 and not isinstance(call.args[1], ast.Constant)
    return unknown or any(set(mode) & set("wax+") for mode in modes)


def test_only_listed_modules_write() -> None:
    found = {name: calls for name, tree in modules().items() if (calls := list(writes(tree)))}
    unlisted = {name: calls for name, calls in found.items() if name not in WRITERS}
    assert not unlisted, f"publish through core/files.py, or write in a private place and list it here: {unlisted}"
    assert not WRITERS.keys() - found.keys(), f"these no longer write: {sorted(WRITERS.keys() - found.keys())}"


def test_every_listed_place_is_private() -> None:
    assert not {name: place for name, (place, reason) in WRITERS.items() if not PLACES.fullmatch(place) or not reason}


FOUND = """
open(path, 'w')
open(path, mode='ab')
open(path, mode)
os.fdopen(fd, 'a')
path.open('x')
path.open('r+b')
path.open(mode=m)
gzip.open(path, 'wt')
os.open(p, os.O_WRONLY | os.O_CREAT)
path.write_text(t)
path.write_bytes(b)
path.touch()
path.rename(new)
path.replace(new)
os.replace(a, b)
os.ftruncate(fd, 0)
shutil.copyfile(a, b)
shutil.move(a, b)
torch.save(x, p)
model.save_pretrained(p)
tempfile.mkdtemp()
logging.handlers.RotatingFileHandler(p)
"""
PASSED = """
open(path)
open(path, 'rb')
os.fdopen(fd, 'rb')
path.open()
path.open('rb')
path.open(encoding='utf-8')
os.open(p, os.O_RDONLY)
os.pidfd_open(pid)
text.replace('a', 'b')
dataclasses.replace(x, a=1)
files.move(a, b)
replace_durable(path, data)
spool.reopen(job)
path.read_text()
"""


@pytest.mark.parametrize("call", FOUND.strip().splitlines())
def test_writing_call_is_found(call: str) -> None:
    assert list(writes(ast.parse(f"def f():\n return {call}"))) == [call]


@pytest.mark.parametrize("call", PASSED.strip().splitlines())
def test_reading_or_publishing_call_is_no_finding(call: str) -> None:
    assert list(writes(ast.parse(call))) == []
