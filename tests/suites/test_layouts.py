from __future__ import annotations

import os
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import SuiteError
from evalkit.suites import FolderScan, Prompt, Suite, scan_folder
from evalkit.suites.importers import compbench_suite, evalcrafter_suite


def make_suite(*texts: str, ids: tuple[str, ...] = ()) -> Suite:
    prompts = [Prompt(ids[n] if ids else f"p{n}", text, "c") for n, text in enumerate(texts)]
    return Suite("mine", "1", "CC0-1.0", "", tuple(prompts))


def clips(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"clip")
    return folder


def rows(scan: FolderScan) -> list[tuple[str | None, str, int, str]]:
    """(file or None, prompt id, sample, group) of the rows without a problem, then of those with one."""
    return [
        (clip.path.name if clip.path else None, clip.prompt.id, clip.sample_index, clip.group)
        for clip in sorted(scan.clips, key=lambda clip: clip.problem is not None)
    ]


def problems(scan: FolderScan) -> list[str]:
    return [clip.problem for clip in scan.clips if clip.problem]


def test_vbench_names_give_prompt_and_sample_without_a_suite(tmp_path: Path) -> None:
    scan = scan_folder(clips(tmp_path, "a red ball-0.mp4", "a red ball-10.mp4", "a red ball-2.mp4"))
    assert scan.layout == "vbench"
    assert [(clip.prompt.text, clip.sample_index) for clip in scan.clips] == [
        ("a red ball", n) for n in (0, 2, 10)
    ]
    assert [prompt.id for prompt in scan.suite] == ["a-red-ball"]


def test_vbench_names_are_matched_to_a_suite(tmp_path: Path) -> None:
    long = "a very long prompt " * 20
    suite = make_suite(
        "A Ball", "a ball", "either/or: what?", long.strip(), "café by the sea", "never filmed"
    )
    folder = clips(
        tmp_path,
        "A Ball-0.mp4",
        "a ball-0.mp4",
        "either_or_ what_-0.mp4",
        f"{long[:180]}-0.mp4",
        unicodedata.normalize("NFD", "café by the sea-0.mp4"),
        "something else-0.mp4",
        "no number.mp4",
    )
    scan = scan_folder(folder, layout="vbench", suite=suite)
    good = {clip.prompt.id for clip in scan.clips if clip.problem is None}
    assert good == {"p0", "p1", "p2", "p3", "p4"}
    assert sorted(problems(scan)) == sorted(
        [
            "no clip was found for prompt 'p5'; generate it or drop it from the suite",
            "no number.mp4: not named `{prompt}-{i}` as VBench names clips; rename it or choose another --layout",
            "something else-0.mp4: no prompt of the suite 'mine' has this text; check the suite",
        ]
    )
    assert len(scan.clips) == 8


def test_a_prompt_with_a_slash_is_found_where_the_file_system_put_it(tmp_path: Path) -> None:
    scan = scan_folder(
        clips(tmp_path, "either/or-1.mp4", "either/or-0.mp4"), "vbench", make_suite("either/or")
    )
    assert rows(scan) == [("or-0.mp4", "p0", 0, ""), ("or-1.mp4", "p0", 1, "")]


def test_a_missing_sample_in_the_middle_is_a_row(tmp_path: Path) -> None:
    scan = scan_folder(clips(tmp_path, "x-0.mp4", "x-3.mp4"), "vbench", make_suite("x"))
    assert rows(scan) == [
        ("x-0.mp4", "p0", 0, ""),
        ("x-3.mp4", "p0", 3, ""),
        (None, "p0", 1, ""),
        (None, "p0", 2, ""),
    ]
    assert "for clip 1 of prompt 'p0'" in problems(scan)[0]


def test_plain_names_are_ids(tmp_path: Path) -> None:
    suite = make_suite("one", "two", "three", ids=("a", "a-1", "c"))
    folder = clips(tmp_path, "a.mp4", "a-1.mp4", "a-2.mp4", "a_3.webm", "z.gif", "notes.txt", ".hidden.mp4")
    scan = scan_folder(folder, suite=suite)
    assert scan.layout == "plain"
    found = {
        clip.path.name: (clip.prompt.id, clip.sample_index)
        for clip in scan.clips
        if clip.path and not clip.problem
    }
    assert found == {"a.mp4": ("a", 0), "a-1.mp4": ("a-1", 0), "a-2.mp4": ("a", 2), "a_3.webm": ("a", 3)}
    assert any("z.gif" in problem and "rename the file" in problem for problem in problems(scan))
    assert [clip.prompt.id for clip in scan.clips if clip.path is None] == ["a", "c"]
    assert scan.problems == (f"1 entries of {tmp_path} are no clips by their names: notes.txt",)


def test_plain_clips_without_a_suite_have_no_text(tmp_path: Path) -> None:
    scan = scan_folder(clips(tmp_path, "one two.mp4", "b.mp4"))
    assert [(clip.prompt.text, clip.problem) for clip in scan.clips] == [("", None), ("", None)]
    assert scan.suite.by_id["b"].text == ""


