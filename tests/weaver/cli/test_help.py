"""Help says one sentence, then examples that really are command lines; what is mistyped is understood."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.exceptions import TyperException

from tests.weaver.cli.command import weaver
from tests.weaver.cli.tree import parse, verbs, words
from weaver.cli.app import VERBS
from weaver.cli.frame import sentence_and_examples
from weaver.cli.output import width

VERB_NAMES = sorted(verbs())
GROUPS = sorted(name for name, verb in VERBS.items() if verb.verbs)


@pytest.mark.parametrize("path", VERB_NAMES)
def test_help_is_one_sentence_then_at_least_two_examples_then_the_options(path: str) -> None:
    command, ctx = verbs()[path]
    sentence, examples = sentence_and_examples(command.help or "")
    assert sentence.endswith("."), f"the docstring of {path} begins with one sentence, on its own"
    assert ". " not in sentence, f"{path}: {sentence!r} is more than one sentence"
    assert len(set(examples)) >= 2, f'the docstring of {path} has two examples after "Examples:"'
    shown = command.get_help(ctx)
    assert shown.startswith(" ".join(sentence.split()[:3]))
    first, second = (shown.index(f"\n  {example}\n") for example in examples[:2])
    assert first < second < shown.index("Usage: weaver") < shown.index("Options:")
    assert "\x1b" not in shown and max(map(width, shown.splitlines())) <= 80, shown


@pytest.mark.parametrize("path", VERB_NAMES)
def test_every_example_is_a_command_line_of_its_verb(path: str) -> None:
    command, _ = verbs()[path]
    for example in sentence_and_examples(command.help or "")[1]:
        try:
            assert parse(words(example)).command is command, f"{example!r} calls another verb than {path}"
        except TyperException as error:
            pytest.fail(f"{example!r}: {error.format_message()}")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("weaver logs web", ["logs", "web"]),
        ("A=1 weaver status --json | jq .state    # why", ["status", "--json"]),
        ("firefox $(weaver open)", ["open"]),
        ("weaver chat -m 'a b' > answer.txt", ["chat", "-m", "a b"]),
    ],
)
def test_arguments_are_found_in_a_line_of_a_script(line: str, expected: list[str]) -> None:
    assert words(line) == expected


def test_example_with_a_wrong_flag_or_verb_would_be_found() -> None:
    for line in ("weaver logs --jsn", "weaver lgos", "weaver restart", "weaver logs -n few"):
        with pytest.raises(TyperException):
            parse(words(line))


def test_overview_fits_a_small_terminal_and_names_every_verb(tmp_path: Path) -> None:
    shown = weaver(tmp_path / "x").stdout
    assert len(shown.splitlines()) <= 23
    assert max(map(width, shown.splitlines())) <= 80
    for path in VERB_NAMES:
        assert path.split()[-1] in shown.split(), path
    for group in GROUPS:
        assert VERBS[group].verbs == [path.split()[1] for path in verbs() if path.startswith(f"{group} ")]


def test_overview_is_the_answer_to_nothing_and_to_every_way_of_asking_for_help(tmp_path: Path) -> None:
    shown = weaver(tmp_path / "x")
    assert (shown.returncode, shown.stderr) == (0, "")
    for ask in ("--help", "-h", "help"):
        assert weaver(tmp_path / "x", ask).stdout == shown.stdout


def test_help_of_a_verb_needs_no_home_and_can_be_asked_for_in_three_ways(tmp_path: Path) -> None:
    shown = [weaver(tmp_path / "x", *ask, WEAVER_HOME="") for ask in (["logs", "--help"], ["logs", "-h"], ["help", "logs"])]
    assert {done.returncode for done in shown} == {0}
    assert len({done.stdout for done in shown}) == 1
    assert "weaver logs train_next" in shown[0].stdout


def test_group_without_a_verb_is_a_usage_error_that_lists_its_verbs(tmp_path: Path) -> None:
    done = weaver(tmp_path / "x", "ckpt")
    assert (done.returncode, done.stdout) == (2, "")
    assert "verify" in done.stderr


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("staus", "weaver status"),
        ("sttaus --json", "weaver status"),
        ("ckpt lst", "weaver ckpt ls"),
        ("ckpt list", "weaver ckpt ls"),
        ("start", "weaver up"),
        ("stop", "weaver down"),
        ("verify tiny@3", "weaver ckpt verify"),
        ("status --jsn", "--json"),
        ("logs --folow", "--follow"),
        ("ckpt ls --jason", "--json"),
        ("logs -j", "--json"),
    ],
)
def test_typo_is_2_and_says_what_was_meant(tmp_path: Path, typed: str, meant: str) -> None:
    done = weaver(tmp_path / "x", *typed.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert f'did you mean "{meant}"' in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("typed", ["qqqqqq", "ckpt qqqqqq", "status --qqqqqq", "logs -q"])
def test_what_is_like_nothing_gets_no_suggestion(tmp_path: Path, typed: str) -> None:
    done = weaver(tmp_path / "x", *typed.split())
    assert done.returncode == 2
    assert "did you mean" not in done.stderr
    assert "--help" in done.stderr


def test_mistyped_word_cannot_drive_the_terminal(tmp_path: Path) -> None:
    for arguments in (["\x1b[2Jstatus"], ["status", "--\x1b]0;x\x07json"], ["ckpt", "l\x9b31ms"]):
        done = weaver(tmp_path / "x", *arguments)
        assert done.returncode == 2
        assert done.stderr.rstrip("\n").isprintable(), ascii(done.stderr)
