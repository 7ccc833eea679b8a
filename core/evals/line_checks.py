"""What the lines of a drop are checked against: the model's tokenizer, the graders, the frozen suites.

Place in the flow: watch_inbox and `weaver data check` ask here, so that both give the same verdict; it lies above core/jobs,
which knows neither skills nor suites. Files read: the tokenizer of the model's base checkpoint, config/suites/. Invariant: no
line is checked without the real tokenizer and all frozen items; where one is missing or damaged, that is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.config import WeaverConfig
from core.errors import Unavailable
from core.evals.suite import load_frozen_prompts
from core.jobs.job import Sidecar, Spec
from core.jobs.plain import head_of
from core.jobs.quick import Setting
from core.names import checkpoint_order, checkpoint_step, is_checkpoint
from core.paths import Paths
from core.skills import registry
from core.text.labels import prove_template
from core.text.tokens import load_tokenizer

_Mark = tuple[tuple[str, int, int], ...]


class LineChecks:
    """Remembers tokenizers that were proved and the digests of the suites as they lie on disk."""

    def __init__(self, paths: Paths, unbuilt: Callable[[str], Path] | None = None) -> None:
        """unbuilt: gives a folder with the tokenizer of a model that has no base yet; without it that is Unavailable."""
        self._paths, self._unbuilt = paths, unbuilt
        self._proved: set[Path] = set()
        self._suites: tuple[_Mark, frozenset[str], frozenset[bytes]] | None = None

    def setting(self, config: WeaverConfig, model: str, spec: Spec, sidecar: Sidecar) -> Setting:
        """Give the checks for one file. Raises Unavailable before the model's base is built, TemplateRefused, InvalidData."""
        digests, heads = self._eval_items()
        return Setting(
            spec=spec, tokenizer=self.tokenizer(model), max_length=config.models[model].max_length, grade=grade,
            eval_digests=digests, eval_heads=heads, columns=sidecar.columns or {}, is_given=sidecar.spec is not None,
        )  # fmt: skip

    def tokenizer(self, model: str) -> Any:
        """Give the model's tokenizer, its template proved. Raises Unavailable, TemplateRefused, InvalidData."""
        folder = self._tokenizer_folder(model)
        tokenizer = load_tokenizer(folder)
        if folder not in self._proved:
            prove_template(tokenizer, str(folder))
            self._proved.add(folder)
        return tokenizer

    def _tokenizer_folder(self, model: str) -> Path:
        """Choose the newest base, else the newest checkpoint: all of one model have one tokenizer."""
        root = self._paths.model(model).root
        names = [path.name for path in root.iterdir() if is_checkpoint(path.name)] if root.is_dir() else []
        whole = [name for name in names if (root / name / "tokenizer.json").is_file()]
        bases = [name for name in whole if checkpoint_step(name) == 0]
        if not whole and self._unbuilt is not None:
            return self._unbuilt(model)
        if not whole:
            raise Unavailable(service=f"the base of model {model}", url=str(root), detail="it is not built yet")
        return root / max(bases or whole, key=checkpoint_order)

    def _eval_items(self) -> tuple[frozenset[str], frozenset[bytes]]:
        """Give the digests of all frozen items, and the heads by which a line that may hold one is found."""
        folder = self._paths.suites
        files = sorted(folder.glob("*.json"))
        mark = tuple((path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in files)
        if self._suites is None or self._suites[0] != mark:
            prompts = load_frozen_prompts(folder)
            self._suites = mark, frozenset(prompts), frozenset(map(head_of, prompts.values()))
        return self._suites[1:]


def grade(skill: str, level: int, problem: str, answer: str) -> bool:
    """Say whether an answer is right, by the skill's own grader. Raises NotFound, UnknownProblem."""
    return registry.get(skill).grade(problem, level, answer)
