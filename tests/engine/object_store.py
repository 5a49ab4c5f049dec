"""A small object store that speaks S3's protocol on the loopback: list, head, get and put of what a folder holds."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    root: Path
    requests: list[str]

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        url = urlsplit(self.path)
        self.requests.append(f"PUT {self.path}")
        path = self.root / unquote(url.path).lstrip("/")
        if "AWS4-HMAC-SHA256 Credential=tester/" not in self.headers.get("Authorization", "") or url.query:
            self._send(403, b"<Error><Code>AccessDenied</Code><Message>refused</Message></Error>", True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self._send(200, b"", True)

    def _answer(self, *, body: bool) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        self.requests.append(f"{self.command} {self.path}")
        bucket, _, key = unquote(url.path).lstrip("/").partition("/")
        if "AWS4-HMAC-SHA256 Credential=tester/" not in self.headers.get("Authorization", ""):
            self._send(
                403, b"<Error><Code>AccessDenied</Code><Message>no credentials</Message></Error>", body
            )
        elif not key and "list-type" in query:
            self._send(200, self._listing(bucket, query).encode(), body)
        elif key and (path := self.root / bucket / key).is_file():
            self._send(200, path.read_bytes(), body, "application/octet-stream")
        else:
            self._send(404, b"<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>", body)

    def _listing(self, bucket: str, query: dict[str, str]) -> str:
        """Two keys a page, so that clients must ask for the next one."""
        base, prefix = self.root / bucket, query.get("prefix", "")
        found = sorted(path.relative_to(base).as_posix() for path in base.rglob("*") if path.is_file())
        found = [key for key in found if key.startswith(prefix)]
        if query.get("delimiter") == "/":  # what lies deeper is told by the name of its folder alone
            found = list(
                dict.fromkeys(
                    key
                    if "/" not in (rest := key.removeprefix(prefix))
                    else f"{prefix}{rest.partition('/')[0]}/"
                    for key in found
                )
            )
        start = int(query.get("continuation-token", 0))
        page, more = found[start : start + 2], start + 2 < len(found)
        entries = "".join(
            f"<CommonPrefixes><Prefix>{escape(key)}</Prefix></CommonPrefixes>"
            if key.endswith("/")
            else f"<Contents><Key>{escape(key)}</Key><Size>{(base / key).stat().st_size}</Size>"
            f'<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>"{_etag(base / key)}"</ETag></Contents>'
            for key in page
        )
        token = f"<NextContinuationToken>{start + 2}</NextContinuationToken>" if more else ""
        return (
            f"<ListBucketResult><Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(page)}</KeyCount>"
            f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>{token}{entries}</ListBucketResult>"
        )

    def _send(self, status: int, content: bytes, body: bool, kind: str = "application/xml") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.md5(content).hexdigest()}"')
        when = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
        self.send_header("Last-Modified", when.strftime("%a, %d %b %Y %H:%M:%S GMT"))
        self.end_headers()
        if body:
            self.wfile.write(content)


def _etag(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@contextlib.contextmanager
def object_store(root: Path) -> Iterator[tuple[dict[str, str], list[str]]]:
    """Serve the buckets that are folders of `root`: the environment that clients need, and a log of requests."""
    log: list[str] = []
    handler = type("Handler", (_Handler,), {"root": root, "requests": log})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield (
            {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
                "AWS_ALLOW_HTTP": "true",
                "AWS_ACCESS_KEY_ID": "tester",
                "AWS_SECRET_ACCESS_KEY": "secret",
                "AWS_REGION": "us-east-1",
            },
            log,
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
