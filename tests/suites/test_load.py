from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import SuiteError, UnknownName
from evalkit.suites import Problem, lint_suite, load_suite

HEAD = 'suite: s\nversion: "1"\nlicence: CC0-1.0\n'


@pytest.fixture
def write(tmp_path: Path):
    def writer(body: str, head: str = HEAD) -> Path:
        path = tmp_path / "s.yaml"
        path.write_text(head + textwrap.dedent(body), encoding="utf-8")
        return path

    return writer


def found(path: Path) -> list[tuple[int, int, str, str]]:
    return [(p.line, p.column, p.severity, p.code) for p in lint_suite(path)]


def message(path: Path, code: str) -> str:
    (problem,) = [p for p in lint_suite(path) if p.code == code]
    return problem.message


def test_a_good_suite_loads_with_everything_it_says(write) -> None:
    path = write("""
        description: >
          What it
          is for.
        categories: {motion: moves as asked}
        prompts:
          - id: ball.1
            text: "a ball: red, and fast"
            category: motion
            tags: [prompt.action, fast]
            negative: blur
            params: {num_frames: 16, fps: "30000/1001", aspect_ratio: "16:9", guidance_scale: 3, own: {deep: [1, x]}}
            expect: {object: ball, colour: red, motion: left, count: 1, absent: {colour: blue}}
            notes: why not
    """)
    suite = load_suite(path)
    (prompt,) = suite.prompts
    assert (suite.name, suite.version, suite.licence, suite.description) == (
        "s",
        "1",
        "CC0-1.0",
        "What it is for.",
    )
    assert suite.probes == {"motion": "moves as asked"}
    assert prompt.to_dict() == {
        "id": "ball.1",
        "text": "a ball: red, and fast",
        "category": "motion",
        "tags": ["prompt.action", "fast"],
        "negative": "blur",
        "params": {
            "num_frames": 16,
            "fps": "30000/1001",
            "aspect_ratio": "16:9",
            "guidance_scale": 3,
            "own": {"deep": [1, "x"]},
        },
        "expect": {
            "object": "ball",
            "colour": "red",
            "motion": "left",
            "count": 1,
            "absent": {"colour": "blue"},
        },
        "notes": "why not",
    }
    assert lint_suite(path) == []


