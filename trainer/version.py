"""The version of the code that writes into a checkpoint's record."""

from importlib.metadata import version

CODE_VERSION = version("weaver-factory")
