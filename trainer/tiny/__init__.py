"""The embedded default `builtin:tiny-qwen3`: a tokenizer and a tiny Qwen3 built from nothing, without a download."""
