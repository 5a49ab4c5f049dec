"""`command`: any program that reads a JSON request and writes a clip."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar

from evalkit.errors import EvalkitError, VideoError
from evalkit.models.protocol import GenerationFailure, GenerationRequest, ModelInfo
from evalkit.models.wire import request_json
from evalkit.suites.prompt import FrozenMapping

if TYPE_CHECKING:
    from evalkit.video import Video

__all__ = ["CommandModel"]

_TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h
_TAIL = 2000


class CommandModel:
    """A program that is started once for every clip, without a shell.

    It gets the request as one JSON object on stdin and writes a clip (any format that evalkit reads, best lossless) to
    the path in the request's `output`. `{request}` and `{output}` in the command stand for the path of a file with the
    same JSON and for the output path. Its last line on stdout may be a JSON object with `ignored_params` (a list),
    `output` (another path than asked), or `error` and `permanent`.

    Exit code 0 means done; 75 (EX_TEMPFAIL) and a timeout are transient and are tried again by the engine; any other code
    fails the clip with the end of stderr as the reason.

    Args:
        command: the program and its arguments, as a list or as one line that is split like a shell would.
        timeout_s: seconds a clip may take; then the program and its children are killed.
        files: further files that determine the clips (weights, code), digested into the model's identity.
        name: what the model is called in reports.
        revision: version that people speak about.
        licence: SPDX id or a sentence.
        num_frames, height, width, fps: the program's own shape, used unless the prompt or the command line says another.
        own_shape: True when clips come in whatever shape the program likes.
    """

    own_device: ClassVar[bool] = True

    def __init__(
        self,
        *,
        command: str | Sequence[str],
        timeout_s: float = 600.0,
        files: Sequence[str] = (),
        name: str = "command",
        revision: str = "unknown",
        licence: str = "unknown",
        num_frames: int | None = None,
        height: int | None = None,
        width: int | None = None,
        fps: str | int | None = None,
        own_shape: bool = False,
    ) -> None:
        self.command = shlex.split(command) if isinstance(command, str) else [str(part) for part in command]
        if not self.command:
            raise ValueError("the command is empty")
        self.timeout_s = timeout_s
        self.files = tuple(Path(file) for file in ([files] if isinstance(files, str) else files))
        self.name = name
        self.revision = revision
        self.licence = licence
        shape = {
            "num_frames": num_frames,
            "height": height,
            "width": width,
            "fps": None if fps is None else str(fps),
        }
        self.defaults = {key: value for key, value in shape.items() if value is not None}
        self.own_shape = own_shape
        self._device = "cpu"
        self._ignored: set[str] = set()

    @cached_property
    def info(self) -> ModelInfo:
        """Identity: the command, and the bytes of the program, of files among its arguments and of `files`."""
        from evalkit.video import file_digest

        program = shutil.which(self.command[0])
        if program is None:
            raise EvalkitError(
                f"model {self.name!r}: no program {self.command[0]!r} on this machine; check the command"
            )
        missing = [str(file) for file in self.files if not file.is_file()]
        if missing:
            raise EvalkitError(f"model {self.name!r}: no such file: {', '.join(missing)}; check `files`")
        parts = [
            Path(program),
            *(Path(part) for part in self.command[1:] if Path(part).is_file()),
            *self.files,
        ]
        digests = {path.name: f"blake2b:{file_digest(path)}" for path in parts}
        words = [Path(part).name if Path(part).is_file() else part for part in self.command]
        return ModelInfo(
            id=self.name,
            revision=self.revision,
            weights=FrozenMapping(digests),
            config=FrozenMapping({"command": words}),
            licence=self.licence,
            description=f"The program {Path(self.command[0]).name}.",
            defaults=FrozenMapping(self.defaults),
            own_shape=self.own_shape,
        )

    @property
    def ignored_params(self) -> frozenset[str]:
        """What the program said it ignores."""
        return frozenset(self._ignored)

    def load(self, device: str) -> None:
        """Remember the device; it is part of the request."""
        self._device = device

    def generate(self, requests: Sequence[GenerationRequest]) -> list[Video | GenerationFailure]:
        """Run the program once for every request."""
        return [self._run(request) for request in requests]

    def _run(self, request: GenerationRequest) -> Video | GenerationFailure:
        from evalkit.video import decode

        with tempfile.TemporaryDirectory(prefix="evalkit-command-") as folder:
            output, asked = Path(folder, "clip.mp4"), Path(folder, "request.json")
            content = {**request_json(request), "device": self._device, "output": str(output)}
            asked.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
            command = [
                part.replace("{request}", str(asked)).replace("{output}", str(output))
                for part in self.command
            ]
            outcome = self._execute(command, asked, Path(folder))
            if isinstance(outcome, GenerationFailure):
                return outcome
            self._ignored.update(map(str, outcome.get("ignored_params") or ()))
            if outcome.get("error"):
                return GenerationFailure(
                    str(outcome["error"])[:_TAIL], permanent=bool(outcome.get("permanent", True))
                )
            clip = Path(folder, outcome.get("output") or output)
            if not clip.exists():
                return GenerationFailure(
                    f"{self.name} ended well but wrote no clip to {clip.name}; see its `output`"
                )
            try:
                return decode(clip)
            except VideoError as error:
                return GenerationFailure(f"{self.name} wrote a clip that cannot be used: {error}")

    def _execute(self, command: list[str], asked: Path, folder: Path) -> dict[str, Any] | GenerationFailure:
        """Run the program in a process group of its own and return what its last line of stdout says."""
        # Files, not pipes: a program that writes gigabytes or leaves a child behind can neither fill nor hold them.
        with (
            asked.open("rb") as stdin,
            (folder / "out").open("w+b") as out,
            (folder / "err").open("w+b") as err,
        ):
            try:
                process = subprocess.Popen(
                    command, stdin=stdin, stdout=out, stderr=err, start_new_session=True
                )
            except OSError as error:
                return GenerationFailure(f"{self.name} cannot be started: {error}")
            try:
                code = process.wait(self.timeout_s)
            except subprocess.TimeoutExpired:
                return GenerationFailure(
                    f"{self.name} took longer than {self.timeout_s:g} s; {_tail(err)}", permanent=False
                )
            finally:
                _kill(process)
            if code != 0:
                how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
                return GenerationFailure(f"{self.name} {how}; {_tail(err)}", permanent=code != _TRY_AGAIN)
            return _last_object(out)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the program and every child that it left behind."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(file: IO[bytes]) -> str:
    text = _end_of(file)
    return f"its last words: {text}" if text else "it said nothing on stderr"


def _last_object(file: IO[bytes]) -> dict[str, Any]:
    lines = _end_of(file).splitlines()
    try:
        said = json.loads(lines[-1]) if lines else {}
    except ValueError:  # ordinary output
        return {}
    return said if isinstance(said, dict) else {}


def _end_of(file: IO[bytes]) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL))
    return file.read().decode("utf-8", "replace").strip()
