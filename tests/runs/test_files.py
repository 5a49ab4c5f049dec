from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.canonical import canonical_json
from evalkit.errors import EvalkitError, RunError
from evalkit.models.protocol import ModelInfo
from evalkit.runs.files import atomic_path, write_json
from evalkit.runs.journal import Journal, read_journal
from evalkit.runs.keys import digest
from evalkit.runs.manifest import read_manifest
from evalkit.runs.plan import clip_seed, plan_generation
from evalkit.runs.store import open_run
from evalkit.runs.tables import SET_SCORES, read_table, write_table
from evalkit.suites.prompt import Prompt, Suite
from evalkit.testing.runs import make_run, make_suite

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
MODEL = ModelInfo("m", "1", defaults={"num_frames": 8, "height": 16, "width": 16, "fps": "8"})


@given(JSON)
def test_canonical_json_says_the_same_value(value: object) -> None:
    assert json.loads(canonical_json(value)) == value


@given(st.dictionaries(st.text(), JSON, min_size=2, max_size=5))
def test_a_digest_does_not_depend_on_the_order_of_keys(value: dict[str, object]) -> None:
    assert digest(value) == digest(dict(reversed(value.items())))


def test_a_digest_refuses_what_has_no_stable_text() -> None:
    with pytest.raises(TypeError, match="object"):
        digest({"x": object()})
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest(float("nan"))


def test_an_atomic_write_leaves_the_old_file_when_it_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})

    def fail() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        fail()
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


@given(st.lists(st.dictionaries(st.text(), JSON, max_size=3), min_size=1, max_size=5), st.data())
def test_a_journal_torn_anywhere_keeps_every_whole_entry(
    entries: list[dict[str, object]], data: st.DataObject
) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        with Journal(path) as journal:
            for entry in entries:
                journal.append(entry)
        content = path.read_bytes()
        cut = data.draw(st.integers(0, len(content)))
        path.write_bytes(content[:cut])
        whole = content[:cut].count(b"\n")
        assert list(read_journal(path)) == entries[:whole]
        with Journal(path) as journal:
            journal.append({"after": "the crash"})
        assert list(read_journal(path)) == [*entries[:whole], {"after": "the crash"}]


def test_a_row_with_a_wrong_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sneaky"):
        write_table(tmp_path / "t.parquet", SET_SCORES, [dict.fromkeys(SET_SCORES.names) | {"sneaky": 1}])


def test_a_table_of_before_a_column_was_added_reads_as_null(tmp_path: Path) -> None:
    path, row = (
        tmp_path / "set_scores.parquet",
        dict.fromkeys(SET_SCORES.names) | {"metric_id": "set.kvd", "p_value": 0.5},
    )
    write_table(path, SET_SCORES, [row])
    pq.write_table(pq.read_table(path).drop_columns(["p_value"]), path)
    table = read_table(path, SET_SCORES)
    assert table.schema.names == SET_SCORES.names
    assert table["p_value"].to_pylist() == [None]
    pq.write_table(pq.read_table(path).drop_columns(["noise_floor"]), path)
    with pytest.raises(RunError, match="schema"):
        read_table(path, SET_SCORES)


def test_a_table_of_another_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set_scores.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(RunError, match="table schema none"):
        read_table(path, SET_SCORES)
    path.write_bytes(b"PAR1 nonsense")
    with pytest.raises(RunError, match="cannot be read as Parquet"):
        read_table(path, SET_SCORES)


def test_no_run_and_a_damaged_manifest_say_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not exist"):
        open_run(tmp_path / "nowhere")
    with pytest.raises(RunError, match="not a run folder"):
        open_run(tmp_path)
    (tmp_path / "manifest.json").write_text('{"schema_version": 7}')
    with pytest.raises(RunError, match="damaged or was written by another version"):
        read_manifest(tmp_path)


def test_an_edited_suite_is_noticed(tmp_path: Path) -> None:
    run = make_run(tmp_path, values={"m": np.zeros((2, 1))})
    path = run.folder / "suite.json"
    path.write_text(path.read_text().replace("number 0", "number zero"))
    with pytest.raises(RunError, match="was edited"):
        _ = open_run(tmp_path).suite


def test_seeds_differ_between_prompts_and_samples_and_agree_between_models() -> None:
    plan = plan_generation(make_suite(20), MODEL, samples=3, seed=5)
    seeds = [clip.seed for clip in plan.clips]
    assert len(set(seeds)) == 60
    other = plan_generation(
        make_suite(20), ModelInfo("other", "2", defaults=MODEL.defaults), samples=3, seed=5
    )
    assert [clip.seed for clip in other.clips] == seeds
    assert clip_seed(6, "p0000", 0) != clip_seed(5, "p0000", 0)


def test_the_command_line_wins_over_the_prompt_and_the_prompt_over_the_model() -> None:
    suite = Suite(
        "s",
        "1",
        "CC0-1.0",
        "",
        (Prompt("a", "a", "c", params={"height": 32, "fps": "24000/1001", "style": "x"}),),
    )
    request = plan_generation(suite, MODEL, overrides={"width": 64}).clips[0].request
    assert request is not None
    assert (request.num_frames, request.height, request.width) == (8, 32, 64)
    assert request.fps == Fraction(24000, 1001)
    assert dict(request.params) == {"style": "x"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"height": "tall"}, "'a': height is not a number: 'tall'"),
        ({"fps": "0"}, "'a': fps must be positive"),
        ({"fps": "1/0"}, "fps is not a number"),
    ],
)
def test_a_wrong_shape_names_the_prompt(overrides: dict[str, object], message: str) -> None:
    suite = Suite("s", "1", "CC0-1.0", "", (Prompt("a", "a", "c"),))
    with pytest.raises(EvalkitError, match=message):
        plan_generation(suite, MODEL, overrides=overrides)


def test_a_model_without_defaults_asks_for_the_shape() -> None:
    with pytest.raises(EvalkitError, match="give --num-frames --height --width --fps"):
        plan_generation(make_suite(1), ModelInfo("bare", "1"))
