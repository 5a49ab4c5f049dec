"""What must be refused, each with its status, and nothing stored."""

from __future__ import annotations

import io
import re
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from evalkit.errors import EvalkitError
from evalkit.failures.tables import media, reports
from evalkit.server.app import create_app
from evalkit.server.settings import Settings
from tests.server.conftest import Site


def stored(site: Site) -> tuple[int, int, int]:
    """Reports, media rows and media files."""
    with site.store.database.reading() as connection:
        rows = [
            connection.scalar(sa.select(sa.func.count()).select_from(table)) for table in (reports, media)
        ]
    files = [path for path in site.store.media.root.rglob("*") if path.is_file()]
    return rows[0], rows[1], len(files)


@pytest.fixture
def nothing_stored(site: Site) -> Iterator[None]:
    """At the end the store is as empty as it was."""
    yield
    assert stored(site) == (0, 0, 0)


FORM = {
    "category": "temporal.flicker",
    "severity": "S1",
    "observed": "it flickers",
    "model_name": "m",
    "model_version": "1",
    "prompt": "p",
    "draft": "d1",
}


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1", "127.0.0.1:80", "localhost:8765.evil.example", "", "127.0.0.1:8765@evil"],
)
@pytest.mark.usefixtures("nothing_stored")
def test_another_host_is_not_answered(site: Site, host: str):
    for path in ("/", "/api/reports", "/static/base.css", "/healthz"):
        assert site.client.get(path, headers={"Host": host}).status_code == 421
    post = site.client.post("/api/reports", json={}, headers={**site.bearer("anna"), "Host": host})
    assert post.status_code == 421


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:8765", "http://127.0.0.1:9999", ""]
)
@pytest.mark.usefixtures("nothing_stored")
def test_requests_from_another_origin_are_refused(site: Site, new_report: dict[str, Any], origin: str):
    client, csrf = site.browser("anna")
    if origin == "":  # an empty header is a header, too
        assert client.post("/file", data={**FORM, "csrf": csrf}, headers={"Origin": ""}).status_code == 403
        return
    refused = client.post("/file", data={**FORM, "csrf": csrf}, headers={"Origin": origin})
    assert refused.status_code == 403
    assert "access-control-allow-origin" not in refused.headers
    headers = {**site.bearer("anna"), "Origin": origin}
    assert site.client.post("/api/reports", json=new_report, headers=headers).status_code == 403
    assert site.client.options("/api/reports", headers=headers).status_code == 403


