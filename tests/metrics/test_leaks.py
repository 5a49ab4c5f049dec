"""What tags give away, on tags as generators, cameras and editors write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.metrics.functional.leaks import metadata_leaks

PROMPT = "A red ball rolls left of a blue cube"


def kinds(text: str, tag: str = "comment", prompt: str | None = PROMPT) -> list[str]:
    return [leak.kind for leak in metadata_leaks({tag: text}, prompt)]


@pytest.mark.parametrize(
    "text",
    [
        "a red ball rolls left of a blue cube",
        "Prompt: A red ball, rolls left of\na BLUE cube! (seed 7)",
        '{"3": {"class_type": "KSampler", "inputs": {"seed": 5}}}',
        "two dogs\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1",
        '{"prompt": "two dogs", "steps": 30}',
    ],
)
def test_prompts_and_settings(text: str) -> None:
    assert kinds(text) == ["prompt"]


def test_a_prompt_of_two_words_is_no_finding_in_a_title() -> None:
    assert kinds("The dog park", prompt="dog park") == []
    assert kinds("Lavf62.3.100", prompt="") == []


@pytest.mark.parametrize(
    "text",
    [
        "/home/ada/clips/ball.mp4",
        "source=/Users/Ada Lovelace/x.mov",
        r"C:\Users\ada\out.mp4",
        r"D:\\renders\\take2",
        r"\\nas01\share\x.mp4",
        "file:///data/x",
        "loaded (/workspace/model.safetensors)",
    ],
)
def test_paths(text: str) -> None:
    assert kinds(text) == ["path"]


def test_places() -> None:
    assert kinds("+37.3349-122.0090+010.0/", "com.apple.quicktime.location.ISO6709") == ["place"]
    assert kinds("+37.33-122.01/", "xyz") == ["place"]
    assert kinds("37, 20, 5.6", "exif:GPSInfo") == ["place"]
    assert kinds("", "location") == []


def test_people() -> None:
    assert kinds("Ada Lovelace", "artist") == ["person"]
    assert kinds("Ada Lovelace", "stream:author") == ["person"]
    assert kinds("Ada Lovelace", "exif:Artist") == ["person"]
    assert kinds("made by ada@example.org") == ["person"]
    assert kinds("Ada Lovelace", "title") == []


@pytest.mark.parametrize(
    "secret",
    [
        "hf_" + "a1B2" * 8,
        "sk-" + "x" * 30,
        "AKIA" + "Q" * 16,
        "ghp_" + "z" * 36,
        "https://ada:hunter2@example.org/v",
        "https://s3.example.org/v.mp4?X-Amz-Signature=abcdef",
    ],
)
def test_secrets_are_found_and_not_repeated(secret: str) -> None:
    leaks = metadata_leaks({"comment": f"made with {secret} today"})
    assert [leak.kind for leak in leaks] == ["secret"]
    assert all(len(leak.excerpt) <= 7 and secret not in leak.excerpt for leak in leaks)


def test_a_secret_is_not_repeated_by_another_finding_of_its_tag() -> None:
    secret = "hf_" + "a1B2" * 8
    leaks = metadata_leaks({"comment": f"/home/ada used {secret}"})
    assert {leak.kind for leak in leaks} == {"path", "secret"}
    assert all(secret[4:] not in leak.excerpt for leak in leaks)


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        ("major_brand", "isom"),
        ("encoder", "Lavf62.12.102"),
        ("stream:handler_name", "VideoHandler"),
        ("stream:language", "und"),
        ("creation_time", "2026-03-01T10:00:00.000000Z"),
        ("compatible_brands", "isomiso2avc1mp41"),
        ("stream:DURATION", "00:00:01.001000000"),
        ("comment", "Prompt engineering for beginners, 20 steps"),
        ("description", "and/or, 1/2, https://example.org/home/page"),
        ("timecode", "01:00:00:00"),
    ],
)
def test_ordinary_tags_give_nothing_away(tag: str, text: str) -> None:
    assert kinds(text, tag) == []


@given(
    st.dictionaries(st.text(max_size=20), st.text(max_size=200), max_size=5), st.none() | st.text(max_size=40)
)
def test_any_tags_can_be_read(tags: dict[str, str], prompt: str | None) -> None:
    leaks = metadata_leaks(tags, prompt)
    assert len({(leak.kind, leak.tag) for leak in leaks}) == len(leaks)
    assert all(leak.tag in tags and len(leak.excerpt) <= 63 for leak in leaks)
