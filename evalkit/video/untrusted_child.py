"""The child process of `evalkit.video.untrusted`: limits itself, decodes one file, writes raw frames.

stdin   {"path", "limits", "max_frames", "memory_bytes", "cpu_seconds", "output"}
stdout  {"info": ...} or {"error": class name, "message": ...}
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

__all__ = ["main"]

_HEADROOM = 1 << 20
_OPEN_FILES = 64


def main() -> None:
    """Read the job, decode, answer."""
    job = json.load(sys.stdin)
    _limit(job)
    json.dump(_decode(job), sys.stdout)


def _limit(job: dict[str, Any]) -> None:
    decoded = job["limits"]["max_decoded_bytes"]
    for kind, value in (
        (resource.RLIMIT_AS, job["memory_bytes"]),
        (resource.RLIMIT_CPU, job["cpu_seconds"]),
        (resource.RLIMIT_FSIZE, decoded + _HEADROOM),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (allowed, allowed))


def _decode(job: dict[str, Any]) -> dict[str, Any]:
    # Imported under the limits: loading codecs is part of what they cover.
    from evalkit.errors import VideoError
    from evalkit.video.files import read_frames
    from evalkit.video.limits import Limits

    path = Path(job["path"])
    try:
        raw = read_frames(path, limits=Limits(**job["limits"]), max_frames=job["max_frames"])
        raw.frames.tofile(job["output"])
    except VideoError as error:
        return {"error": type(error).__name__, "message": str(error)}
    except MemoryError:
        message = (
            f"{path}: decoding needs more than {job['memory_bytes']:,} bytes; give a shorter or smaller clip"
        )
        return {"error": "VideoLimitExceeded", "message": message}
    return {"info": raw.info.to_json()}


if __name__ == "__main__":
    main()
