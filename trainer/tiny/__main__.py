"""`python -m trainer.tiny FOLDER`: write the tokenizer of the embedded default there, before its base is built."""

from __future__ import annotations

import sys
from pathlib import Path

from trainer.tiny.tokenizer import save_tokenizer

if __name__ == "__main__":
    save_tokenizer(Path(sys.argv[1]))
