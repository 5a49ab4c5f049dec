"""Two or more runs in, one `Comparison` out: what changed, by how much, and how sure one can be.

types       `Comparison` and its parts, the object that pages and gates read
check       what cannot be compared, and why
estimate    effects, intervals and p-values of many metrics over the same prompts
runs        `compare_runs`, which puts the parts together
sets        FVD and KVD: distances of whole sets
words       verdicts for people who do not read p-values
render      terminal and Markdown
figures     forest plot, per-prompt scatter, small multiples (SVG)
write       the folder that `evalkit compare` writes
"""

from evalkit.compare.types import Comparison

__all__ = ["Comparison"]
