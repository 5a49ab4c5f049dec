from __future__ import annotations

import email.utils
import time
from collections.abc import Iterator

import pytest

from evalkit.errors import EvalkitError
from evalkit.models import GenerationFailure
from evalkit.models.http import HttpModel
from evalkit.suites.prompt import FrozenMapping
from evalkit.testing import check_model
from evalkit.video import Video, decode_with_info
from tests.models.good import request
from tests.models.service import TOKEN, Service, answer


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("EVALKIT_HTTP_TOKEN", TOKEN)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    running = Service()
    yield running
    running.close()


@pytest.fixture(autouse=True)
def _decode_here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decode in this process, which is faster; tests that use `in_a_child` decode downloads as users do."""
    if "in_a_child" not in request.fixturenames:
        monkeypatch.setattr("evalkit.video.decode_untrusted", decode_with_info)


@pytest.fixture
def in_a_child() -> None:
    """Decode downloads in a limited child process."""


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock of the client: waiting takes no time, and is written down."""
    waited: list[float] = []
    start = time.monotonic()
    monkeypatch.setattr("evalkit.models.http_client.time.sleep", waited.append)
    monkeypatch.setattr("evalkit.models.http_client.time.monotonic", lambda: start + sum(waited))
    return waited


def model(service: Service, **settings) -> HttpModel:
    return HttpModel(**{"url": service.url, "poll_s": 0.01, "timeout_s": 60.0, **settings})


def one(made: HttpModel, **changes) -> Video | GenerationFailure:
    (result,) = made.generate([request(**{"height": 16, "width": 16, "num_frames": 3, **changes})])
    return result


def failure(made: HttpModel, **changes) -> GenerationFailure:
    result = one(made, **changes)
    assert isinstance(result, GenerationFailure), result
    return result


@pytest.mark.usefixtures("in_a_child")
def test_submit_poll_download(service: Service) -> None:
    service.polls = 3
    made = model(service)
    made.load("cpu")
    video = one(made, params=FrozenMapping({"style": "oil", "camera": "pan"}), negative_prompt="blue")
    assert isinstance(video, Video)
    assert (video.num_frames, video.height, video.fps) == (3, 16, 8)
    assert service.calls == {
        "GET /model": 1,
        "POST /generations": 1,
        "GET /generations/*": 3,
        "GET /files/*": 1,
    }
    asked = service.jobs["job-0"]["asked"]
    assert (asked["prompt"], asked["negative_prompt"], asked["fps"]) == ("a red ball", "blue", "8")
    assert "expect" not in asked
    assert made.ignored_params == {"camera"}


def test_identity_is_what_the_service_says_and_knows_no_token(service: Service) -> None:
    made = model(service, batch_size=3)
    info = made.info
    assert (info.id, info.revision, info.licence, info.batch_size) == ("hosted", "r7", "proprietary", 3)
    assert info.weights == {"net": "sha256:00ff"}
    assert info.defaults["fps"] == "8"
    assert TOKEN not in repr(info) + repr(vars(made))


def test_the_adapter_honours_the_contract(service: Service) -> None:
    check_model(lambda: model(service))


def test_jobs_of_a_batch_are_in_flight_together(service: Service) -> None:
    clips = model(service).generate([request(height=16, width=16, seed=seed) for seed in range(4)])
    assert len({clip.clip_id for clip in clips if isinstance(clip, Video)}) == 4
    order = service.calls
    assert order["POST /generations"] == 4
    assert order["GET /generations/*"] == 4


def test_an_interrupted_run_picks_its_jobs_up_again(service: Service) -> None:
    """The same request is the same job, also for another process, until it fails or says something else."""
    first, again = one(model(service)), one(model(service))
    assert first == again
    assert len(service.jobs) == 1
    one(model(service), seed=2)
    one(model(service), sample_index=1)
    service.info["revision"] = "r8"
    one(model(service))
    assert len(service.jobs) == 4


def test_a_failed_job_is_submitted_anew(service: Service) -> None:
    made = model(service)
    service.fault(
        "GET /generations/job-0",
        answer(200, {"id": "job-0", "status": "failed", "error": "node died", "permanent": False}),
    )
    result = failure(made)
    assert (result.permanent, "node died" in result.reason) == (False, True)
    service.jobs["job-0"]["status"] = "failed"
    assert isinstance(one(made), Video)
    assert set(service.jobs) == {"job-0", "job-1"}


def test_too_many_requests_wait_as_long_as_they_are_told(service: Service, waits: list[float]) -> None:
    made = model(service)
    assert made.info
    in_a_minute = email.utils.formatdate(time.time() + 40, usegmt=True)
    service.fault(
        "POST /generations", answer(429, {}, Retry_After="7"), answer(503, {}, Retry_After=in_a_minute)
    )
    assert isinstance(one(made), Video)
    assert waits[0] == 7.0
    assert 35 < waits[1] <= 40
    assert service.calls["POST /generations"] == 3


def test_without_advice_the_waits_grow_and_end_at_the_deadline(service: Service, waits: list[float]) -> None:
    made = model(service, timeout_s=30.0)
    assert made.info
    service.fault("POST /generations", *[answer(502, b"<html>bad gateway</html>")] * 50)
    result = failure(made)
    assert not result.permanent
    assert "POST /v1/generations answered 502: <html>bad gateway</html>; gave up after" in result.reason
    assert 3 <= len(waits) <= 8
    assert sum(waits) <= 30.0
    for wait, cap in zip(waits, (0.5, 1, 2, 4, 8, 16), strict=False):
        assert cap / 2 <= wait <= cap


def test_a_job_that_never_ends_fails_as_transient(service: Service) -> None:
    service.polls = 10**9
    made = model(service)
    assert made.info
    made.timeout_s = 0.2
    result = failure(made)
    assert result.reason == f"{service.url}: no clip within 0.2 s"
    assert not result.permanent