def test_two_files_of_one_name_are_not_counted_twice(tmp_path: Path) -> None:
    scan = scan_folder(clips(tmp_path, "a.gif", "a.mp4"), suite=make_suite("one", ids=("a",)))
    first, second = scan.clips
    assert first.problem is None
    assert (
        second.problem
        == f"{tmp_path / 'a.mp4'}: shows the same prompt and sample as {tmp_path / 'a.gif'}; keep one of them"
    )
    assert first.sample_index != second.sample_index


def test_folders_are_groups_and_each_group_misses_its_own(tmp_path: Path) -> None:
    folder = clips(tmp_path, "new/a.mp4", "new/b.mp4", "old/a.mp4")
    scan = scan_folder(folder, suite=make_suite("one", "two", ids=("a", "b")))
    assert rows(scan) == [
        ("a.mp4", "a", 0, "new"),
        ("b.mp4", "b", 0, "new"),
        ("a.mp4", "a", 0, "old"),
        (None, "b", 0, "old"),
    ]
    assert "no clip was found in 'old' for prompt 'b'" in problems(scan)[0]


def test_a_folder_named_after_a_category_misses_only_that_categorys_prompts(tmp_path: Path) -> None:
    prompts = (
        Prompt("a", "x", "color", ("vbench.color",)),
        Prompt("b", "y", "scene", ("vbench.scene", "vbench.color")),
    )
    suite = Suite("vbench", "1", "CC0-1.0", "", prompts)
    scan = scan_folder(clips(tmp_path, "color/x-0.mp4", "scene/y-0.mp4"), "vbench", suite)
    assert [(clip.group, clip.prompt.id) for clip in scan.clips if clip.problem] == [("color", "b")]


def test_a_folder_of_frames_is_a_clip(tmp_path: Path) -> None:
    scan = scan_folder(
        clips(tmp_path, "a/0001.png", "a/0002.png", "b.mp4"), suite=make_suite("one", "two", ids=("a", "b"))
    )
    assert rows(scan) == [("a", "a", 0, ""), ("b.mp4", "b", 0, "")]


def test_evalcrafter_numbers(tmp_path: Path) -> None:
    suite = evalcrafter_suite(["a horse", "a pig", "a bird"])
    scan = scan_folder(clips(tmp_path, "0000.mp4", "0002.mp4", "0007.mp4", "x.mp4"), suite=suite)
    assert scan.layout == "evalcrafter"
    assert {clip.path.name: clip.prompt.text for clip in scan.clips if not clip.problem} == {
        "0000.mp4": "a horse",
        "0002.mp4": "a bird",
    }
    said = " ".join(problems(scan))
    assert "no prompt number 0007 among 3" in said
    assert "x.mp4: its name is no number" in said
    assert "prompt 'evalcrafter-0001'" in said


def test_numbers_count_the_lines_of_any_prompt_file(tmp_path: Path) -> None:
    listed = tmp_path / "prompts.txt"
    listed.write_text("first\nsecond\n")
    scan = scan_folder(clips(tmp_path / "clips", "1.mp4"), "evalcrafter", prompts_file=listed)
    assert [(clip.prompt.text, clip.path is None) for clip in scan.clips] == [
        ("second", False),
        ("first", True),
    ]


def test_compbench_folders(tmp_path: Path) -> None:
    suite = compbench_suite({"1_consistent_attr": ["blue car", "red car"], "7_numeracy": ["one tree"]})
    folder = clips(
        tmp_path,
        "consistent_attr/0001.mp4",
        "consistent_attr/0002.mp4",
        "numeracy/0001.mp4",
        "other/0001.mp4",
    )
    scan = scan_folder(folder, "t2v-compbench", suite)
    assert [clip.prompt.text for clip in scan.clips if not clip.problem] == [
        "blue car",
        "red car",
        "one tree",
    ]
    assert problems(scan) == [
        "other/0001.mp4: the suite has no category 'other'; name the folder after its prompt file"
    ]


def test_compbench_folders_of_several_models(tmp_path: Path) -> None:
    suite = compbench_suite({"7_numeracy": ["one tree"]})
    scan = scan_folder(
        clips(tmp_path, "m1/numeracy/0001.mp4", "m2/numeracy/0001.mp4"), "t2v-compbench", suite
    )
    assert rows(scan) == [("0001.mp4", "numeracy-0001", 0, "m1"), ("0001.mp4", "numeracy-0001", 0, "m2")]


