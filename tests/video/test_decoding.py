"""Every container and every odd property of a file: handled, or refused with a reason."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from av.video.stream import VideoStream

from evalkit.errors import UnsupportedVideo
from evalkit.video import Video, decode, decode_with_info, decoder_id, probe
from tests.video.writers import moving_squares, rgb_lossless, write_video


def as_arrays(video: Video) -> np.ndarray:
    return video.frames.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "container", "expected"),
    [
        ("a.mp4", "libx264rgb", "rgb24", "mp4", ("mp4", "h264", "gbrp")),
        ("a.mov", "qtrle", "rgb24", "mov", ("mov", "qtrle", "rgb24")),
        ("a.mkv", "libx264rgb", "rgb24", "matroska", ("matroska", "h264", "gbrp")),
        ("a.webm", "libvpx-vp9", "gbrp", "webm", ("webm", "vp9", "gbrp")),
    ],
)
def test_containers_give_exact_pixels_rates_and_counts(
    tmp_path: Path, name: str, codec: str, pix_fmt: str, container: str, expected: tuple[str, str, str]
) -> None:
    frames = moving_squares()
    options = (
        {"crf": "0"} if "x264" in codec else {"lossless": "1", "cpu-used": "8"} if "vp9" in codec else {}
    )
    path = write_video(
        tmp_path / name,
        frames,
        fps=Fraction(24_000, 1001),
        codec=codec,
        pix_fmt=pix_fmt,
        container=container,
        options=options,
    )
    video, info, _ = decode_with_info(path)
    assert np.array_equal(as_arrays(video), frames)
    assert (info.container, info.codec, info.pix_fmt) == expected
    assert video.fps == info.fps == Fraction(24_000, 1001)
    assert (info.num_frames, info.duration) == (12, Fraction(12 * 1001, 24_000))
    assert not info.variable_frame_rate
    header = probe(path)
    assert (header.width, header.height, header.codec) == (64, 48, expected[1])
    assert header.num_frames in (12, None)


def test_a_gif_gives_exact_pixels(tmp_path: Path) -> None:
    # Three grey levels survive any palette.
    frames = (moving_squares() // 100 * 100)[..., :1].repeat(3, axis=3)
    path = write_video(tmp_path / "a.gif", frames, fps=10, codec="gif", pix_fmt="gray", container="gif")
    video, info, _ = decode_with_info(path)
    assert np.array_equal(as_arrays(video), frames)
    assert (info.container, video.fps, info.has_alpha) == ("gif", 10, False)


def test_the_name_of_a_file_plays_no_part(tmp_path: Path) -> None:
    path = rgb_lossless(tmp_path / "a.mp4", moving_squares())
    for name in ("clip.gif", "clip", "concat:a|b.mp4", "http:clip.mp4", "ünï côdé 視頻%20.txt"):
        assert decode(path.rename(tmp_path / name)) == decode(tmp_path / name)
        path = tmp_path / name


def test_ordinary_h264_agrees_with_another_decoder(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", moving_squares())
    capture = cv2.VideoCapture(str(path))
    for frame in as_arrays(decode(path)):
        assert np.array_equal(capture.read()[1][..., ::-1], frame)


def test_odd_sizes_of_chroma_subsampled_video(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:37, :51]
    ramp = np.stack([rows * 4, columns * 4, rows + columns], axis=2).astype(np.uint8)[None]
    path = write_video(
        tmp_path / "a.webm", ramp, codec="libvpx-vp9", container="webm", options={"crf": "1", "cpu-used": "8"}
    )
    video = decode(path)
    assert (video.height, video.width) == (37, 51)
    assert np.abs(as_arrays(video).astype(int) - ramp).max() <= 8


@pytest.mark.parametrize("container", ["mp4", "matroska", "mov"])
def test_a_clip_of_one_frame(tmp_path: Path, container: str) -> None:
    frames = moving_squares(1)
    video = decode(rgb_lossless(tmp_path / "a", frames, container=container, fps=12))
    assert np.array_equal(as_arrays(video), frames)
    assert video.fps == 12


def test_decoding_is_deterministic_and_identifies_the_file(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", moving_squares())
    first, second = decode_with_info(path), decode_with_info(path)
    assert first == second
    assert first.file_digest == hashlib.blake2b(path.read_bytes(), digest_size=20).hexdigest()


def test_max_frames_reads_a_prefix(tmp_path: Path) -> None:
    path = rgb_lossless(tmp_path / "a.mp4", moving_squares())
    whole = decode(path)
    for count in (1, 5, 12, 100):
        part = decode(path, max_frames=count)
        assert torch.equal(part.frames, whole.frames[:count])
        assert part.fps == whole.fps
    with pytest.raises(ValueError, match="max_frames"):
        decode(path, max_frames=0)


def test_variable_frame_rate_keeps_frames_and_tells(tmp_path: Path) -> None:
    frames = moving_squares(6)
    path = rgb_lossless(
        tmp_path / "a.mkv", frames, container="matroska", milliseconds=[0, 40, 80, 220, 260, 300]
    )
    video, info, _ = decode_with_info(path)
    assert np.array_equal(as_arrays(video), frames)
    assert info.variable_frame_rate
    assert video.fps == pytest.approx(5 / 0.3, rel=0.2)
    assert any("variable frame rate" in note for note in info.notes)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("mirror", [(False, False), (True, False), (False, True)])
def test_rotation_metadata_is_applied(tmp_path: Path, degrees: int, mirror: tuple[bool, bool]) -> None:
    frames = moving_squares(2)

    def turn(stream: VideoStream) -> None:
        stream.set_display_rotation(degrees, *mirror)

    video, info, _ = decode_with_info(rgb_lossless(tmp_path / "a.mp4", frames, prepare=turn))
    # FFmpeg's convention: turn the stored picture counter-clockwise, then mirror it.
    turned = np.rot90(frames, degrees // 90, axes=(1, 2))
    assert np.array_equal(as_arrays(video), turned[:, :: -1 if mirror[1] else 1, :: -1 if mirror[0] else 1])
    assert (info.width, info.height) == (video.width, video.height)
    if not any(mirror):
        assert info.rotation == -degrees % 360
    assert bool(info.notes) == (degrees != 0 or any(mirror))


def test_rotation_agrees_with_another_decoder(tmp_path: Path) -> None:
    path = rgb_lossless(
        tmp_path / "a.mp4", moving_squares(2), prepare=lambda stream: stream.set_display_rotation(90)
    )
    assert np.array_equal(cv2.VideoCapture(str(path)).read()[1][..., ::-1], as_arrays(decode(path))[0])


def test_another_angle_is_refused(tmp_path: Path) -> None:
    path = rgb_lossless(
        tmp_path / "a.mp4", moving_squares(2), prepare=lambda stream: stream.set_display_rotation(30)
    )
    with pytest.raises(UnsupportedVideo, match="not a quarter turn; rotate the pixels"):
        decode(path)


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    frames = np.concatenate([moving_squares(2), np.full((2, 48, 64, 1), 255, np.uint8)], axis=3)
    frames[:, :24, :, 3] = 0
    frames[:, 24:36, :, 3] = 128
    video, info, _ = decode_with_info(
        write_video(tmp_path / "a.mov", frames, codec="qtrle", pix_fmt="argb", container="mov")
    )
    alpha = frames[..., 3:] / 255
    expected = frames[..., :3] * alpha + 255 * (1 - alpha)
    assert np.abs(as_arrays(video) - expected).max() <= 0.5
    assert info.has_alpha
    assert any("white" in note for note in info.notes)


def test_an_opaque_alpha_channel_changes_nothing(tmp_path: Path) -> None:
    frames = np.concatenate([moving_squares(2), np.full((2, 48, 64, 1), 255, np.uint8)], axis=3)
    video, info, _ = decode_with_info(
        write_video(tmp_path / "a.mov", frames, codec="qtrle", pix_fmt="argb", container="mov")
    )
    assert np.array_equal(as_arrays(video), frames[..., :3])
    assert not info.has_alpha
    assert info.notes == ()


def test_a_webm_with_a_transparency_layer_is_refused(tmp_path: Path) -> None:
    frames = np.concatenate([moving_squares(2), np.full((2, 48, 64, 1), 128, np.uint8)], axis=3)
    path = write_video(tmp_path / "a.webm", frames, codec="libvpx-vp9", pix_fmt="yuva420p", container="webm")
    with pytest.raises(UnsupportedVideo, match=r"transparency layer.*composite it"):
        probe(path)


@pytest.mark.parametrize(("pix_fmt", "bits"), [("yuv420p10le", 10), ("yuv444p10le", 10)])
def test_ten_bits_become_eight(tmp_path: Path, pix_fmt: str, bits: int) -> None:
    frames = np.full((2, 48, 64, 3), 100, np.uint8)
    path = write_video(tmp_path / "a.mkv", frames, codec="ffv1", pix_fmt=pix_fmt, container="matroska")
    video, info, _ = decode_with_info(path)
    assert np.abs(as_arrays(video).astype(int) - 100).max() <= 2
    assert info.bit_depth == bits
    assert any("converted to 8" in note for note in info.notes)


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_refused(tmp_path: Path, transfer: int, name: str) -> None:
    def mark(stream: VideoStream) -> None:
        stream.codec_context.color_trc = transfer

    path = write_video(tmp_path / "a.mp4", moving_squares(2), prepare=mark)
    with pytest.raises(UnsupportedVideo, match=f"HDR video, {name}.*Tone-map"):
        probe(path)


def test_the_stored_colour_matrix_is_used(tmp_path: Path) -> None:
    red = np.zeros((1, 48, 64, 3), np.uint8)
    red[..., 0] = 255
    frame = av.VideoFrame.from_ndarray(red[0], format="rgb24")
    as_709 = frame.reformat(format="yuv444p", dst_colorspace="ITU709", dst_color_range="MPEG").to_ndarray()

    def mark(stream: VideoStream) -> None:
        stream.codec_context.colorspace = 1
        stream.codec_context.color_range = 1

    with av.open(str(tmp_path / "a.mp4"), "w") as sink:
        stream = sink.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt, stream.options = 64, 48, "yuv444p", {"qp": "0"}
        mark(stream)
        stored = av.VideoFrame.from_ndarray(as_709, format="yuv444p")
        stored.colorspace, stored.color_range = 1, 1
        sink.mux(stream.encode(stored))
        sink.mux(stream.encode())
    assert np.abs(as_arrays(decode(tmp_path / "a.mp4")).astype(int) - red).max() <= 2


def test_pixels_that_are_not_square_are_told(tmp_path: Path) -> None:
    def stretch(stream: VideoStream) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)

    video, info, _ = decode_with_info(rgb_lossless(tmp_path / "a.mp4", moving_squares(2), prepare=stretch))
    assert (video.width, info.sample_aspect_ratio) == (64, Fraction(4, 3))
    assert any("not square" in note for note in info.notes)


def test_a_size_that_changes_on_the_way_is_refused(tmp_path: Path) -> None:
    parts = [moving_squares(2, 48, 64), moving_squares(2, 64, 96)]
    stream = b"".join(
        write_video(tmp_path / f"{i}.h264", part, container="h264").read_bytes()
        for i, part in enumerate(parts)
    )
    (tmp_path / "both.h264").write_bytes(stream)
    with av.open(str(tmp_path / "both.h264")) as source, av.open(str(tmp_path / "both.mkv"), "w") as sink:
        target = sink.add_stream_from_template(source.streams.video[0])
        for index, packet in enumerate(source.demux(source.streams.video[0])):
            if packet.size:
                packet.stream, packet.pts, packet.dts = target, index * 40, index * 40
                packet.time_base = Fraction(1, 1000)
                sink.mux(packet)
    with pytest.raises(UnsupportedVideo, match="changes from 64x48 to 96x64 at frame 2"):
        decode(tmp_path / "both.mkv")


def _with_sound(path: Path, *, video: bool) -> Path:
    with av.open(str(path), "w", format="mp4") as sink:
        picture = sink.add_stream("libx264rgb", rate=24) if video else None
        if picture is not None:
            picture.width, picture.height, picture.pix_fmt = 64, 48, "rgb24"
            picture.options = {"crf": "0"}
        sound = sink.add_stream("aac", rate=8000)
        for pixels in moving_squares() if picture is not None else ():
            sink.mux(picture.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        tone.sample_rate = 8000
        sink.mux(sound.encode(tone))
        for stream in (picture, sound):
            if stream is not None:
                sink.mux(stream.encode(None))
    return path


def test_sound_is_ignored(tmp_path: Path) -> None:
    video, info, _ = decode_with_info(_with_sound(tmp_path / "a.mp4", video=True))
    assert np.array_equal(as_arrays(video), moving_squares())
    assert info.num_streams == 2


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedVideo, match=r"no video stream.*audio"):
        decode(_with_sound(tmp_path / "a.mp4", video=False))


def test_tags_of_the_container_are_kept(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as sink:
        sink.metadata["comment"] = "a red ball, seed 7"
        stream = sink.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        sink.mux(stream.encode(av.VideoFrame.from_ndarray(moving_squares(1)[0], format="rgb24")))
        sink.mux(stream.encode())
    assert probe(tmp_path / "a.mp4").metadata["comment"] == "a red ball, seed 7"


@pytest.mark.parametrize("facts", [probe, lambda path: decode_with_info(path).info])
def test_facts_survive_json(tmp_path: Path, facts: Callable) -> None:
    info = facts(rgb_lossless(tmp_path / "a.mp4", moving_squares(), fps=Fraction(24_000, 1001)))
    assert type(info).from_json(json.loads(json.dumps(info.to_json()))) == info


def test_the_decoder_says_who_it_is() -> None:
    assert decoder_id().startswith(f"pyav-{av.__version__}/libavcodec-")
