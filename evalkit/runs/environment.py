"""Where a run happened: recorded in its manifest, shown by reports, compared by `evalkit compare`."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["environment"]

_PACKAGES = ("torch", "numpy", "scipy", "av", "opencv-python", "open-clip-torch", "diffusers", "evalkit")


def environment(device: str, workers: int) -> dict[str, Any]:
    """Python, machine, device, package versions and the state of evalkit's own checkout, if it is one."""
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "device": device,
        **_gpu(device),
        "workers": workers,
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "decoder": _decoder(),
        **_checkout(),
    }


def _gpu(device: str) -> dict[str, str]:
    """A GPU's name and the libraries that compute on it; nothing where only a cluster's other machines have one."""
    if not device.startswith("cuda"):
        return {}
    import torch

    if not torch.cuda.is_available():
        return {}
    return {
        "gpu": torch.cuda.get_device_name(device),
        "cuda": str(torch.version.cuda or torch.version.hip),
        "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _decoder() -> str:
    from evalkit.video import decoder_id

    return decoder_id()


@cache
def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@cache
def _checkout() -> dict[str, Any]:
    """Commit of the checkout this package runs from, and whether tracked files differ from it."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return {}
    try:
        commit = _git(root, "rev-parse", "HEAD")
        dirty = bool(_git(root, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": commit, "dirty": dirty}


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()
