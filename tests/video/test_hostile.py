"""Files that are broken, that lie, or that try to make the decoder open or allocate something else."""

from __future__ import annotations

import contextlib
import random
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from evalkit.errors import UnreadableVideo, UnsupportedVideo, VideoError, VideoLimitExceeded
from evalkit.video import Limits, decode, probe
from tests.video.writers import moving_squares, rgb_lossless, write_video


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.mp4", moving_squares(24))


def refuse(path: Path, kind: type[VideoError], message: str, **limits: float) -> None:
    """Both `probe` and `decode` refuse, in one paragraph that names the file."""
    for read in (probe, decode):
        with pytest.raises(kind, match=message) as caught:
            read(path, limits=Limits(**limits))  # type: ignore[arg-type]
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile clip.mp4\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nclip.mp4\n#EXT-X-ENDLIST\n",
        "file 'clip.mp4'\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>',
        "YUV4MPEG2 W4 H4 F24:1 C420\nFRAME\n",
        ";FFMETADATA1\n",
        "Sorry, the server is busy.",
        "\n\n",
    ],
)
@pytest.mark.parametrize("name", ["text.mp4", "text.gif", "text.m3u8", "text.ffconcat"])
def test_text_is_never_opened_as_video(clip: Path, text: str, name: str) -> None:
    path = clip.parent / name
    path.write_text(text)
    refuse(
        path, UnreadableVideo, "a text file .*, not a video; playlists and concat scripts are never followed"
    )


def test_a_playlist_hidden_behind_a_container_name_reads_no_neighbour(clip: Path) -> None:
    path = clip.parent / "sneaky.mp4"
    path.write_bytes(b"\0\0\0\x08ftyp" + b"ffconcat version 1.0\nfile clip.mp4\n")
    refuse(path, UnreadableVideo, "corrupt or truncated")


def test_missing_and_empty_files(tmp_path: Path) -> None:
    refuse(tmp_path / "nothing.mp4", UnreadableVideo, "no such file")
    (tmp_path / "empty.mp4").touch()
    refuse(tmp_path / "empty.mp4", UnreadableVideo, r"empty \(0 bytes\); copy or generate the clip again")


@pytest.mark.parametrize(
    ("head", "kind", "what"),
    [
        (b"\x89PNG\r\n\x1a\n", UnsupportedVideo, "PNG image"),
        (b"\xff\xd8\xff\xe0", UnsupportedVideo, "JPEG image"),
        (b"PK\x03\x04", UnsupportedVideo, "ZIP archive"),
        (b"RIFF\x10\0\0\0AVI LIST", UnsupportedVideo, "AVI file"),
        (b"\x00\x01\x02\x03\x04\x05\x06\x07\x08", UnreadableVideo, "first bytes 00 01 02 03"),
    ],
)
def test_other_kinds_of_file_are_named(
    tmp_path: Path, head: bytes, kind: type[VideoError], what: str
) -> None:
    (tmp_path / "a.mp4").write_bytes(head + bytes(range(256)))
    refuse(tmp_path / "a.mp4", kind, what)


@pytest.mark.parametrize(
    ("container", "codec", "pix_fmt", "options"),
    [
        ("mp4", "libx264", "yuv420p", {}),
        ("mp4", "libx264", "yuv420p", {"movflags": "+faststart"}),
        ("mov", "qtrle", "rgb24", {}),
        ("matroska", "libx264", "yuv420p", {}),
        ("webm", "libvpx-vp9", "yuv420p", {}),
        ("gif", "gif", "rgb8", {}),
    ],
)
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_a_file_that_was_cut_short_is_refused(
    tmp_path: Path, container: str, codec: str, pix_fmt: str, options: dict[str, str], kept: float
) -> None:
    path = write_video(
        tmp_path / "a",
        moving_squares(24, seed=1),
        codec=codec,
        pix_fmt=pix_fmt,
        container=container,
        container_options=options,
    )
    whole = path.read_bytes()
    assert decode(path).num_frames == 24
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(UnreadableVideo, match=r"truncated|cut short"):
        decode(path)


