from __future__ import annotations

import json
import os
import sys
import textwrap
from pathlib import Path

import pytest

from evalkit.errors import EvalkitError
from evalkit.models import GenerationFailure, load_model
from evalkit.models.command import CommandModel
from evalkit.suites.prompt import FrozenMapping
from evalkit.testing import check_model
from evalkit.video import Video
from tests.models.good import request

# Writes frames as numbered images, which every Python with Pillow can and which loses nothing.
GENERATOR = """
import json, sys, random
from pathlib import Path
from PIL import Image
asked = json.load(sys.stdin)
if asked["height"] < 8:
    sys.exit("smaller than 8 pixels")
noise = random.Random(asked["seed"])
folder = Path(asked["output"]).with_suffix("")
folder.mkdir()
(folder / "fps.txt").write_text(asked["fps"])
size = (asked["width"], asked["height"])
for number in range(asked["num_frames"]):
    Image.frombytes("RGB", size, noise.randbytes(3 * size[0] * size[1])).save(folder / f"{number:04d}.png")
print("made it")
print(json.dumps({"output": folder.name, "ignored_params": sorted(set(asked["params"]) - {"style"})}))
"""


def program(tmp_path: Path, source: str, name: str = "generate.py") -> Path:
    path = tmp_path / name
    path.write_text(textwrap.dedent(source))
    return path


def model(tmp_path: Path, source: str, *arguments: str, **settings) -> CommandModel:
    return CommandModel(command=[sys.executable, str(program(tmp_path, source)), *arguments], **settings)


def failure(made: CommandModel, **changes) -> GenerationFailure:
    (result,) = made.generate([request(**changes)])
    assert isinstance(result, GenerationFailure), result
    return result


def test_a_real_program_makes_clips_and_names_what_it_ignores(tmp_path: Path) -> None:
    made = model(tmp_path, GENERATOR, num_frames=4, height=16, width=24, fps=8)
    made.load("cpu")
    first, second = made.generate([request(params={"style": "oil", "camera": "pan"}), request(seed=2)])
    assert isinstance(first, Video)
    assert (first.num_frames, first.height, first.width, first.fps) == (4, 16, 24, 8)
    assert first != second
    assert made.ignored_params == {"camera"}


def test_a_program_can_honour_the_contract(tmp_path: Path) -> None:
    report = check_model(
        lambda: model(tmp_path, GENERATOR, num_frames=3, height=8, width=8, fps="24000/1001")
    )
    assert report.info.defaults == {"num_frames": 3, "height": 8, "width": 8, "fps": "24000/1001"}


def test_the_request_says_everything_but_the_answers(tmp_path: Path) -> None:
    copy = tmp_path / "copy.json"
    made = model(tmp_path, f"import sys; open({str(copy)!r}, 'w').write(sys.stdin.read())")
    made.load("cuda:1")
    failure(
        made,
        prompt="ein rötlicher Ball",
        negative_prompt="blue",
        sample_index=3,
        params=FrozenMapping({"size": [1, {"a": None}]}),
        expect=FrozenMapping({"colour": "red"}),
    )
    said = json.loads(copy.read_text())
    assert said.pop("output").endswith(".mp4")
    assert said == {
        "version": 1,
        "prompt_id": "ball",
        "sample_index": 3,
        "prompt": "ein rötlicher Ball",
        "negative_prompt": "blue",
        "seed": 1,
        "num_frames": 4,
        "height": 16,
        "width": 24,
        "fps": "8",
        "params": {"size": [1, {"a": None}]},
        "device": "cuda:1",
    }