def test_a_table_of_clips_keeps_every_row_and_every_file(tmp_path: Path) -> None:
    folder = clips(tmp_path / "clips", "a.gif", "b.gif", "c.gif", "extra.gif")
    clips(tmp_path, "secret.mp4")
    table = tmp_path / "ratings.csv"
    table.write_text(
        "file,model,prompt,category,prompt_idx,score\n"
        "clips/a.gif,m1,a dog,x/pets,7,4.5\n"
        "b.gif,m2,a dog,x/pets,7,3\n"
        "clips/c.gif,m2,a dog,x/pets,7,\n"
        "clips/gone.gif,m1,a cat,x/pets,8,\n"
        "../secret.mp4,m1,a bird,x/pets,9,\n"
    )
    scan = scan_folder(folder, prompts_file=table)
    assert scan.layout == "csv"
    assert rows(scan)[:3] == [
        ("a.gif", "pets-7", 0, "m1"),
        ("b.gif", "pets-7", 0, "m2"),
        ("c.gif", "pets-7", 1, "m2"),
    ]
    said = problems(scan)
    assert len(said) == 3
    assert "ratings.csv:5: 'clips/gone.gif' exists neither beside the table nor in clips" in said[0]
    assert "ratings.csv:6: '../secret.mp4'" in said[1]
    assert "extra.gif: no row of ratings.csv names this file" in said[2]
    assert len({(clip.prompt.id, clip.group, clip.sample_index) for clip in scan.clips}) == 6


def test_a_table_may_number_its_samples(tmp_path: Path) -> None:
    table = clips(tmp_path, "a.mp4", "b.mp4", "c.mp4") / "t.csv"
    table.write_text("file,prompt,sample\na.mp4,x,3\nb.mp4,x,0\nc.mp4,x,3\n")
    scan = scan_folder(tmp_path, prompts_file=table)
    assert rows(scan)[:2] == [("a.mp4", "x", 3, ""), ("b.mp4", "x", 0, "")]
    assert problems(scan) == [f"{tmp_path / 'c.mp4'}: sample 3 of prompt 'x' is listed twice; renumber"]
    assert scan.problems == ()


def test_folders_that_cannot_be_scanned_say_why(tmp_path: Path) -> None:
    suite = make_suite("one")
    with pytest.raises(SuiteError, match="no such folder"):
        scan_folder(tmp_path / "none")
    with pytest.raises(SuiteError, match="holds no clips"):
        scan_folder(clips(tmp_path, "notes.txt"))
    clips(tmp_path, "a.mp4")
    with pytest.raises(SuiteError, match="unknown layout 'vbnch'; did you mean 'vbench'"):
        scan_folder(tmp_path, "vbnch")
    with pytest.raises(SuiteError, match="numbers its clips; give the prompts"):
        scan_folder(tmp_path, "evalcrafter")
    with pytest.raises(SuiteError, match="give one of them"):
        scan_folder(tmp_path, suite=suite, prompts_file=tmp_path / "notes.txt")
    with pytest.raises(SuiteError, match="a table that has a `file` column"):
        scan_folder(tmp_path, "csv", suite=suite)


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs symbolic links")
def test_links_to_folders_are_named_and_not_followed(tmp_path: Path) -> None:
    clips(tmp_path / "real", "a.mp4")
    (tmp_path / "real" / "loop").symlink_to(tmp_path / "real", target_is_directory=True)
    scan = scan_folder(tmp_path / "real")
    assert [clip.path.name for clip in scan.clips if clip.path] == ["a.mp4"]
    assert "loop (a link to a folder)" in scan.problems[0]


@given(st.data())
def test_nothing_is_ever_dropped(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    stems = st.sampled_from(["a", "b", "a-0", "b-1", "A", "q r-0", "0001", "-", "é"])
    names = data.draw(
        st.sets(
            st.builds(
                lambda f, s, e: f"{f}{s}{e}",
                st.sampled_from(["", "m/", "m/n/"]),
                stems,
                st.sampled_from([".mp4", ".gif"]),
            ),
            min_size=1,
        )
    )
    folder = clips(tmp_path_factory.mktemp("clips"), *names)
    suite = make_suite("a", "q r", ids=("a", "b"))
    scan = scan_folder(folder, data.draw(st.sampled_from(["vbench", "plain", "evalcrafter"])), suite)
    assert Counter(clip.path.relative_to(folder).as_posix() for clip in scan.clips if clip.path) == Counter(
        names
    )
    assert {clip.prompt.id for clip in scan.clips} >= {"a", "b"}
    keys = [(clip.prompt.id, clip.group, clip.sample_index) for clip in scan.clips]
    assert len(set(keys)) == len(keys)
    assert {clip.prompt.id for clip in scan.clips} == set(scan.suite.by_id)


def test_real_clips_of_lavie(shared_data: Path) -> None:
    scan = scan_folder(shared_data / "lavie", layout="vbench")
    assert len(scan.clips) == 11
    assert not problems(scan)
    assert all(
        clip.prompt.text.startswith("A beautiful coastal beach in spring, waves lapping on sand")
        for clip in scan.clips
    )
    assert len(scan.suite) == 11


def test_real_rated_clips(shared_data: Path) -> None:
    scan = scan_folder(shared_data / "rated" / "clips", prompts_file=shared_data / "rated" / "ratings.csv")
    assert (scan.layout, len(scan.clips), len(scan.suite), scan.problems) == ("csv", 100, 20, ())
    assert Counter(clip.group for clip in scan.clips) == dict.fromkeys(
        ("cogvideo", "text2video-zero", "videofusion", "zeroscope", "gt"), 20
    )
    assert not problems(scan)
