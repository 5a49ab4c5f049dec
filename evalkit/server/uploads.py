"""Bodies streamed to disk; nothing of them is kept in memory, and nothing stays when they are refused."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote

from fastapi import Request

__all__ = ["file_name", "streamed"]


@asynccontextmanager
async def streamed(request: Request) -> AsyncIterator[Path]:
    """The body of a request as a file that is gone afterwards. `BodyCap` bounds its size."""
    with tempfile.TemporaryDirectory(prefix="evalkit-upload-") as folder:
        path = Path(folder) / "upload"
        with path.open("wb") as file:
            async for piece in request.stream():
                file.write(piece)
        yield path


def file_name(request: Request) -> str:
    """What the sender calls the file, for people only: percent-encoded in `X-File-Name`."""
    name = unquote(request.headers.get("x-file-name", "")).replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(character for character in name if character.isprintable())[:200] or "upload"
