"""What a server was started with."""

from __future__ import annotations

import getpass
import ipaddress
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from evalkit.errors import EvalkitError

__all__ = ["Settings", "is_loopback"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one server process.

    Args:
        runs: folder that is searched for run folders.
        host, port: where it listens.
        db: URL of the database.
        media: folder of the reports' files; None for the default beside the database.
        cases: folder of the regression cases.
        public_url: how browsers reach the server through a reverse proxy (`https://evalkit.example.org/evalkit`).
        models: models that may be run from the browser to reproduce a failure.
        max_upload_bytes: largest clip that is taken.
        max_body_bytes: largest body of any other request.
        launch_token: what the one local user logs in with while there are no accounts.
        local_user: that user's name in the history.
    """

    runs: Path
    host: str = "127.0.0.1"
    port: int = 8765
    db: str = ""
    media: Path | None = None
    cases: Path = Path("regressions")
    public_url: str = ""
    models: tuple[str, ...] = ()
    max_upload_bytes: int = 200 << 20
    max_body_bytes: int = 1 << 20
    launch_token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    local_user: str = field(default_factory=getpass.getuser)

    def __post_init__(self) -> None:
        if self.public_url:
            parts = urlsplit(self.public_url)
            if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
                raise EvalkitError(
                    f"--public-url {self.public_url!r} is no address; write it as browsers see it, "
                    "e.g. https://evalkit.example.org or https://example.org/evalkit"
                )

    @property
    def prefix(self) -> str:
        """Path below which the proxy serves the app; empty without one."""
        return urlsplit(self.public_url).path.rstrip("/")

    @property
    def secure(self) -> bool:
        """Whether browsers reach the server by HTTPS, so that cookies may be limited to it."""
        return self.public_url.startswith("https://")

    @property
    def hosts(self) -> frozenset[str]:
        """Values of the Host header that are answered; everything else is DNS rebinding or a misconfigured proxy."""
        names = {f"{name}:{self.port}" for name in ("127.0.0.1", "localhost", "[::1]")}
        if not is_loopback(self.host) and self.host not in ("0.0.0.0", "::"):
            names.add(f"{self.host}:{self.port}")
        if self.public_url:
            names.add(urlsplit(self.public_url).netloc)
        return frozenset(names)

    @property
    def origins(self) -> frozenset[str]:
        """Values of the Origin header from which requests are taken."""
        local = {f"http://{host}" for host in self.hosts}
        if self.public_url:
            parts = urlsplit(self.public_url)
            local.discard(f"http://{parts.netloc}")
            local.add(f"{parts.scheme}://{parts.netloc}")
        return frozenset(local)

    @property
    def address(self) -> str:
        """Where people open the app."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host
        return self.public_url.rstrip("/") or f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