def test_damage_is_noticed_wherever_the_decoder_can(clip: Path) -> None:
    """H.264 has no checksum, so some damage decodes to other pixels; never to a crash or another length."""
    whole = bytearray(clip.read_bytes())
    start, end = whole.find(b"mdat") + 800, whole.find(b"moov") - 40
    refused = 0
    generator = np.random.default_rng(5)
    for _ in range(40):
        broken = whole.copy()
        position = int(generator.integers(start, end))
        broken[position : position + 8] = generator.bytes(8)
        clip.write_bytes(broken)
        try:
            assert decode(clip).num_frames == 24
        except UnreadableVideo:
            refused += 1
    assert refused >= 25


def test_random_bytes_behind_a_true_beginning(clip: Path) -> None:
    whole = clip.read_bytes()
    generator = np.random.default_rng(6)
    for head in (whole[:32], b"\x1aE\xdf\xa3", b"GIF89a", b"RIFF\x40\0\0\0WEBPVP8 "):
        for size in (10, 1000):
            clip.write_bytes(head + generator.bytes(size))
            with pytest.raises(VideoError):
                decode(clip)


def test_limits_hold_on_the_header(clip: Path) -> None:
    refuse(
        clip, VideoLimitExceeded, "64x48 = 3,072 pixels.*limit is 3,071.*Limits.max_pixels", max_pixels=3071
    )
    refuse(clip, VideoLimitExceeded, "24 frames.*Limits.max_frames", max_frames=23)
    refuse(clip, VideoLimitExceeded, "1.0 seconds.*Limits.max_seconds", max_seconds=0.9)
    refuse(clip, VideoLimitExceeded, "bytes.*Limits.max_bytes", max_bytes=1000)
    refuse(clip, VideoLimitExceeded, "1 streams.*Limits.max_streams", max_streams=0)
    refuse(
        clip,
        VideoLimitExceeded,
        "once decoded.*Limits.max_decoded_bytes",
        max_decoded_bytes=24 * 64 * 48 * 3 - 1,
    )
    exact = Limits(
        max_pixels=3072, max_frames=24, max_seconds=1, max_streams=1, max_decoded_bytes=24 * 64 * 48 * 3
    )
    assert decode(clip, limits=exact).num_frames == 24


@pytest.mark.parametrize(
    ("container", "codec", "pix_fmt"),
    [
        ("matroska", "ffv1", "yuv444p"),
        ("webm", "libvpx-vp9", "yuv420p"),
        ("gif", "gif", "rgb8"),
        ("mov", "qtrle", "argb"),
    ],
)
def test_a_picture_beyond_the_limit_is_named_in_every_container(
    tmp_path: Path, container: str, codec: str, pix_fmt: str
) -> None:
    path = write_video(tmp_path / "a", moving_squares(2), codec=codec, pix_fmt=pix_fmt, container=container)
    refuse(path, VideoLimitExceeded, "64x48.*Limits.max_pixels", max_pixels=3000)


def test_a_header_that_claims_a_small_picture_gains_nothing(tmp_path: Path) -> None:
    """The bomb: a header says 16x16 and the first frame is larger than the limit."""
    path = write_video(
        tmp_path / "a.webm",
        moving_squares(4),
        codec="libvpx-vp9",
        container="webm",
        options={"cpu-used": "8"},
    )
    whole = path.read_bytes()
    assert whole.count(b"\xb0\x81\x40") == whole.count(b"\xba\x81\x30") == 1  # PixelWidth 64, PixelHeight 48
    path.write_bytes(
        whole.replace(b"\xb0\x81\x40", b"\xb0\x81\x10").replace(b"\xba\x81\x30", b"\xba\x81\x10")
    )
    with pytest.raises(VideoError):
        decode(path, limits=Limits(max_pixels=1000))


