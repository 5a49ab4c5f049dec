"""evalkit: evaluation and benchmarking of generative video.

A suite of prompts goes in, a model makes clips, every clip is decoded once, shared features feed many
metrics, tables come out, and everything a person or a CI job reads is rendered from those tables.
The map of the package is `docs/architecture.md`.

Importing `evalkit` is cheap: nothing heavy is loaded before it is used.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("evalkit")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