def test_json_is_read_as_yaml(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text(
        '{"suite": "s", "version": "1", "licence": "CC0-1.0",\n "prompts": [{"id": "a", "text": "b", "category": "c"}]}'
    )
    assert load_suite(path).by_id["a"].text == "b"


def test_the_message_of_a_duplicate_id_names_both_places_and_the_cure(write) -> None:
    path = write("""\
        prompts:
          - {id: red-ball, text: one, category: c}
          - {id: other, text: two, category: c}
          - {id: red-ball, text: three, category: c}
    """)
    with pytest.raises(SuiteError) as caught:
        load_suite(path)
    assert str(caught.value) == (
        f"{path}:7:10: error: duplicate prompt id 'red-ball' (first at line 5); ids must be unique"
    )


def test_all_problems_are_reported_at_once_in_the_order_of_the_file(write) -> None:
    path = write("""\
        prompts:
          - id: a
            text: "  "
            category: c
            colour: red
          - {id: A, text: one thing, category: c}
          - {id: b!, text: another, category: c, tags: [ok, "not ok"]}
          - {text: no id, category: c}
    """)
    assert found(path) == [
        (6, 11, "error", "empty-text"),
        (8, 5, "error", "unknown-key"),
        (9, 10, "error", "case-collision"),
        (10, 10, "error", "bad-id"),
        (10, 53, "error", "wrong-value"),
        (11, 5, "error", "missing-key"),
    ]
    with pytest.raises(SuiteError) as caught:
        load_suite(path)
    assert len(str(caught.value).splitlines()) == 6


@pytest.mark.parametrize(
    ("prompt", "at", "code", "said"),
    [
        ("id: a, text: no, category: c", "no,", "wrong-type", 'true/false `no`; put it in quotes: "no"'),
        ("id: 007, text: t, category: c", "007", "wrong-type", 'put it in quotes: "007"'),
        ("id: a, text: 2024-01-01, category: c", "2024", "wrong-type", "a date"),
        ("id: a, text: null, category: c", "null", "wrong-type", "write the text"),
        ("id: a, text: [t], category: c", "[t]", "wrong-type", "must be text, got a list"),
        ("id: a, text: t, category: c, tags: own", "own", "wrong-type", "must be a list"),
        ("id: a, text: t, category: c, params: 3", "3", "wrong-type", "params must be a mapping"),
        ("id: a, text: t, category: c, params: {aspect_ratio: 16:9}", "16:9", "wrong-type", "base 60"),
        ("id: a, text: t, category: c, params: {height: 010}", "010", "wrong-type", "base 60 or 8"),
        ("id: a, text: t, category: c, params: {fps: 0}", "0}", "wrong-type", "a number above 0"),
        ("id: a, text: t, category: c, params: {num_frames: 1.5}", "1.5", "wrong-type", "a whole number"),
        ("id: a, text: t, category: c, params: {x: .nan}", ".nan", "not-finite", "finite number"),
        ("id: a, text: t, category: c, params: {1: 2}", "1:", "wrong-type", "must be text"),
        (
            "id: a, text: t, category: c, params: {x: !!python/name:os.system y}",
            "!!py",
            "wrong-type",
            "the tag",
        ),
        ("id: a, txt: t, category: c", "txt", "unknown-key", "did you mean 'text'?"),
        (
            "id: a, text: t, text: u, category: c",
            "text: u",
            "duplicate-key",
            "twice in a prompt (first at line 5)",
        ),
        ("id: a, text: t, category: c, expect: {colour: rde}", "rde", "wrong-value", "did you mean 'red'?"),
        (
            "id: a, text: t, category: c, expect: {color: red}",
            "color",
            "unknown-key",
            "did you mean 'colour'?",
        ),
        ("id: a, text: t, category: c, expect: {object: o, count: two}", "two", "wrong-type", "whole number"),
        ("id: a, text: t, category: c, expect: {events: [one]}", "[one]", "wrong-value", "at least two"),
        (
            "id: a, text: t, category: c, expect: {count: 2}",
            "2",
            "incomplete-expect",
            "without expect.object",
        ),
        ("id: a, text: t, category: c, expect: {absent: {colour: x}}", "x}", "wrong-value", "expect.colour"),
        ("id: a, text: t, category: c, expect: {text: ''}", "''", "empty-text", "expect.text is empty"),
        ('id: a, text: "t\\a", category: c', '"t', "control-character", "U+0007"),
        ('id: a, text: "t\\u202E", category: c', '"t', "control-character", "U+202E"),
    ],
)
def test_each_mistake_has_its_place_and_cure(write, prompt: str, at: str, code: str, said: str) -> None:
    line = f"  - {{{prompt}}}"
    path = write(f"prompts:\n{line}\n")
    problems = [p for p in lint_suite(path) if p.code == code]
    assert [(p.line, p.column) for p in problems] == [(5, line.index(at) + 1)]
    assert said in problems[0].message
    with pytest.raises(SuiteError):
        load_suite(path)


@pytest.mark.parametrize(
    ("body", "code", "line", "column"),
    [
        ("prompts:\n  - &a {id: a, text: t, category: c}\n  - *a\n", "alias", 6, 5),
        ("prompts:\n  - id: 'a\n", "not-yaml", 6, 1),
        ("prompts:\n\t- id: a\n", "not-yaml", 5, 1),
        ("prompts: []\n", "no-prompts", 4, 10),
        ("prompts: {a: b}\n", "wrong-type", 4, 10),
        ("promts: []\n", "unknown-key", 4, 1),
        ("prompts: " + "[" * 100 + "]" * 100 + "\n", "too-deep", 4, 33),
        ("---\na: b\n", "not-yaml", 4, 1),
        (
            "categories: {hands: x}\nprompts:\n  - {id: a, text: t, category: hadns}\n",
            "unknown-category",
            6,
            32,
        ),
    ],
)
def test_broken_documents(write, body: str, code: str, line: int, column: int) -> None:
    problems = [p for p in lint_suite(write(body)) if p.code == code]
    assert [(p.line, p.column) for p in problems] == [(line, column)]


def test_an_alias_bomb_is_refused_before_it_expands(write) -> None:
    levels = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]\n" for i in range(1, 12))
    path = write("l0: &l0 [x]\n" + levels)
    assert {p.code for p in lint_suite(path)} == {"alias"}


@pytest.mark.parametrize(
    ("content", "code", "place"),
    [
        (b"", "empty-file", (1, 1)),
        (b"suite: s\nversion: \xff\n", "not-utf8", (2, 10)),
        (b"suite: s\nversion: \x01\n", "not-yaml", (2, 10)),
        (b"- a list\n", "wrong-type", (1, 1)),
        (b"just words\n", "wrong-type", (1, 1)),
        (b"\xef\xbb\xbfsuite: s\n", "missing-key", (1, 1)),
    ],
)
def test_files_that_are_no_suite(tmp_path: Path, content: bytes, code: str, place: tuple[int, int]) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(content)
    places = {(p.line, p.column) for p in lint_suite(path) if p.code == code}
    assert places == {place}
    with pytest.raises(SuiteError, match=r"s\.yaml:\d+:\d+: error: "):
        load_suite(path)


