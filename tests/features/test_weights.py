"""Weights: found offline, checked, and never run as code."""

from __future__ import annotations

import hashlib
import pickle

import pytest
import torch
from safetensors.torch import save_file

from evalkit import weights
from evalkit.errors import EvalkitError, MissingWeights


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("EVALKIT_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    return tmp_path


def test_embedded_weights_are_present_and_the_published_ones():
    rows = {row.name: row for row in weights.inventory()}
    assert rows["efficientnet-lite0"].state == "present"
    assert rows["efficientnet-lite0"].digest.startswith("sha256:57934424")
    assert rows["efficientnet-lite0"].command == ""


def test_what_is_missing_comes_with_one_command(folder):
    rows = {row.name: row for row in weights.inventory()}
    assert rows["i3d"].state == rows["raft_small"].state == "missing"
    assert rows["i3d"].command.startswith(f"curl -L --create-dirs -o {folder}/i3d_torchscript.pt https://")
    with pytest.raises(MissingWeights, match="get them with: curl"):
        weights.locate("i3d")
    with pytest.raises(MissingWeights, match="get_weight"):
        weights.locate("raft_small")


@pytest.mark.parametrize("name", ["raft_small", "raft_large", "r3d_18"])
def test_torchvision_knows_the_weights_that_it_is_asked_for(name):
    from evalkit._torchvision import ensure

    ensure()
    from torchvision.models import get_weight

    known = weights.KNOWN_WEIGHTS[name]
    assert get_weight(known.url.removeprefix("torchvision:")).url.endswith(known.filename)
    assert known.url.removeprefix("torchvision:") in known.command


def test_another_file_of_the_same_name_is_refused(folder):
    (folder / "raft_small_C_T_V2-01064c6d.pth").write_bytes(b"something else")
    assert next(row for row in weights.inventory() if row.name == "raft_small").state == "wrong"
    with pytest.raises(EvalkitError, match="damaged or another one"):
        weights.locate("raft_small")


def test_digest_follows_the_content(tmp_path):
    path = tmp_path / "x.bin"
    for content in (b"a", b"bb"):
        path.write_bytes(content)
        assert weights.file_digest(path) == f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_state_dicts_lose_their_wrapping(tmp_path):
    tensors = {"a": torch.ones(2)}
    torch.save({"state_dict": {"module.a": torch.ones(2)}, "epoch": 3}, tmp_path / "x.pth")
    save_file(tensors, tmp_path / "x.safetensors")
    for name in ("x.pth", "x.safetensors"):
        state = weights.load_state(tmp_path / name)
        assert list(state) == ["a"]
        assert torch.equal(state["a"], tensors["a"])


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code ran')",))


def test_code_in_weights_does_not_run(tmp_path):
    path = tmp_path / "bomb.pth"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(EvalkitError, match="does not run code"):
        weights.load_state(path)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(EvalkitError, match="no state dict"):
        weights.load_state(tmp_path / "list.pth")
