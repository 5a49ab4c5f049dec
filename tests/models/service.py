"""A real HTTP service that speaks the API of `HttpModel`, and misbehaves on demand."""

from __future__ import annotations

import json
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch

from evalkit.video import Video, encode_lossless

TOKEN = "s3cret"
Answer = tuple[int, dict[str, str], bytes]


def answer(status: int, content: object = None, **headers: str) -> Answer:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, body


def clip_bytes(asked: dict[str, Any]) -> bytes:
    generator = torch.Generator().manual_seed(asked["seed"])
    shape = (asked["num_frames"], 3, asked["height"], asked["width"])
    video = Video(
        torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator), Fraction(asked["fps"])
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "clip.mp4")
        encode_lossless(video, path)
        return path.read_bytes()


class Service:
    """Jobs are queued, run for `polls` looks and then succeed.

    `faults` maps "METHOD /path" to functions that are tried in turn, one a call; each gives an answer or None to go on.
    """

    def __init__(self, polls: int = 1) -> None:
        self.polls = polls
        self.jobs: dict[str, dict[str, Any]] = {}
        self.keys: dict[str, str] = {}
        self.calls: Counter[str] = Counter()
        self.tokens: list[str | None] = []
        self.faults: dict[str, list[Callable[[], Answer | None]]] = {}
        self.info: dict[str, Any] = {
            "id": "hosted",
            "revision": "r7",
            "licence": "proprietary",
            "weights": {"net": "sha256:00ff"},
            "defaults": {"num_frames": 3, "height": 16, "width": 16, "fps": "8"},
        }
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        self.thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def fault(self, call: str, *answers: Answer | None) -> None:
        """Answer the next calls so; None goes on as usual."""
        self.faults.setdefault(call, []).extend((lambda one=one: one) for one in answers)

    def handle(self, method: str, path: str, headers: Any, body: bytes) -> Answer:
        call = f"{method} {path.removeprefix('/v1')}"
        shape = call.replace(call.rpartition("/")[2], "*") if call.count("/") == 2 else call
        self.calls[shape] += 1
        self.tokens.append(headers.get("Authorization"))
        for name in (call, shape):
            if self.faults.get(name) and (made := self.faults[name].pop(0)()):
                return made
        if headers.get("Authorization") != f"Bearer {TOKEN}" and not call.startswith("GET /files"):
            return answer(401, {"error": "who are you?"})
        if call == "GET /model":
            return answer(200, self.info)
        if call == "POST /generations":
            return answer(202, self._submit(headers["Idempotency-Key"], json.loads(body)))
        if shape == "GET /generations/*":
            job = self.jobs.get(path.rpartition("/")[2])
            return answer(200, self._look(job)) if job else answer(404, {"error": "no such job"})
        if shape == "GET /files/*":
            return answer(200, clip_bytes(self.jobs[path.rpartition("/")[2]]["asked"]))
        return answer(404, {"error": "no such page"})

    def _submit(self, key: str, asked: dict[str, Any]) -> dict[str, Any]:
        known = self.keys.get(key)
        if known is None or self.jobs[known]["status"] == "failed":
            known = f"job-{len(self.jobs)}"
            self.keys[key] = known
            too_small = min(asked["height"], asked["width"]) < 8
            self.jobs[known] = {
                "id": known,
                "status": "failed" if too_small else "queued",
                "looks": 0,
                "asked": asked,
                "error": "smaller than 8 pixels",
            }
        return self._look(self.jobs[known])

    def _look(self, job: dict[str, Any]) -> dict[str, Any]:
        if job["status"] in ("queued", "running"):
            job["status"] = "succeeded" if job["looks"] >= self.polls else "running"
            job["looks"] += 1
        said = {"id": job["id"], "status": job["status"]}
        if job["status"] == "succeeded":
            said |= {
                "video": f"files/{job['id']}",
                "ignored_params": sorted(set(job["asked"]["params"]) - {"style"}),
            }
        return said | ({"error": job["error"]} if job["status"] == "failed" else {})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, headers, content = service.handle(self.command, self.path, self.headers, body)
                self.send_response(status)
                headers.setdefault("Content-Length", str(len(content)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = _answer  # noqa: N815 - names that http.server looks for

            def log_message(self, *_: object) -> None:
                """Be quiet."""

        return Handler