def test_a_header_that_claims_a_huge_picture_allocates_nothing(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "a.mkv", moving_squares(4), codec="ffv1", pix_fmt="yuv444p", container="matroska"
    )
    whole = path.read_bytes()
    assert whole.count(b"\xb0\x81\x40") == whole.count(b"\xba\x81\x30") == 1
    wide = whole.replace(b"\xb0\x81\x40", b"\xb0\x81\xff").replace(b"\xba\x81\x30", b"\xba\x81\xff")
    path.write_bytes(wide)
    refuse(path, VideoLimitExceeded, "255x255", max_pixels=65_000)


def test_a_header_that_understates_the_length_is_caught_while_decoding(tmp_path: Path) -> None:
    """Matroska need not say how many frames there are."""
    path = rgb_lossless(tmp_path / "a.mkv", moving_squares(24), container="matroska")
    with pytest.raises(VideoLimitExceeded, match=r"Limits\.max_frames"):
        decode(path, limits=Limits(max_frames=10))
    with pytest.raises(VideoLimitExceeded, match=r"Limits\.max_decoded_bytes"):
        decode(path, limits=Limits(max_decoded_bytes=10 * 64 * 48 * 3))


def test_a_header_that_overstates_the_length_is_refused(clip: Path) -> None:
    whole = bytearray(clip.read_bytes())
    box = whole.find(b"stsz")
    size, count = struct.unpack_from(">II", whole, box + 8)
    assert (size, count) == (0, 24)
    # A constant sample size needs no table, so the claimed count is not bounded by the file.
    struct.pack_into(">II", whole, box + 8, 10, 500_000_000)
    clip.write_bytes(whole)
    with pytest.raises(VideoError):
        decode(clip)


def test_a_clip_that_would_last_too_long_is_refused(tmp_path: Path) -> None:
    path = rgb_lossless(tmp_path / "a.mp4", moving_squares(24), fps=Fraction(1, 100))
    refuse(path, VideoLimitExceeded, "2400.0 seconds.*Limits.max_seconds")


def test_a_codec_that_nobody_knows_is_named(clip: Path) -> None:
    whole = clip.read_bytes()
    assert whole.count(b"avc1") >= 1
    clip.write_bytes(whole.replace(b"avc1", b"zzz9"))
    refuse(clip, UnsupportedVideo, "no decoder knows the codec of the video stream")


def test_times_that_run_too_fast_are_refused(tmp_path: Path) -> None:
    frames = moving_squares(3)
    path = rgb_lossless(tmp_path / "a.mp4", frames, fps=1000)
    whole = bytearray(path.read_bytes())
    box = whole.find(b"mdhd")
    (timescale,) = struct.unpack_from(">I", whole, box + 16)
    struct.pack_into(">I", whole, box + 16, timescale * 50)
    path.write_bytes(whole)
    with pytest.raises(UnsupportedVideo, match="50000 frames per second"):
        decode(path)


def test_any_damage_is_an_error_of_ours(tmp_path: Path) -> None:
    """A few hundred random edits of every container: pixels or a `VideoError`, nothing else."""
    generator = random.Random(11)
    sources = [
        write_video(
            tmp_path / "a", moving_squares(3), codec=codec, pix_fmt=pix_fmt, container=container
        ).read_bytes()
        for container, codec, pix_fmt in (
            ("mp4", "libx264", "yuv420p"),
            ("mov", "qtrle", "rgb24"),
            ("matroska", "ffv1", "yuv444p"),
            ("webm", "libvpx-vp9", "yuv420p"),
            ("gif", "gif", "rgb8"),
        )
    ]
    path = tmp_path / "damaged"
    for _ in range(60):
        for source in sources:
            content = bytearray(source)
            for _ in range(generator.choice([1, 4, 16])):
                position = generator.randrange(len(content))
                content[position : position + generator.choice([0, 1, 4, 20])] = generator.randbytes(
                    generator.choice([1, 4, 20])
                )
            path.write_bytes(content)
            with contextlib.suppress(VideoError):
                decode(path, limits=Limits(max_pixels=1 << 18, max_decoded_bytes=1 << 26))
