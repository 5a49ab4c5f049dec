"""Known degradations of a clip: which defect, how strong, in which frames.

A metric that claims to see a failure must respond to it, more to more of it, and point at the right
frames; and it must stay calm under changes that nobody minds. `benchmarks/validity` measures both with
these.

    DEFECTS["flicker_gain"](video, 0.6, seed=1)     one defect at one strength -> Degraded
    BENIGN["reencode_crf18"](video)                 a harmless change -> Video
    wrong_prompts(prompts, 1.0)                     prompts that belong to other clips
"""

from __future__ import annotations

# Importing these fills the registry.
from evalkit.testing.defects import benign, content, picture, temporal  # noqa: F401
from evalkit.testing.defects.prompts import wrong_prompts
from evalkit.testing.defects.registry import (
    BENIGN,
    DEFECTS,
    STRENGTHS,
    Benign,
    Defect,
    Degraded,
    apply_defect,
)

__all__ = [
    "BENIGN",
    "DEFECTS",
    "STRENGTHS",
    "Benign",
    "Defect",
    "Degraded",
    "apply_defect",
    "wrong_prompts",
]
