"""Reference files carry their protocol and refuse another one."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from evalkit.errors import EvalkitError, EvidenceError
from evalkit.metrics.functional.frechet import (
    FrechetStatistics,
    frechet_distance,
    frechet_distance_from_statistics,
)
from evalkit.metrics.reference import load_reference, save_reference

ROWS = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("statistics_only", [False, True])
def test_a_reference_comes_back(tmp_path, statistics_only):
    path = tmp_path / "ref.safetensors"
    save_reference(path, ROWS, "net@abc/16f", source="forty clips", statistics_only=statistics_only)
    found = load_reference(path, "net@abc/16f")
    assert found.source == "forty clips"
    assert found.statistics.count == 40
    assert (found.rows is None) == statistics_only
    other = ROWS + 1
    distance = frechet_distance_from_statistics(FrechetStatistics.of(other), found.statistics)
    assert distance == pytest.approx(frechet_distance(other, ROWS), rel=1e-9)


def test_another_protocol_is_refused(tmp_path):
    path = tmp_path / "ref.safetensors"
    save_reference(path, ROWS, "net@abc/16f", source="x")
    with pytest.raises(EvidenceError, match="mean nothing"):
        load_reference(path, "net@abc/32f")


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"no")
    with pytest.raises(EvalkitError, match="not a safetensors file"):
        load_reference(path)
    save_file({"mean": torch.zeros(2)}, path)
    with pytest.raises(EvalkitError, match="not a reference file"):
        load_reference(path)