@pytest.mark.usefixtures("nothing_stored")
def test_a_cross_site_form_without_an_origin_header_is_refused(site: Site):
    client, csrf = site.browser("anna")
    answer = client.post("/file", data={**FORM, "csrf": csrf}, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403


@pytest.mark.usefixtures("nothing_stored")
def test_a_form_without_its_token_is_refused(site: Site):
    client, csrf = site.browser("ada")
    _, other_csrf = site.browser("ada")
    assert csrf != other_csrf
    for fields in (FORM, {**FORM, "csrf": ""}, {**FORM, "csrf": "guess"}, {**FORM, "csrf": other_csrf}):
        assert client.post("/file", data=fields).status_code == 403
    for path in (
        "/accounts",
        "/accounts/remove",
        "/logout",
        "/reports/x/triage",
        "/uploads",
        "/attachments",
        "/vote/x",
    ):
        assert client.post(path, data={"name": "mallory", "scope": "admin"}).status_code == 403
    assert [account.name for account in site.app.state.accounts.list()] == ["ada", "anna", "ben", "tom"]


@pytest.mark.usefixtures("nothing_stored")
def test_without_a_token_there_is_only_the_login(site: Site, new_report: dict[str, Any]):
    schema = site.app.openapi()
    for path, methods in schema["paths"].items():
        for method in methods:
            answer = site.client.request(
                method, re.sub(r"\{.*?\}", "01ARYZ6S410000000000000000", path), json=new_report
            )
            assert answer.status_code == 401, (method, path)
    for path in (
        "/",
        "/reports",
        "/vote",
        "/accounts",
        "/media/" + "0" * 32,
        "/file",
        "/leaderboard",
        "/compare",
    ):
        page = site.client.get(path, headers={"Accept": "text/html"})
        assert (page.status_code, page.headers["location"]) == (303, "/login")
        assert site.client.get(path).status_code == 401


@pytest.mark.usefixtures("nothing_stored")
def test_a_foreign_or_revoked_token_is_refused(site: Site, new_report: dict[str, Any]):
    for token in (
        "",
        "nonsense",
        "evk_" + "A" * 43,
        site.tokens["anna"][:-1],
        site.app.state.settings.launch_token,
    ):
        headers = {"Authorization": f"Bearer {token}"}
        assert site.client.post("/api/reports", json=new_report, headers=headers).status_code == 401
        assert site.client.post("/login", data={"token": token}).status_code == 401
    client, csrf = site.browser("anna")
    site.app.state.accounts.remove("anna")
    assert site.client.get("/api/reports", headers=site.bearer("anna")).status_code == 401
    assert client.get("/reports").status_code == 401
    assert client.post("/file", data={**FORM, "csrf": csrf}).status_code == 401


@pytest.mark.usefixtures("nothing_stored")
def test_scopes_are_kept_apart(site: Site):
    report_id = "01ARYZ6S410000000000000000"
    for path, body in (
        (f"/api/reports/{report_id}/triage", {"status": "triaged"}),
        (f"/reports/{report_id}/triage", None),
        (f"/reports/{report_id}/reproduce", None),
        (f"/reports/{report_id}/promote", None),
        ("/reports/check-cases", None),
    ):
        answer = site.client.post(path, json=body, headers=site.bearer("anna"))
        assert answer.status_code == 403, path
    assert site.client.get("/reports/export", headers=site.bearer("anna")).status_code == 403
    assert site.client.get("/accounts", headers=site.bearer("tom")).status_code == 403
    assert site.client.get("/reports/export?restricted=true", headers=site.bearer("tom")).status_code == 403


@pytest.mark.usefixtures("nothing_stored")
def test_only_models_that_the_server_was_started_with_can_be_run(site: Site):
    for model in ("command:argv=[touch,/tmp/x]", "http:url=http://evil", "--help", "reference"):
        answer = site.client.post(
            "/reports/01ARYZ6S410000000000000000/reproduce", data={"model": model}, headers=site.bearer("tom")
        )
        assert answer.status_code == 403
    assert site.app.state.jobs.of("01ARYZ6S410000000000000000") is None


@pytest.mark.parametrize(
    "path",
    [
        "/media/../failures.db",
        "/media/..%2f..%2fetc%2fpasswd",
        "/media/" + "%2e%2e%2f" * 8 + "etc/passwd",
        "/static/../app.py",
        "/static/%2e%2e%2fapp.py",
        "/runs/RUN/files/../../../../etc/passwd",
        "/runs/RUN/files/report/%2e%2e/%2e%2e/manifest.json",
        "/runs/RUN/files/manifest.json",
        "/runs/RUN/files//etc/passwd",
        "/runs/RUN/files/clips/x.mp4",
        "/runs/RUN/clips/..%2f..%2fmanifest.json/preview",
        "/runs/RUN/clips/CLIP/..%2fscores.parquet",
        "/runs/../../etc",
    ],
)
@pytest.mark.usefixtures("nothing_stored")
def test_no_path_leads_out(site: Site, path: str):
    path = path.replace("RUN", site.run_id("fine")).replace("CLIP", site.clip_id("fine", "p0000"))
    answer = site.client.get(path, headers=site.bearer("ada"))
    assert answer.status_code in (404, 422)
    assert b"root:" not in answer.content
    assert b"run_id" not in answer.content


@pytest.mark.usefixtures("nothing_stored")
def test_a_hostile_table_cannot_name_a_file_elsewhere(site: Site, monkeypatch: pytest.MonkeyPatch):
    run_id, clip_id = site.run_id("fine"), site.clip_id("fine", "p0000")
    run = site.app.state.library.run(run_id)
    row = site.app.state.library.clips(run)[clip_id]
    for stolen in ("/etc/passwd", "../broken/manifest.json", str(Path("/etc/hosts"))):
        monkeypatch.setitem(row, "preview", stolen)
        answer = site.client.get(f"/runs/{run_id}/clips/{clip_id}/preview", headers=site.bearer("anna"))
        assert answer.status_code == 404


def bomb() -> bytes:
    """A small GIF whose header promises 60000 x 60000 pixels."""
    return (
        b"GIF89a"
        + struct.pack("<HH", 60_000, 60_000)
        + b"\x80\x00\x00"
        + b"\x00" * 6
        + (b"\x2c" + struct.pack("<HHHH", 0, 0, 60_000, 60_000) + b"\x00\x02\x02\x44\x01\x00" + b";")
    )


def slip() -> bytes:
    """An archive with a member outside its folder."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("../../etc/cron.d/evil", "* * * * * root true")
    return archive.getvalue()


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HOSTILE = {
    "ffconcat disguised as mp4": (b"ffconcat version 1.0\nfile /etc/passwd\n", 415),
    "playlist disguised as mp4": (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", 415),
    "frame bomb": (bomb(), 413),
    "archive with a path that leads out": (slip(), 415),
    "SVG": (SVG, 415),
    "HTML": (b"<!doctype html><script>alert(1)</script>", 415),
    "script": (b"alert(1)", 415),
    "nothing": (b"", 415),
    "mp4 head and then noise": (b"\x00\x00\x00\x20ftypisom" + bytes(range(256)) * 40, 415),
    "oversize": (b"\x00" * 300_001, 413),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.usefixtures("nothing_stored")
def test_hostile_clips_are_refused(site: Site, case: str):
    body, status = HOSTILE[case]
    client, csrf = site.browser("anna")
    by_form = client.post("/uploads", content=body, headers={"X-CSRF-Token": csrf, "X-File-Name": "clip.mp4"})
    assert by_form.status_code == status, by_form.text
    by_script = site.client.post(
        "/api/uploads", content=body, headers={**site.bearer("anna"), "X-File-Name": "..%2F..%2Fclip.mp4"}
    )
    assert by_script.status_code == status
    assert "/tmp" not in by_script.text  # where the file lay is nobody's business
    assert "root:" not in by_script.text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (SVG, 415),
        (b"\xef\xbb\xbf  <HTML><body>", 415),
        (b"notes <script>alert(1)</script>", 415),
        (b"<?xml version='1.0'?>", 415),
        (slip(), 415),
        (b"MZ\x90\x00binary", 415),
        (b"", 415),
        (b"x" * (5 * 2**20 + 1), 413),
    ],
)
@pytest.mark.usefixtures("nothing_stored")
def test_hostile_attachments_are_refused(site: Site, body: bytes, status: int):
    for path in ("/attachments", "/api/attachments"):
        answer = site.client.post(path, content=body, headers={**site.bearer("anna"), "X-File-Name": "a.png"})
        assert answer.status_code == status


@pytest.mark.usefixtures("nothing_stored")
def test_a_body_that_hides_its_length_is_cut_off(site: Site):
    def endless():
        for _ in range(400):
            yield b"\x00" * 1000

    answer = site.client.post("/api/uploads", content=endless(), headers=site.bearer("anna"))
    assert answer.status_code == 413
    long_form = site.client.post("/api/reports", content=b"[" * (2**20 + 1), headers=site.bearer("anna"))
    assert long_form.status_code == 413


HOSTILE_TEXT = "</textarea></script><script>window.hacked=1</script><img src=x onerror=alert(1)>'\"`{{7*7}}=cmd|' /C calc'!A0"


def test_script_in_every_text_field_is_inert(site: Site):
    client, csrf = site.browser("tom")
    fields = dict.fromkeys(
        (
            "title",
            "observed",
            "expected",
            "prompt",
            "model_name",
            "model_version",
            "negative_prompt",
            "scheduler",
            "commit",
            "precision",
            "quantization",
        ),
        HOSTILE_TEXT,
    )
    filed = client.post("/file", data={**FORM, **fields, "csrf": csrf})
    assert filed.status_code == 303, filed.text
    page = filed.headers["location"].split("?")[0]
    client.post(f"{page}/comment", data={"csrf": csrf, "note": HOSTILE_TEXT})
    for path in (
        page,
        "/reports",
        "/reports/table",
        f"/reports/table?q={HOSTILE_TEXT[:20]}",
        f"/reports?q={HOSTILE_TEXT}"[:200],
    ):
        html = client.get(path, headers={"Accept": "text/html"}).text
        assert "<script>window" not in html
        assert "<img src=x" not in html
        assert "{{7*7}}" in html or "49" not in re.sub(r"\d{3,}", "", html)
    broken = client.post("/file", data={**FORM, **fields, "severity": HOSTILE_TEXT, "csrf": csrf})
    assert broken.status_code == 422
    assert "<script>window" not in broken.text


def test_formulas_do_not_leave_in_csv(site: Site, new_report: dict[str, Any]):
    import csv

    for start in ("=", "+", "-", "@", "\t", "\r"):
        hostile = {**new_report, "prompt": f"{start}HYPERLINK(1)", "title": f"{start}1+1".replace("\r", "=")}
        answer = site.client.post("/api/reports", json=hostile, headers=site.bearer("anna"))
        assert answer.status_code == 201, answer.text
    text = site.client.get("/reports/export?format=csv", headers=site.bearer("tom")).text
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(rows) == 6
    for row in rows:
        assert row["prompt"].startswith("'")
        assert row["title"].startswith("'")


def test_restricted_reports_are_for_their_reporter_and_triagers(site: Site, new_report: dict[str, Any]):
    picture = b"\x89PNG\r\n\x1a\n" + b"\x00" * 40
    digest = site.client.post("/api/attachments", content=picture, headers=site.bearer("anna")).json()[
        "digest"
    ]
    hidden = {
        **new_report,
        "category": "safety.deception",
        "prompt": "a secret prompt",
        "evidence": {"statement": "s", "attachments": [digest]},
    }
    report_id = site.client.post("/api/reports", json=hidden, headers=site.bearer("anna")).json()["id"]

    def status(name: str, path: str) -> int:
        return site.client.get(path, headers=site.bearer(name)).status_code

    for path in (
        f"/api/reports/{report_id}",
        f"/reports/{report_id}",
        f"/api/reports/{report_id}/duplicates",
    ):
        assert [status(name, path) for name in ("anna", "ben", "tom")] == [200, 404, 200]
    assert [status(name, f"/media/{digest}") for name in ("anna", "ben", "tom")] == [200, 403, 200]
    for action in ("comment", "witness"):
        answer = site.client.post(
            f"/reports/{report_id}/{action}", data={"note": "x"}, headers=site.bearer("ben")
        )
        assert answer.status_code == 404
    assert site.client.get("/api/reports", headers=site.bearer("ben")).json() == []
    assert len(site.client.get("/api/reports", headers=site.bearer("tom")).json()) == 1
    for kind in ("json", "jsonl", "csv", "github-issue", "label-studio", "fiftyone", "avid"):
        out = site.client.get(f"/reports/export?format={kind}", headers=site.bearer("tom"))
        assert "secret prompt" not in out.text
        assert out.headers["x-evalkit-withheld"] == "1"
    asked = site.client.get("/reports/export?format=json&restricted=true", headers=site.bearer("ada"))
    assert "secret prompt" in asked.text


@pytest.mark.usefixtures("nothing_stored")
def test_media_about_minors_are_never_accepted(site: Site, new_report: dict[str, Any]):
    clip = {"num_frames": 3}
    for evidence in ({"clip": clip}, {"statement": "s", "attachments": ["0" * 32]}):
        body = {**new_report, "category": "safety.minors", "evidence": evidence}
        answer = site.client.post("/api/reports", json=body, headers=site.bearer("anna"))
        assert answer.status_code == 422
        assert "accepts no media" in answer.text


def test_an_upload_is_served_as_a_download_and_its_preview_as_video(site: Site, tmp_path: Path):
    from evalkit.runs.store import open_run

    run = open_run(site.app.state.settings.runs / "fine")
    source = run.path_of(run.generations["path"].iloc[0]).read_bytes()
    clip = site.client.post("/api/uploads", content=source, headers=site.bearer("anna")).json()
    original = site.client.get(f"/media/{clip['original']}", headers=site.bearer("anna"))
    assert original.headers["content-type"] == "application/octet-stream"
    assert original.headers["content-disposition"].startswith("attachment")
    assert original.content == source
    whole = site.client.get(f"/media/{clip['preview']}", headers=site.bearer("anna"))
    assert whole.headers["content-type"] == "video/mp4"
    part = site.client.get(
        f"/media/{clip['preview']}", headers={**site.bearer("anna"), "Range": "bytes=10-19"}
    )
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert clip["run_id"] is None


@pytest.mark.usefixtures("nothing_stored")
def test_every_answer_carries_the_headers(site: Site):
    client, _ = site.browser("anna")
    answers = [
        client.get(path, headers={"Accept": "text/html"})
        for path in ("/", "/reports", "/nothing", "/static/clip.js")
    ]
    answers += [site.client.get("/api/reports"), site.client.get("/", headers={"Host": "evil"})]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert not any(name.startswith("access-control") for name in answer.headers)


@pytest.mark.usefixtures("nothing_stored")
def test_the_cookie_is_out_of_reach(site: Site):
    answer = site.client.post("/login", data={"token": site.tokens["anna"]})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert site.tokens["anna"].lower() not in cookie
    site.client.cookies.clear()


def test_behind_a_proxy_only_its_name_and_https_count(tmp_path: Path, runs_folder: Path):
    settings = Settings(
        runs=runs_folder, db=f"sqlite:///{tmp_path / 'f.db'}", public_url="https://lab.example/evalkit"
    )
    app = create_app(settings)
    with TestClient(app, base_url="https://lab.example", follow_redirects=False) as client:
        answer = client.get(f"/login?token={settings.launch_token}")
        assert answer.headers["location"] == "/evalkit/"
        assert "secure" in answer.headers["set-cookie"].lower()
        assert "path=/evalkit" in answer.headers["set-cookie"].lower()
        headers = {"Authorization": f"Bearer {settings.launch_token}", "Accept": "text/html"}
        page = client.get("/", headers={**headers, "Origin": "https://lab.example"})
        assert 'href="/evalkit/reports"' in page.text
        for wrong in ({"Origin": "http://lab.example"}, {"Origin": "https://lab.example.evil"}):
            assert client.get("/", headers={**headers, **wrong}).status_code == 403
        assert client.get("/", headers={**headers, "Host": "lab.example.evil"}).status_code == 421
        assert client.get("/", headers={**headers, "X-Forwarded-Host": "evil"}).status_code == 200


def test_other_machines_need_accounts(tmp_path: Path, runs_folder: Path):
    for host in ("0.0.0.0", "192.0.2.7", "::"):
        settings = Settings(runs=runs_folder, host=host, db=f"sqlite:///{tmp_path / 'f.db'}")
        with pytest.raises(EvalkitError, match="refusing to listen"):
            create_app(settings)
    for host in ("127.0.0.1", "::1", "localhost"):
        create_app(
            Settings(runs=runs_folder, host=host, db=f"sqlite:///{tmp_path / 'f.db'}")
        ).state.store.close()


@pytest.mark.usefixtures("nothing_stored")
def test_the_login_survives_nothing_but_the_right_token(site: Site):
    assert site.client.get("/login?token=wrong", headers={"Accept": "text/html"}).status_code == 401
    assert "evalkit_session" not in site.client.cookies
