from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings

from evalkit.errors import SuiteError
from evalkit.suites import (
    FORMATS,
    Prompt,
    Suite,
    import_suite,
    lint_suite,
    load_suite,
    read_prompts,
    suite_yaml,
)
from evalkit.suites.importers import compbench_suite, evalcrafter_suite, vbench_suite
from evalkit.suites.naming import prompt_id
from tests.suites.test_prompt import SUITES

VBENCH = [
    {"prompt_en": "a person swimming in ocean", "dimension": ["subject_consistency", "dynamic_degree"]},
    {"prompt_en": "In a still frame, a stop sign", "dimension": ["temporal_flickering"]},
    {"prompt_en": "a red bicycle", "dimension": ["color"], "auxiliary_info": {"color": {"color": "red"}}},
    {
        "prompt_en": "a dog on the left of a horse, front view",
        "dimension": ["spatial_relationship"],
        "auxiliary_info": {
            "spatial_relationship": {
                "spatial_relationship": {
                    "object_a": "dog",
                    "object_b": "horse",
                    "relationship": "on the left of",
                }
            }
        },
    },
    {
        "prompt_en": "a bird and a cat",
        "dimension": ["multiple_objects"],
        "auxiliary_info": {"multiple_objects": {"object": "bird and cat"}},
    },
    {
        "prompt_en": "alley",
        "dimension": ["scene", "background_consistency"],
        "auxiliary_info": {"scene": {"scene": {"scene": "alley"}}},
    },
    {"prompt_en": "a person swimming in ocean", "dimension": ["human_action", "dynamic_degree"]},
    {"prompt_en": "In a Still Frame, a stop sign", "dimension": ["temporal_flickering"]},
]


def test_vbench_entries_merge_by_exact_text_and_keep_their_numbers() -> None:
    suite = vbench_suite(VBENCH)
    assert [prompt.id for prompt in suite] == [f"vbench-{n:04d}" for n in (0, 1, 2, 3, 4, 5, 7)]
    first = suite.by_id["vbench-0000"]
    assert (first.category, first.tags) == (
        "subject_consistency",
        ("vbench.subject_consistency", "vbench.dynamic_degree", "vbench.human_action"),
    )
    assert suite.by_id["vbench-0001"].text.casefold() == suite.by_id["vbench-0007"].text.casefold()
    assert {prompt.id: dict(prompt.expect) for prompt in suite if prompt.expect} == {
        "vbench-0002": {"colour": "red"},
        "vbench-0003": {"object": "dog", "second_object": "horse", "relation": "left_of"},
        "vbench-0004": {"object": "bird", "second_object": "cat"},
        "vbench-0005": {"background": "alley"},
    }
    assert len(suite.select(tags=["vbench.dynamic_degree"])) == 1


def test_evalcrafter_numbers_count_from_zero_and_survive_blank_lines() -> None:
    suite = evalcrafter_suite(["a horse", "", "a pig  ", "a horse"])
    assert [(prompt.id, prompt.text) for prompt in suite] == [
        ("evalcrafter-0000", "a horse"),
        ("evalcrafter-0002", "a pig"),
        ("evalcrafter-0003", "a horse"),
    ]


def test_compbench_numbers_count_from_one_in_each_category() -> None:
    suite = compbench_suite({"1_consistent_attr": ["blue car"], "7_numeracy": ["one tree", "two cats"]})
    assert [(prompt.id, prompt.category) for prompt in suite] == [
        ("consistent_attr-0001", "consistent_attr"),
        ("numeracy-0001", "numeracy"),
        ("numeracy-0002", "numeracy"),
    ]


def write(folder: Path, name: str, content: object) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_formats_are_recognised_by_content(tmp_path: Path) -> None:
    metadata = {"0000": {"prompt": "2 Dog and a whale", "attributes": {"count": "2 dog"}}}
    paths = {
        "vbench": write(tmp_path, "VBench_full_info.json", VBENCH),
        "evalcrafter": write(tmp_path, "metadata.json", metadata),
        "t2v-compbench": write(tmp_path, "comp/7_numeracy.txt", "one tree\n"),
        "mine": write(tmp_path, "mine.csv", "prompt\na cat\n"),
    }
    for name, path in paths.items():
        assert import_suite(path).name == name
    assert import_suite(tmp_path / "comp").prompts[0].id == "numeracy-0001"
    assert (
        import_suite(write(tmp_path, "evalcrafter_prompt.txt", "a horse\n")).prompts[0].id
        == "evalcrafter-0000"
    )
    (dogs,) = import_suite(paths["evalcrafter"])
    assert (dogs.expect, dogs.tags) == ({"object": "dog", "count": 2}, ("evalcrafter.count",))
    assert import_suite(paths["mine"], name="other").name == "other"
    assert set(FORMATS) == {"vbench", "evalcrafter", "t2v-compbench", "table"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", 'id,prompt,category,tags,negative\na,"one, two",c,"x.y; z",blur\nb,three,,,\n'),
        ("t.tsv", "ID\tText\tCategory\ttags\tnegative_prompt\na\tone, two\tc\tx.y z\tblur\nb\tthree\t\t\t\n"),
        (
            "t.json",
            [
                {"id": "a", "prompt": "one, two", "category": "c", "tags": ["x.y", "z"], "negative": "blur"},
                {"id": "b", "prompt": "three"},
            ],
        ),
        (
            "t.jsonl",
            '{"id": "a", "caption": "one, two", "category": "c", "tags": "x.y,z", "negative": "blur"}\n\n{"id": "b", "caption": "three"}\n',
        ),
    ],
)
def test_tables_of_every_kind_say_the_same(tmp_path: Path, name: str, content: object) -> None:
    suite = read_prompts(write(tmp_path, name, content))
    assert suite.prompts == (
        Prompt("a", "one, two", "c", ("x.y", "z"), negative="blur"),
        Prompt("b", "three", "all"),
    )