def test_a_service_that_lost_its_jobs_is_asked_once_more(service: Service) -> None:
    lost = answer(404, {"error": "no such job"})
    service.fault("GET /generations/*", lost)
    assert isinstance(one(model(service)), Video)
    assert service.calls["POST /generations"] == 2
    service.fault("GET /generations/*", lost, lost)
    service.polls = 5
    result = failure(model(service), seed=9)
    assert result.permanent
    assert "answered 404: no such job" in result.reason


@pytest.mark.parametrize(
    ("call", "given", "said", "permanent"),
    [
        (
            "POST /generations",
            answer(400, {"error": "prompt is too long"}),
            "answered 400: prompt is too long",
            True,
        ),
        ("POST /generations", answer(401, {}), "answered 401", True),
        ("POST /generations", answer(302, b"", Location="/elsewhere"), "answered 302", True),
        ("POST /generations", answer(200, {"status": "queued"}), "must answer with an `id`", True),
        (
            "POST /generations",
            answer(200, {"id": "../secret", "status": "queued"}),
            "must answer with an `id`",
            True,
        ),
        (
            "POST /generations",
            answer(200, {"id": "a", "status": "dreaming"}),
            "unknown job status 'dreaming'",
            True,
        ),
        (
            "POST /generations",
            answer(200, {"id": "a", "status": "succeeded"}),
            "must have a `video` URL",
            True,
        ),
        ("POST /generations", answer(200, {"id": "a", "status": "failed"}), "the job failed", True),
        ("POST /generations", answer(200, [1]), "did not answer with a JSON object", True),
        ("POST /generations", answer(200, b"<html>"), "did not answer with a JSON object", True),
        ("POST /generations", answer(200, b" " * (2**20 + 1)), "did not answer with a JSON object", True),
        (
            "POST /generations",
            answer(200, {"id": "a", "status": "succeeded", "video": "file:///etc/passwd"}),
            "which is no http(s) URL",
            True,
        ),
        ("GET /files/*", answer(200, b"no clip"), "sent a clip that cannot be used", True),
        ("GET /files/*", answer(200, b""), "sent a clip that cannot be used", True),
        ("GET /files/*", answer(404, {}), "answered 404", True),
        ("GET /files/*", answer(200, b"x" * 100, Content_Length="5000"), "broke off", False),
    ],
)
def test_bad_answers_fail_the_clip_with_the_reason(
    service: Service, call: str, given: object, said: str, permanent: bool
) -> None:
    made = model(service)
    service.fault(call, given)
    result = failure(made)
    assert said in result.reason
    assert result.permanent is permanent


@pytest.mark.usefixtures("in_a_child")
def test_a_hostile_download_is_refused(service: Service) -> None:
    service.fault("GET /files/*", answer(200, b"ffconcat version 1.0\nfile /etc/passwd\n"))
    assert "sent a clip that cannot be used" in failure(model(service)).reason


def test_the_other_clips_of_a_batch_live(service: Service) -> None:
    service.fault("POST /generations", answer(400, {"error": "unsafe"}))
    results = model(service).generate([request(height=16, width=16, seed=seed) for seed in range(3)])
    assert [type(result) for result in results] == [GenerationFailure, Video, Video]


def test_downloads_are_capped_whatever_the_header_says(service: Service) -> None:
    made = model(service, max_bytes=1000)
    service.fault("GET /files/*", answer(200, b"x" * 5000))
    assert "larger than 1000 bytes; raise max_bytes" in failure(made).reason
    service.fault("GET /files/*", answer(200, b"x" * 5000, Content_Length="5000", Connection="close"))
    assert "larger than 1000 bytes" in failure(made, seed=3).reason


def test_the_token_goes_to_the_service_and_nowhere_else(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Service()
    try:
        storage.jobs["job-0"] = {"asked": {"seed": 1, "num_frames": 2, "height": 8, "width": 8, "fps": "8"}}
        elsewhere = f"{storage.url}/files/job-0"
        done = {"id": "a", "status": "succeeded", "video": elsewhere}
        service.fault("POST /generations", answer(200, done))
        assert isinstance(one(model(service)), Video)
        # ... and not through a redirect either
        done = {"id": "b", "status": "succeeded", "video": "files/b"}
        service.fault("POST /generations", answer(200, done))
        service.fault("GET /files/b", answer(302, b"", Location=elsewhere))
        assert isinstance(one(model(service), seed=4), Video)
        assert storage.tokens == [None, None]
        assert f"Bearer {TOKEN}" in service.tokens
    finally:
        storage.close()


def test_a_service_that_is_not_there_or_not_the_right_one(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EvalkitError, match="has revision 'r7', not 'r9'"):
        model(service, revision="r9").load("cpu")
    service.info = {"id": "x"}
    with pytest.raises(EvalkitError, match="must answer with the texts `id` and `revision`"):
        _ = model(service).info
    service.info = {"id": "x", "revision": "1", "defaults": [8]}
    with pytest.raises(EvalkitError, match="`defaults` of /model must be an object"):
        _ = model(service).info
    monkeypatch.setenv("EVALKIT_HTTP_TOKEN", "wrong")
    with pytest.raises(
        EvalkitError, match="answered 401: who are you\\?; check the URL and EVALKIT_HTTP_TOKEN"
    ):
        _ = model(service).info
    service.close()
    with pytest.raises(EvalkitError, match="no connection"):
        _ = model(service, timeout_s=0.1).info


def test_settings_are_checked_when_the_model_is_made() -> None:
    with pytest.raises(ValueError, match="url must begin with"):
        HttpModel(url="localhost:80")
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        HttpModel(url="http://x", batch_size=0)
