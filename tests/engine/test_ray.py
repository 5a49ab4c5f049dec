"""The Ray engine on a cluster of two daemons on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evalkit.engine.executor import InlineExecutor, Work
from evalkit.engine.ray import RayExecutor
from evalkit.engine.run import make_executor, run_model
from evalkit.errors import EvalkitError, MissingExtra, RunError
from evalkit.testing.runs import make_suite
from tests.engine import faulty, toys
from tests.engine.test_run import METRICS, assert_same

ray = pytest.importorskip("ray")
pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    # Ray puts its workers behind everything else on the machine, which on a busy one may be for minutes.
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    ray.init(address=found.address, log_to_driver=False, logging_level="error")
    yield found
    ray.shutdown()
    found.shutdown()


def test_faults_stay_on_their_rows_and_tables_equal_those_of_one_process(
    cluster: Any, tmp_path: Path
) -> None:
    plain = {"samples": 2, "metrics": METRICS}
    ours = run_model(make_suite(3), toys.Toy(), tmp_path / "ray", executor=RayExecutor(1), **plain)
    assert_same(
        ours, run_model(make_suite(3), toys.Toy(), tmp_path / "one", executor=InlineExecutor(), **plain)
    )
    model = faulty.FaultyModel(batch_size=1)
    run = run_model(
        make_suite(6), model, tmp_path / "faults", metrics=METRICS, executor=RayExecutor(1), timeout_s=4
    )
    errors = run.generations.set_index("prompt_id").error
    assert list(run.generations.status) == ["ok", *["failed"] * 5]
    assert "the worker died" in errors["p0001"]
    assert "2 times on this item" in errors["p0001"]
    assert errors["p0002"] == "took longer than 4 s and was stopped"
    assert "must be uint8" in errors["p0003"]


def test_two_workers_share_a_gpu_and_a_third_waits(cluster: Any, tmp_path: Path) -> None:
    # Ray counts what it is told: the card itself need not be there.
    node = cluster.add_node(num_cpus=3, num_gpus=1)
    cluster.wait_for_nodes()
    executor = RayExecutor(3, gpus=0.5)
    assert executor.has_gpu()
    try:
        outcomes = list(executor.map(faulty.Sharing(tmp_path, 2), range(12)))
    finally:
        cluster.remove_node(node)
    assert [outcome.error for outcome in outcomes if outcome.error] == []
    assert len({outcome.result[0] for outcome in outcomes}) == 2
    assert {outcome.result[1] for outcome in outcomes} == {"0"}
    assert {outcome.result[2] for outcome in outcomes} == {2}


def test_a_killed_machine_loses_no_item(cluster: Any, tmp_path: Path) -> None:
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    job = faulty.KillsItsNode(second.node_id, tmp_path / "killed")
    outcomes = list(RayExecutor(2).map(job, range(300)))
    assert (tmp_path / "killed").exists()
    assert sorted(outcome.index for outcome in outcomes) == list(range(300))
    assert [outcome.error for outcome in outcomes if outcome.error] == []
    assert {outcome.index: outcome.result[0] for outcome in outcomes} == {i: i * i for i in range(300)}
    assert second.node_id not in {outcome.result[1] for outcome in outcomes}


class Broken:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def open(self) -> None:
        if not isinstance(self.error, RunError):
            raise self.error

    def run(self, item: int) -> None:
        raise self.error


def test_what_no_item_can_survive_ends_the_map(cluster: Any) -> None:
    with pytest.raises(EvalkitError, match="weights are gone"):
        list(RayExecutor(1).map(Broken(OSError("weights are gone")), range(3)))
    with pytest.raises(RunError, match="disk"):
        list(RayExecutor(1).map(Broken(RunError("the disk is full")), range(3)))
    with pytest.raises(EvalkitError, match=r"no room for one.*CPU"):
        list(RayExecutor(1, gpus=1, start_timeout_s=0.5).map(NeedsGpu(EvalkitError("")), range(3)))


class NeedsGpu(Broken):
    gpu = "whole"


def test_items_of_an_interrupted_chunk_are_run_alone_and_only_the_guilty_one_fails() -> None:
    from collections import deque

    work = Work(deque(range(10)), chunk_s=0.5, pace=0.1)
    chunk = work.take(workers=1)
    assert chunk == (0, 1, 2, 3, 4)
    assert list(work.interrupted(chunk, "died", tries=2)) == []
    assert [work.take(1) for _ in range(5)] == [(0,), (1,), (2,), (3,), (4,)]
    assert list(work.interrupted((2,), "died", tries=2)) == []
    (failed,) = work.interrupted((2,), "died", tries=2)
    assert (failed.index, failed.error, failed.crashed) == (2, "died 2 times on this item", True)


def test_a_missing_ray_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'evalkit\[ray\]'"):
        make_executor("ray", 2)


def test_ray_needs_a_worker() -> None:
    with pytest.raises(EvalkitError, match="--workers 1 or more"):
        make_executor("ray", 0)