def test_tables_without_ids_get_readable_stable_ones(tmp_path: Path) -> None:
    suite = read_prompts(write(tmp_path, "t.txt", "a red ball\n\nA red ball\na red ball\n"))
    assert [prompt.text for prompt in suite] == ["a red ball", "A red ball"]
    assert suite.prompts[0].id == "a-red-ball"
    mapping = read_prompts(
        write(tmp_path, "t.json", {"x1": "a cat", "x2": {"prompt": "a dog", "category": "pets"}})
    )
    assert [(p.id, p.text, p.category) for p in mapping] == [("x1", "a cat", "all"), ("x2", "a dog", "pets")]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", "", "the table has no rows"),
        (
            "t.csv",
            "promt,id\na,b\n",
            "t.csv:1:1: error: no column `prompt`, `text` or `caption`; did you mean 'promt'?",
        ),
        ("t.csv", "prompt\n \n", "t.csv:2:1: error: the prompt is empty"),
        (
            "t.csv",
            "prompt,id\na, with a comma,x\n",
            "t.csv:2:1: error: the row has more cells than the header",
        ),
        ("t.csv", "prompt,id\na,x\nb,x\n", "t.csv:3:1: error: prompt id 'x' has another text than at line 2"),
        ("t.csv", "prompt,id\na,../x\n", "t.csv:2:1: error: prompt id '../x' cannot name a file"),
        ("t.csv", "prompt,sample\na,-1\n", "sample index must be a whole number"),
        ("t.csv", 'prompt\n"open\n', "not a valid CSV row"),
        ("t.json", "{", "t.json:1:2: error: not valid JSON"),
        ("t.json", "3", "which is no known prompt file"),
        ("t.json", "[3]", "expected a list of prompts"),
        ("t.jsonl", '{"prompt": "a"}\n[]\n', "t.jsonl:2:1: error: expected an object"),
        ("t.docx", "x", "cannot tell the format from '.docx'"),
        ("v.json", [{"prompt_en": "x"}], "entry 0 lacks `prompt_en` or `dimension`"),
        ("e.json", {"a": {"attributes": {}}}, "entry 'a' is not"),
        ("evalcrafter.txt", "\n\n", "no prompt in the file"),
    ],
)
def test_files_that_cannot_be_imported_say_where_and_why(
    tmp_path: Path, name: str, content: object, said: str
) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(SuiteError) as caught:
        import_suite(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_files_and_wrong_encodings(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="no such file; check the path"):
        import_suite(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes("prompt\nÄpfel\n".encode("latin-1"))
    with pytest.raises(SuiteError, match="cannot be read as UTF-8"):
        import_suite(tmp_path / "latin.csv")
    with pytest.raises(SuiteError, match=r"no \.txt file in this folder"):
        import_suite(tmp_path)


def test_an_imported_suite_is_a_suite_file_that_loads_back(tmp_path: Path) -> None:
    suite = vbench_suite(VBENCH, "VBench_full_info.json")
    path = write(tmp_path, "vbench.yaml", suite_yaml(suite))
    assert replace(load_suite(path), source=suite.source) == suite
    assert [problem.code for problem in lint_suite(path)] == ["case-collision"]
    assert read_prompts(path).digest == suite.digest


@settings(max_examples=40)
@given(SUITES)
def test_any_writable_suite_round_trips(tmp_path_factory: pytest.TempPathFactory, suite: Suite) -> None:
    path = tmp_path_factory.mktemp("suite") / "s.yaml"
    plain = replace(
        suite, prompts=tuple(replace(p, params={}, expect={}, text=p.text.strip() or "t") for p in suite)
    )
    path.write_text(suite_yaml(plain), encoding="utf-8")
    errors = [problem for problem in lint_suite(path) if problem.severity == "error"]
    if errors:  # control characters are the one thing that text of a suite must not hold
        assert {problem.code for problem in errors} <= {"control-character", "not-yaml"}
    else:
        again = load_suite(path)
        assert [(p.id, p.text, p.tags, p.negative) for p in again] == [
            (p.id, p.text, p.tags, p.negative) for p in plain
        ]


def test_ids_from_texts_are_safe_readable_and_distinct() -> None:
    texts = [
        "A cat",
        "a cat",
        "a  cat",
        "a/cat",
        "ä cat",
        "猫",
        "x" * 300,
        "x" * 301,
        "../../etc/passwd",
        "a cat.",
    ]
    ids = [prompt_id(text) for text in texts]
    assert len(set(ids)) == len(texts)
    assert all(len(own) <= 100 and own.replace("-", "").isalnum() and own.isascii() for own in ids)


def test_real_ratings(shared_data: Path) -> None:
    suite = read_prompts(shared_data / "rated" / "ratings.csv")
    assert len(suite) == 20
    assert suite.by_id["actions-2"].text == "people are dancing"
    assert suite.by_id["actions-2"].category == "temporal_major_content/actions"
