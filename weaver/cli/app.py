"""The command line: the table of every verb, and how one command line is run (CONTRACTS.md section 12).

Place in the flow: weaver/__main__.py calls run(); weaver/cli/frame.py makes commands of the verbs, each imported only when it
is called. Invariant: usage errors exit 2 in one line; errors of ours pass through to weaver/__main__.py, which alone makes
exit codes of them; nothing here imports Typer before a verb is run.
"""

from __future__ import annotations

from collections.abc import Sequence

from weaver.cli.verb import Verb

VERBS = {
    "up": Verb("start here", "start the factory and wait until it runs", "weaver.cli.factory:up"),
    "status": Verb("start here", "the whole factory on one screen; -w watches it", "weaver.cli.factory:status"),
    "open": Verb("start here", "a link that logs a browser in", "weaver.cli.factory:open_page"),
    "chat": Verb("start here", "talk with the champion, or with any checkpoint", "weaver.cli.chat:chat"),
    "down": Verb("start here", "save and stop everything", "weaver.cli.factory:down"),
    "logs": Verb("look", "what the programs did, merged by time; -f follows", "weaver.cli.logs:logs"),
    "audit": Verb("look", "what became of every line that was ever dropped", "weaver.cli.factory:audit"),
    "events": Verb("look", "what happened, from the record of events", "weaver.cli.history:events"),
    "why": Verb("look", "why a job, a checkpoint or a program is as it is", "weaver.cli.history:why"),
    "trace": Verb("look", "a line, from the drop to the checkpoints that hold it", "weaver.cli.history:trace"),
    "doctor": Verb("mend", "what is wrong here, and which command helps", "weaver.cli.doctor:doctor"),
    "mend": Verb("mend", "do what is safe of it; --dry-run only says what", "weaver.cli.mend:mend"),
    "drill": Verb("mend", "break a factory made for it; prove that nothing is lost", "weaver.cli.drill:drill"),
    "restart": Verb("mend", "start one program anew", "weaver.cli.factory:restart"),
    "queue": Verb("", "ls show add why wait promote retry rm pause resume stop skip", "weaver.cli.queue:app"),
    "data": Verb("", "check preview stats convert", "weaver.cli.data:app"),
    "ckpt": Verb("", "ls show verify best pin unpin rm reset", "weaver.cli.checkpoints:app"),
    "deploy": Verb("", "now rollback history", "weaver.cli.deploy:app"),
    "config": Verb("", "show validate schema", "weaver.cli.config:app"),
    "suites": Verb("", "build", "weaver.cli.suites:app"),
    "completion": Verb("about", "", "weaver.cli.completion:completion"),
    "version": Verb("about", "", "weaver.cli.factory:version"),
}


def overview() -> str:
    """Give the verbs by heading, in at most 23 lines of 80 columns: a line a verb, those without a summary on one."""
    lines = ["Weaver, an always-on fine-tuning factory. `weaver VERB --help` has examples.", ""]
    last = ""
    for name, verb in VERBS.items():
        heading = f"{name if verb.verbs else verb.heading if verb.heading != last else '':<12}"
        if verb.verbs:
            lines.append(f"{heading} {verb.summary}")
        elif verb.summary:
            lines.append(f"{heading} {name:<11} {verb.summary}")
        elif verb.heading == last:
            lines[-1] += f" {name}"
        else:
            lines.append(f"{heading} {name}")
        last = verb.heading
    return "\n".join(lines)


def run(arguments: Sequence[str]) -> int:
    """Run a command line and give its exit code; a usage error is printed and gives 2."""
    from weaver.cli.frame import run_verb

    return run_verb(VERBS, overview, arguments)
