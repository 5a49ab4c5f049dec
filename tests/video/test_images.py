"""Animated WebP and folders of images."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from evalkit.errors import UnreadableVideo, UnsupportedVideo, VideoLimitExceeded
from evalkit.video import Limits, decode, decode_with_info, file_digest, probe
from tests.video.writers import moving_squares


def write_webp(path: Path, frames: np.ndarray, milliseconds: int | list[int] = 125) -> Path:
    first, *others = [Image.fromarray(frame) for frame in frames]
    first.save(path, append_images=others, save_all=True, duration=milliseconds, lossless=True)
    return path


def write_folder(folder: Path, frames: np.ndarray, suffix: str = ".png", rate: str | None = "24") -> Path:
    folder.mkdir()
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"frame{index}{suffix}")
    if rate is not None:
        (folder / "fps.txt").write_text(rate + "\n")
    return folder


def as_arrays(path: Path, **more: object) -> np.ndarray:
    return decode(path, **more).frames.permute(0, 2, 3, 1).numpy()  # type: ignore[arg-type]


def test_animated_webp_gives_exact_pixels_and_rate(tmp_path: Path) -> None:
    frames = moving_squares()
    path = write_webp(tmp_path / "a.webp", frames)
    video, info, _ = decode_with_info(path)
    assert np.array_equal(video.frames.permute(0, 2, 3, 1).numpy(), frames)
    assert (video.fps, info.container, info.num_frames, info.variable_frame_rate) == (8, "webp", 12, False)
    assert (probe(path).num_frames, probe(path).width) == (12, 64)


def test_animated_webp_agrees_with_another_decoder(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    frames = moving_squares()
    Image.fromarray(frames[0]).save(
        path,
        append_images=[Image.fromarray(frame) for frame in frames[1:]],
        save_all=True,
        duration=100,
        quality=70,
    )
    ok, animation = cv2.imreadanimation(str(path))
    assert ok
    expected = np.stack([cv2.cvtColor(frame, cv2.COLOR_BGRA2RGB) for frame in animation.frames])
    assert np.array_equal(as_arrays(path), expected)


def test_webp_with_uneven_frames(tmp_path: Path) -> None:
    _, info, _ = decode_with_info(write_webp(tmp_path / "a.webp", moving_squares(3), [100, 300, 200]))
    assert info.variable_frame_rate
    assert info.fps == 5


def test_webp_with_transparency_is_laid_over_white(tmp_path: Path) -> None:
    frames = np.zeros((2, 8, 8, 4), np.uint8)
    frames[1, ..., 3] = 255
    frames[..., 0] = 200
    video, info, _ = decode_with_info(write_webp(tmp_path / "a.webp", frames))
    assert info.has_alpha
    assert (video.frames[0] == 255).all()
    assert video.frames[1, :, 0, 0].tolist() == [200, 0, 0]


def test_a_still_webp_has_no_rate(tmp_path: Path) -> None:
    Image.fromarray(moving_squares(1)[0]).save(tmp_path / "a.webp")
    with pytest.raises(UnsupportedVideo, match="frame rate is unknown"):
        decode(tmp_path / "a.webp")


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_webp_that_was_cut_short_is_refused(tmp_path: Path, kept: float) -> None:
    path = write_webp(tmp_path / "a.webp", moving_squares())
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(UnreadableVideo, match="truncated"):
        decode(path)


def test_damage_inside_a_webp_is_refused(tmp_path: Path) -> None:
    path = write_webp(tmp_path / "a.webp", moving_squares())
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(200)
    path.write_bytes(data)
    with pytest.raises(UnreadableVideo):
        decode(path)


def test_limits_hold_for_webp(tmp_path: Path) -> None:
    path = write_webp(tmp_path / "a.webp", moving_squares())
    for limits in (Limits(max_pixels=3071), Limits(max_frames=11), Limits(max_bytes=10)):
        with pytest.raises(VideoLimitExceeded):
            probe(path, limits=limits)
    with pytest.raises(VideoLimitExceeded):
        decode(path, limits=Limits(max_seconds=1.4))


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp", ".ppm"])
def test_a_folder_of_images_is_a_clip(tmp_path: Path, suffix: str) -> None:
    frames = moving_squares()
    folder = tmp_path / "clip"
    folder.mkdir()
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(
            folder / f"frame{index}{suffix}", **({"lossless": True} if suffix == ".webp" else {})
        )
    (folder / "fps.txt").write_text("24000/1001\n")
    video, info, _ = decode_with_info(folder)
    # frame2 comes before frame10
    assert np.array_equal(video.frames.permute(0, 2, 3, 1).numpy(), frames)
    assert video.fps == info.fps == Fraction(24_000, 1001)
    assert (info.container, probe(folder).num_frames) == ("images", 12)


def test_the_rate_of_a_folder_comes_from_the_caller_or_its_file(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "clip", moving_squares(2), rate=None)
    with pytest.raises(UnsupportedVideo, match=r"no frame rate; write it into .*fps.txt"):
        decode(folder)
    assert decode(folder, fps=Fraction(12)).fps == 12
    for text in ("fast", "0", "-3", "1/0", ""):
        (folder / "fps.txt").write_text(text)
        with pytest.raises(UnsupportedVideo, match=r"fps.txt:1:1: .* is not a frame rate"):
            decode(folder)


def test_a_folder_may_hold_one_frame_and_other_files(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "clip", moving_squares(1))
    (folder / "notes.txt").write_text("not a frame")
    assert decode(folder).num_frames == 1


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableVideo, match=r"no images in the folder.*0001\.png"):
        decode(tmp_path)


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "clip", moving_squares(3))
    (folder / "frame1.png").write_bytes(b"not an image")
    with pytest.raises(UnreadableVideo, match=r"frame1\.png: not a readable image"):
        decode(folder)
    whole = (folder / "frame2.png").read_bytes()
    (folder / "frame1.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableVideo, match=r"frame1\.png: corrupt or truncated"):
        decode(folder)


def test_an_image_of_another_kind_behind_the_suffix_is_not_opened(tmp_path: Path) -> None:
    """Pillow knows formats that run other programs (EPS) or read other files; only five are allowed."""
    folder = write_folder(tmp_path / "clip", moving_squares(2))
    (folder / "frame1.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 48\n%%EndComments\n")
    with pytest.raises(UnreadableVideo, match="not a readable image"):
        decode(folder)


def test_images_of_different_sizes_are_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "clip", moving_squares(3))
    Image.new("RGB", (10, 10)).save(folder / "frame2.png")
    with pytest.raises(UnsupportedVideo, match="changes from 64x48 to 10x10 at frame 2"):
        decode(folder)


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "RGBA"])
def test_other_image_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    folder = tmp_path / "clip"
    folder.mkdir()
    Image.fromarray(moving_squares(1)[0]).convert(mode).save(folder / "0.png")
    with Image.open(folder / "0.png") as image:
        expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(as_arrays(folder, fps=Fraction(1))[0], expected)


def test_sixteen_bit_grey_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    folder.mkdir()
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(folder / "0.png")
    with pytest.raises(UnsupportedVideo, match="save it as RGB"):
        decode(folder, fps=Fraction(1))


def test_the_orientation_of_a_photograph_is_applied(tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # turn 90 degrees clockwise
    frame = moving_squares(1)[0]
    Image.fromarray(frame).save(folder / "0.png", exif=exif)
    assert np.array_equal(as_arrays(folder, fps=Fraction(1))[0], np.rot90(frame, -1))


def test_limits_hold_for_folders(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "clip", moving_squares(), rate="10")
    for limits in (
        Limits(max_pixels=3071),
        Limits(max_frames=11),
        Limits(max_bytes=10),
        Limits(max_seconds=1.1),
        Limits(max_decoded_bytes=1000),
    ):
        with pytest.raises(VideoLimitExceeded):
            decode(folder, limits=limits)
    assert decode(folder, max_frames=3).num_frames == 3


def test_the_digest_of_a_folder_sees_names_and_bytes(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "clip", moving_squares(3))
    before = file_digest(folder)
    (folder / "frame2.png").rename(folder / "frame3.png")
    renamed = file_digest(folder)
    (folder / "frame3.png").write_bytes((folder / "frame0.png").read_bytes())
    assert len({before, renamed, file_digest(folder)}) == 3
    with pytest.raises(UnreadableVideo, match="cannot be read"):
        file_digest(tmp_path / "nowhere.mp4")


@pytest.mark.parametrize("side", [10_000, 16_000])
def test_an_image_that_claims_a_huge_size_is_refused_before_decoding(tmp_path: Path, side: int) -> None:
    header = b"P6 %d %d 255\n" % (side, side)
    (tmp_path / "0.ppm").write_bytes(header + bytes(100))
    with pytest.raises(VideoLimitExceeded, match="scale the frames down"):
        decode(tmp_path, fps=Fraction(1))
