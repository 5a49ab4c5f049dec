"""The few HTTP calls that `HttpModel` makes: JSON with retries and back-off, downloads with a size cap."""

from __future__ import annotations

import email.utils
import http.client
import json
import random
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

__all__ = ["Client", "HttpError"]

_LATER = {429, 502, 503, 504}
_MAX_JSON = 2**20
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 60.0
_SOCKET_S = 60.0


class HttpError(Exception):
    """A call that gave no answer to work with.

    Args:
        reason: what happened.
        permanent: whether asking again is pointless.
        status: the HTTP status, 0 when there was no answer.
    """

    def __init__(self, reason: str, *, permanent: bool, status: int = 0) -> None:
        super().__init__(reason)
        self.permanent, self.status = permanent, status


class Client:
    """Calls that carry a bearer token to one origin and to no other.

    Args:
        token: sent as `Authorization: Bearer ...`; none when empty.
        origin: URL whose scheme, host and port may see the token.
    """

    def __init__(self, token: str, origin: str) -> None:
        self._token = token
        self._origin = _origin(origin)
        self._opener = urllib.request.build_opener(_Redirects)

    def json(
        self,
        method: str,
        url: str,
        body: Mapping[str, Any] | None = None,
        *,
        deadline: float,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Call until there is an answer, waiting as `Retry-After` says, or longer from time to time.

        Args:
            method: GET or POST.
            url: absolute.
            body: sent as JSON.
            deadline: `time.monotonic()` after which nobody waits any more.
            headers: further headers.

        Raises:
            HttpError: an error status, an answer that is no JSON object, or the deadline.
        """
        data = None if body is None else json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")
        request = self._request(url, method, data, headers or {})
        with self._open(request, deadline) as response:
            content = response.read(_MAX_JSON + 1)
        try:
            said = json.loads(content) if len(content) <= _MAX_JSON else None
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise HttpError(
                f"{method} {urlsplit(url).path} did not answer with a JSON object", permanent=True
            )
        return said

    def download(self, base: str, url: str, path: Path, *, max_bytes: int, deadline: float) -> None:
        """Write what a URL (absolute, or relative to `base`) holds to `path`.

        Raises:
            HttpError: as `json`; also more than `max_bytes`, or a scheme other than http and https.
        """
        url = urljoin(base, url)
        if urlsplit(url).scheme not in ("http", "https"):
            raise HttpError(f"the clip is at {url[:200]!r}, which is no http(s) URL", permanent=True)
        with self._open(self._request(url, "GET", None, {}), deadline) as response:
            too_large = HttpError(
                f"the clip is larger than {max_bytes} bytes; raise max_bytes", permanent=True
            )
            expected = response.headers.get("Content-Length", "")
            if expected.isdecimal() and int(expected) > max_bytes:
                raise too_large
            size = 0
            with path.open("wb") as file:
                while piece := self._read(response, deadline):
                    size += len(piece)
                    if size > max_bytes:
                        raise too_large
                    file.write(piece)
        if expected.isdecimal() and size != int(expected):
            raise HttpError(f"the download broke off at {size} of {expected} bytes", permanent=False)

    def _read(self, response: http.client.HTTPResponse, deadline: float) -> bytes:
        if time.monotonic() > deadline:
            raise HttpError("the download took too long", permanent=False)
        try:
            return response.read(1 << 20)
        except (OSError, http.client.HTTPException) as error:
            raise HttpError(f"the download broke off: {error}", permanent=False) from error

    def _request(
        self, url: str, method: str, data: bytes | None, headers: Mapping[str, str]
    ) -> urllib.request.Request:
        request = urllib.request.Request(url, data, method=method)
        request.add_header("Accept", "application/json, video/*")
        if data is not None:
            request.add_header("Content-Type", "application/json")
        for name, value in headers.items():
            request.add_header(name, value)
        if self._token and _origin(url) == self._origin:
            request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        return request

    def _open(self, request: urllib.request.Request, deadline: float) -> http.client.HTTPResponse:
        attempt = 0
        # Jitter keeps many workers from coming back all at once; it decides about waiting only.
        jitter = random.Random(request.full_url)
        while True:
            wait = None
            try:
                left = max(0.1, min(_SOCKET_S, deadline - time.monotonic()))
                response: http.client.HTTPResponse = self._opener.open(request, timeout=left)
                return response
            except urllib.error.HTTPError as error:
                reason = (
                    f"{request.method} {urlsplit(request.full_url).path} answered {error.code}{_words(error)}"
                )
                status = error.code
                wait = _retry_after(error.headers.get("Retry-After"))
                error.close()
                if status not in _LATER:
                    raise HttpError(reason, permanent=True, status=status) from None
            except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
                reason, status = f"no connection: {getattr(error, 'reason', error)}", 0
            attempt += 1
            if wait is None:
                wait = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** (attempt - 1)) * jitter.uniform(0.5, 1.0)
            if time.monotonic() + wait > deadline:
                raise HttpError(f"{reason}; gave up after {attempt} attempts", permanent=False, status=status)
            time.sleep(wait)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects of downloads; never turn a POST into a GET."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if req.get_method() != "GET" or urlsplit(newurl).scheme not in ("http", "https"):
            raise urllib.error.HTTPError(req.full_url, code, f"moved to {newurl}", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _retry_after(value: str | None) -> float | None:
    """Seconds to wait, from a number of seconds or a date."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        when = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, when.timestamp() - time.time())


def _words(error: urllib.error.HTTPError) -> str:
    """What the service says about the error, shortened."""
    try:
        text = error.read(2000).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException):
        return ""
    try:
        said = json.loads(text)
        text = str(said.get("error", text)) if isinstance(said, dict) else text
    except ValueError:
        pass
    return f": {text[:500]}" if text else ""