def test_paths_can_stand_in_the_command_and_no_shell_reads_it(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    source = "import json, sys; json.load(open(sys.argv[1])); sys.exit(' '.join(sys.argv[2:]))"
    made = model(tmp_path, source, "{request}", "{output}", f"; touch {marker}", "$(id)")
    reason = failure(made).reason
    assert "clip.mp4" in reason
    assert reason.endswith(f"; touch {marker} $(id)")
    assert not marker.exists()


def test_one_line_is_split_as_a_shell_would(tmp_path: Path) -> None:
    path = program(tmp_path, "import sys; sys.exit(repr(sys.argv[1:]))", "a b.py")
    assert (
        "['one two', 'three']"
        in failure(CommandModel(command=f"{sys.executable} '{path}' 'one two' three")).reason
    )


@pytest.mark.parametrize(
    ("source", "said", "permanent"),
    [
        ("import sys; sys.exit('bad prompt')", "ended with exit code 1; its last words: bad prompt", True),
        ("import sys; sys.exit(75)", "ended with exit code 75; it said nothing on stderr", False),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "was ended by signal 11", True),
        ("", "ended well but wrote no clip to clip.mp4", True),
        ('print(\'{"error": "queue is full", "permanent": false}\')', "queue is full", False),
        ('print(\'{"error": "unsafe prompt"}\')', "unsafe prompt", True),
        (
            "import json, sys; open(json.load(sys.stdin)['output'], 'w').write('text')",
            "wrote a clip that cannot be used",
            True,
        ),
        ('print(\'{"output": "/nowhere/clip.mp4"}\')', "wrote no clip to clip.mp4", True),
    ],
)
def test_failures_say_what_happened_and_whether_to_try_again(
    tmp_path: Path, source: str, said: str, permanent: bool
) -> None:
    result = failure(model(tmp_path, source))
    assert said in result.reason
    assert result.permanent is permanent


def test_a_hanging_program_and_its_children_are_killed(tmp_path: Path) -> None:
    """The child would outlive its parent. Both hold a pipe open, whose end is reached when the last of them is gone."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    source = f"""
        import os, sys, time
        held = open({str(pipe)!r}, "wb", buffering=0)
        print("working", file=sys.stderr, flush=True)
        held.write(b"child " if os.fork() == 0 else b"parent ")
        time.sleep(600)
    """
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        result = failure(model(tmp_path, source, timeout_s=5.0))
        os.set_blocking(reader, True)
        with open(reader, "rb", closefd=False) as file:
            assert sorted(file.read().split()) == [b"child", b"parent"]
    finally:
        os.close(reader)
    assert not result.permanent
    assert result.reason == "command took longer than 5 s; its last words: working"


def test_much_output_is_neither_held_nor_in_the_way(tmp_path: Path) -> None:
    result = failure(
        model(tmp_path, "import sys; sys.stderr.write('x' * 3_000_000 + 'the end'); sys.exit(3)")
    )
    assert result.reason.endswith("the end")
    assert len(result.reason) < 2200


def test_the_identity_is_the_program_not_its_place(tmp_path: Path) -> None:
    weights = program(tmp_path, "weights", "w.bin")
    first = model(tmp_path, GENERATOR, "--fast", files=[str(weights)], revision="v2", name="mine").info
    (tmp_path / "moved").mkdir()
    moved = model(
        tmp_path / "moved", GENERATOR, "--fast", files=[str(weights)], revision="v2", name="mine"
    ).info
    assert (first.id, first.revision, first.config) == (
        "mine",
        "v2",
        {"command": (Path(sys.executable).name, "generate.py", "--fast")},
    )
    assert first == moved
    program(tmp_path, "other weights", "w.bin")
    assert model(tmp_path, GENERATOR, "--fast", files=[str(weights)]).info.weights != first.weights
    assert model(tmp_path, GENERATOR + "#", "--fast", files=[str(weights)]).info.weights != first.weights
    with pytest.raises(EvalkitError, match="no such file: none"):
        _ = model(tmp_path, GENERATOR, files="none").info


def test_a_program_that_cannot_start_fails_the_clip(tmp_path: Path) -> None:
    path = program(tmp_path, "no program", "tool")
    path.chmod(0o644)
    assert "cannot be started" in failure(CommandModel(command=[str(path)])).reason


def test_the_spec_takes_a_json_list(tmp_path: Path) -> None:
    path = program(tmp_path, GENERATOR)
    made = load_model(
        f"command:command={json.dumps([sys.executable, str(path)])},num_frames=2,height=8,width=8,fps=4"
    )
    assert made.info.defaults["fps"] == "4"
