"""`http`: a model behind a small JSON API: submit, poll, download.

The service answers under a base URL:

    GET  /model                what it is: {"id", "revision", and if it likes "licence", "description", "weights",
                               "config", "defaults": {"num_frames", "height", "width", "fps"}, "own_shape"}
    POST /generations          a request (see `evalkit.models.wire`) -> a job
    GET  /generations/{id}     the job: {"id", "status": "queued" | "running" | "succeeded" | "failed",
                               "video": URL, "error": text, "permanent": bool, "ignored_params": [name, ...]}

`Idempotency-Key` names the request by its content. For a key it knows, the service returns the job that it has, unless
that job failed; so a run that was killed picks its jobs up again and pays for none twice. 429, 502, 503 and 504 mean
"later" and may say when with `Retry-After`. Any other error fails the clip.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from evalkit.errors import EvalkitError, VideoError
from evalkit.models.http_client import Client, HttpError
from evalkit.models.protocol import GenerationFailure, GenerationRequest, ModelInfo
from evalkit.models.wire import request_json
from evalkit.suites.prompt import FrozenMapping

if TYPE_CHECKING:
    from evalkit.video import Video

__all__ = ["HttpModel"]


@dataclass
class _Job:
    """One clip on its way; `result` is set when there is nothing left to wait for."""

    request: GenerationRequest
    deadline: float
    id: str = ""
    video: str = ""
    submissions: int = 0
    result: Video | GenerationFailure | None = None


class HttpModel:
    """A model behind a small JSON API, as hosted models have.

    The API (submit, poll, download) is described in the module's docstring and in docs/how-to/evaluate-your-model.md.

    Args:
        url: base URL, http or https.
        token_env: environment variable that holds the bearer token; the token is never stored.
        timeout_s: seconds from submitting a clip to having it; then it fails as transient.
        poll_s: seconds between two looks at a job.
        batch_size: jobs in flight at once.
        max_bytes: largest clip that is downloaded.
        revision: refuse to talk to a service of another revision.
    """

    own_device: ClassVar[bool] = True

    def __init__(
        self,
        *,
        url: str,
        token_env: str = "EVALKIT_HTTP_TOKEN",
        timeout_s: float = 900.0,
        poll_s: float = 2.0,
        batch_size: int = 4,
        max_bytes: int = 512 * 2**20,
        revision: str | None = None,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"url must begin with http:// or https://, got {url!r}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.url = url.rstrip("/")
        self.token_env = token_env
        self.timeout_s = timeout_s
        self.poll_s = poll_s
        self.batch_size = batch_size
        self.max_bytes = max_bytes
        self.revision = revision
        self._ignored: set[str] = set()

    @cached_property
    def info(self) -> ModelInfo:
        """Identity, as the service states it.

        Raises:
            EvalkitError: the service cannot be reached, refuses the token, or has another revision than asked.
        """
        try:
            said = self._client.json(
                "GET", f"{self.url}/model", deadline=time.monotonic() + min(60.0, self.timeout_s)
            )
        except HttpError as error:
            raise EvalkitError(
                f"model service {self.url}: {error}; check the URL and {self.token_env}"
            ) from error
        if not isinstance(said.get("id"), str) or not isinstance(said.get("revision"), str):
            raise EvalkitError(
                f"model service {self.url}: /model must answer with the texts `id` and `revision`"
            )
        if self.revision not in (None, said["revision"]):
            raise EvalkitError(
                f"model service {self.url} has revision {said['revision']!r}, not {self.revision!r}; "
                "ask for that revision or start the service with the other one"
            )
        return ModelInfo(
            id=said["id"],
            revision=said["revision"],
            weights=FrozenMapping(_mapping(said, "weights")),
            config=FrozenMapping(_mapping(said, "config")),
            licence=str(said.get("licence", "unknown")),
            description=str(said.get("description", f"Hosted at {self.url}.")),
            batch_size=self.batch_size,
            defaults=FrozenMapping(_mapping(said, "defaults")),
            own_shape=bool(said.get("own_shape", False)),
        )

    @property
    def ignored_params(self) -> frozenset[str]:
        """What the service said it ignores."""
        return frozenset(self._ignored)

    def load(self, device: str) -> None:
        """Check that the service is the one that was planned with; where it computes is its own affair."""
        _ = self.info

    def generate(self, requests: Sequence[GenerationRequest]) -> list[Video | GenerationFailure]:
        """Submit all requests, then wait for them together."""
        jobs = [_Job(request, time.monotonic() + self.timeout_s) for request in requests]
        for job in jobs:
            self._step(job)
        while waiting := [job for job in jobs if job.result is None]:
            time.sleep(self.poll_s)
            for job in waiting:
                self._step(job)
        return [job.result for job in jobs if job.result is not None]

    def _step(self, job: _Job) -> None:
        """Submit the job, look at it, or download its clip; failures become its result."""
        try:
            if time.monotonic() > job.deadline:
                raise HttpError(f"no clip within {self.timeout_s:g} s", permanent=False)
            if not job.id:
                self._submit(job)
            else:
                self._read(
                    job, self._client.json("GET", f"{self.url}/generations/{job.id}", deadline=job.deadline)
                )
            if job.video and job.result is None:
                job.result = self._download(job)
        except HttpError as error:
            if error.status == 404 and job.id and not job.video and job.submissions < 2:
                job.id = ""  # the service lost its jobs, e.g. in a restart: submit once more
                return
            job.result = GenerationFailure(f"{self.url}: {error}", permanent=error.permanent)

    def _submit(self, job: _Job) -> None:
        job.submissions += 1
        body = request_json(job.request)
        named = json.dumps([self.info.id, self.info.revision, body], sort_keys=True, ensure_ascii=False)
        key = hashlib.blake2b(named.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        said = self._client.json(
            "POST", f"{self.url}/generations", body, headers={"Idempotency-Key": key}, deadline=job.deadline
        )
        if not isinstance(said.get("id"), str) or not said["id"].replace("-", "").replace("_", "").isalnum():
            raise HttpError(
                "POST /generations must answer with an `id` of letters, digits, - and _", permanent=True
            )
        job.id = said["id"]
        self._read(job, said)

    def _read(self, job: _Job, said: dict[str, Any]) -> None:
        """Take over what the service says about the job."""
        ignored = said.get("ignored_params") or ()
        if isinstance(ignored, list):
            self._ignored.update(map(str, ignored))
        status = said.get("status")
        if status == "failed":
            raise HttpError(
                str(said.get("error") or "the job failed")[:2000], permanent=bool(said.get("permanent", True))
            )
        if status == "succeeded":
            if not isinstance(said.get("video"), str):
                raise HttpError("a succeeded job must have a `video` URL", permanent=True)
            job.video = said["video"]
        elif status not in ("queued", "running"):
            raise HttpError(f"unknown job status {status!r}", permanent=True)

    def _download(self, job: _Job) -> Video | GenerationFailure:
        from evalkit.video import decode_untrusted

        handle, name = tempfile.mkstemp(prefix="evalkit-http-", suffix=".video")
        os.close(handle)
        path = Path(name)
        try:
            self._client.download(
                f"{self.url}/", job.video, path, max_bytes=self.max_bytes, deadline=job.deadline
            )
            return decode_untrusted(path).video
        except VideoError as error:
            return GenerationFailure(f"{self.url} sent a clip that cannot be used: {error}")
        finally:
            path.unlink(missing_ok=True)

    @property
    def _client(self) -> Client:
        return Client(os.environ.get(self.token_env, ""), origin=self.url)


def _mapping(said: dict[str, Any], name: str) -> dict[str, Any]:
    value = said.get(name) or {}
    if not isinstance(value, dict):
        raise EvalkitError(f"model service: `{name}` of /model must be an object, got {value!r}")
    return value
