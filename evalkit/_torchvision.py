"""Make torchvision importable beside a torch build that does not match it.

A CUDA build of torchvision next to a CPU build of torch fails on import with `operator torchvision::nms
does not exist`, and takes open_clip, timm and torchmetrics down with it: torchvision registers fake
implementations for operators that its own C++ extension, which could not be loaded, was to define.
Declaring the two operators is enough for everything that evalkit uses. They stay without an
implementation, so calling them still fails loudly. With matching builds this module does nothing.
"""

from __future__ import annotations

import contextlib
import importlib.util
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_OPERATORS = ("nms", "qnms")

# The library unregisters its operators when it is collected, so it must stay referenced.
_library: torch.library.Library | None = None


@cache
def ensure() -> bool:
    """Declare torchvision's missing operators if, and only if, its import would fail without them.

    Call before the first import of torchvision, open_clip, timm or torchmetrics. Returns whether the
    operators had to be declared.
    """
    global _library
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    import torch

    extension = next(Path(spec.origin).parent.glob("_C*.*"), None)
    if extension is not None:
        # An OSError is the mismatch this module exists for: its libraries belong to another torch build.
        with contextlib.suppress(OSError):
            torch.ops.load_library(extension)  # type: ignore[no-untyped-call]
    missing = [name for name in _OPERATORS if not hasattr(torch.ops.torchvision, name)]
    if not missing:
        return False
    _library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for name in missing:
        _library.define(name + _SCHEMA)  # type: ignore[no-untyped-call]
    return True
