"""`python -m trainer init | work | serve`: make a model's base, train claimed jobs, or serve checkpoints."""

from __future__ import annotations

import argparse
import faulthandler
import os
import sys
from pathlib import Path

from core.clock import SystemClock
from core.errors import NotFound, WeaverError
from core.in_force import read_in_force
from core.paths import Paths, find_home
from core.process import STACKS_SIGNAL


def _init(home: Path, model: str) -> int:
    from trainer.config import ModelSource
    from trainer.model import ensure_base

    paths = Paths(home)
    config = read_in_force(paths, os.environ).config
    if model not in config.weaver.models:
        raise NotFound(kind="model", name=model, known=", ".join(sorted(config.weaver.models)))
    source = ModelSource(name=model, paths=paths, config=config.weaver.models[model])
    print(f"{model}/{ensure_base(source, config.training.seed, SystemClock().now())}")
    return 0


def _run(home: Path, verb: str, model: str | None) -> int:
    if verb == "serve":
        from trainer.serve.app import main as serve

        return serve(home)
    name = model or read_in_force(Paths(home), os.environ).config.weaver.model
    if verb == "init":
        return _init(home, name)
    from trainer.worker import work

    return work(home, name)


def main() -> int:
    """Run one verb; an error is one line on stderr and its exit code."""
    parser = argparse.ArgumentParser(prog="python -m trainer")
    parser.add_argument("verb", choices=["init", "work", "serve"])
    parser.add_argument("--model", help="the model's name in config/weaver.yaml (default: the default model)")
    args = parser.parse_args()
    faulthandler.enable()
    faulthandler.register(STACKS_SIGNAL)
    try:
        home, _ = find_home(os.environ, Path.cwd())
        return _run(home, args.verb, args.model)
    except WeaverError as error:
        print(error, file=sys.stderr)
        # 78: misconfigured, a supervisor parks it instead of restarting it for ever.
        return 78 if error.exit_code in (6, 78) else error.exit_code


if __name__ == "__main__":
    sys.exit(main())