def test_missing_files_and_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="No such file or directory; check the path"):
        load_suite(tmp_path / "none.yaml")
    assert [p.code for p in lint_suite(tmp_path)] == ["unreadable"]
    with pytest.raises(UnknownName, match="did you mean 'core'"):
        load_suite("coer")


NEAR = [
    ("A red ball.", "a red ball.", "case-collision"),
    ("a red ball", "a red ball", "duplicate-text"),
    ("a red ball", "The red, ball!", "near-duplicate-text"),
    (
        "an old man walks his dog in the park at dawn",
        "an old man walks his dogs in the park at dawn",
        "near-duplicate-text",
    ),
    ("a yellow ballon", "a yellow balloon", "near-duplicate-text"),
    (
        "two sailing boats race across the bay under a stormy sky, seen from above",
        "two sailing boats race across the bay under a stormy sky, seen from far above",
        "near-duplicate-text",
    ),
]


@pytest.mark.parametrize(("first", "second", "code"), NEAR)
def test_near_duplicate_texts_warn_and_still_load(write, first: str, second: str, code: str) -> None:
    body = f"prompts:\n  - {{id: a, text: {first!r}, category: c}}\n  - {{id: b, text: {second!r}, category: c}}\n"
    path = write(body)
    assert found(path) == [(6, 19, "warning", code)]
    assert "'a' (line 5)" in message(path, code)
    assert len(load_suite(path)) == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a red ball moves left", "a blue cube spins"),
        ("a cat", "a car"),
        ("a dog runs on the beach", "a dog sleeps on the beach"),
        ("a man waves", "a woman waves"),
        ("a horse at the gate", "a house at the gate"),
        ("a boat on the lake", "a goat on the lake"),
    ],
)
def test_different_prompts_do_not_warn(write, first: str, second: str) -> None:
    path = write(
        f"prompts:\n  - {{id: a, text: {first}, category: c}}\n  - {{id: b, text: {second}, category: c}}\n"
    )
    assert found(path) == []


def test_minimal_pairs_do_not_warn(write) -> None:
    path = write("""\
        prompts:
          - {id: a, text: the camera pans left over a wide green valley, category: c, expect: {camera: pan_left}}
          - {id: b, text: the camera pans right over a wide green valley, category: c, expect: {camera: pan_right}}
          - {id: c, text: the camera pans right over a wide green valley, category: c, negative: people}
    """)
    assert found(path) == []


def test_warnings_for_confusable_ids_typos_and_stray_spaces(write) -> None:
    path = write("""\
        categories: {c: used, d: unused}
        prompts:
          - {id: red-ball, text: one thing, category: c, params: {guidence_scale: 2}}
          - {id: red_ball, text: "another matter ", category: c, tags: [x, x]}
    """)
    assert [(p.line, p.code) for p in lint_suite(path)] == [
        (6, "unused-category"),
        (6, "unknown-param"),
        (7, "near-duplicate-id"),
        (7, "stray-space"),
        (7, "duplicate-tag"),
    ]
    assert load_suite(path).by_id["red_ball"].tags == ("x",)


def test_a_problem_reads_as_editors_expect() -> None:
    problem = Problem("a.yaml", 3, 7, "warning", "x", "words")
    assert str(problem) == "a.yaml:3:7: warning: words"


SOURCES = st.text(max_size=60) | st.lists(
    st.sampled_from(
        [
            HEAD,
            "prompts:\n",
            "  - ",
            "id: a\n",
            "text: b",
            "category: c",
            "{",
            "}",
            "[",
            "]",
            ", ",
            ": ",
            "\n",
            "'",
            '"',
            "&a ",
            "*a",
            "!!x ",
            "? ",
            "| \n",
            "\t",
            "# ",
            "no",
            "1:2",
            "---\n",
            "expect: {count: ",
        ]
    ),
    max_size=25,
).map("".join)


@given(SOURCES)
def test_no_text_makes_the_loader_fail_in_another_way(
    tmp_path_factory: pytest.TempPathFactory, source: str
) -> None:
    path = tmp_path_factory.mktemp("any") / "s.yaml"
    path.write_text(source, encoding="utf-8", errors="surrogatepass", newline="")
    errors = [problem for problem in lint_suite(path) if problem.severity == "error"]
    lines = source.count("\n") + source.count("\r") + 2
    assert all(1 <= problem.line <= lines and problem.column >= 1 for problem in errors)
    if errors:
        with pytest.raises(SuiteError):
            load_suite(path)
    else:
        assert len(load_suite(path)) >= 1


@given(st.binary(max_size=40))
def test_no_bytes_do_either(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "s.yaml"
    path.write_bytes(content)
    assert any(problem.severity == "error" for problem in lint_suite(path))
