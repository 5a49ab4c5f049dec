"""Tokenizer, prompt weights and text encoder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from reference_model.text import (
    ABSENT,
    OPEN,
    TextEncoder,
    Tokenizer,
    encode_prompts,
    grounding_targets,
    split_weights,
)
from reference_model.world import Caption

TOKENIZER = Tokenizer.of_world()


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("a red ball", [("a red ball", 1.0)]),
        ("a (red:1.3) ball", [("a ", 1.0), ("red", 1.3), (" ball", 1.0)]),
        ("(at night:.5)", [("at night", 0.5)]),
        ("a (red) ball", [("a (red) ball", 1.0)]),
    ],
)
def test_weights_are_split_from_words(prompt: str, parts: list[tuple[str, float]]) -> None:
    assert split_weights(prompt) == parts


def test_tokens_are_padded_and_unknown_words_are_one() -> None:
    tokens = TOKENIZER(["a red ball", "zebra"])
    assert tokens.shape == (2, 3)
    assert tokens[1].tolist() == [1, 0, 0]
    assert int(tokens[0].min()) > 1
    assert TOKENIZER([""]).tolist() == [[0]]


def test_vocabulary_survives_its_file(tmp_path: Path) -> None:
    TOKENIZER.save(tmp_path / "words.json")
    assert Tokenizer.load(tmp_path / "words.json") == TOKENIZER


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(len(TOKENIZER.words), width=32).eval()


@torch.no_grad()
def test_padding_changes_nothing(encoder: TextEncoder) -> None:
    alone = encoder(TOKENIZER(["a red ball"]))
    beside = encoder(TOKENIZER(["a red ball", "a large blue star moves left on a white background"]))[:1]
    torch.testing.assert_close(alone, beside, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_order_of_words_matters(encoder: TextEncoder) -> None:
    one, other = encoder(TOKENIZER(["a red star above a blue ball", "a blue star above a red ball"]))
    assert float((one - other).abs().max()) > 1e-3


@torch.no_grad()
def test_weight_one_is_no_weight_and_more_weight_moves_further(encoder: TextEncoder) -> None:
    plain, one, half, more, none = encode_prompts(
        encoder,
        TOKENIZER,
        ["a red ball", "a (red:1.0) ball", "a (red:0.5) ball", "a (red:1.5) ball", "a (red:0) ball"],
    )
    without = encode_prompts(encoder, TOKENIZER, ["a unknownword ball"])[0]
    torch.testing.assert_close(one, plain)
    torch.testing.assert_close(none, without, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(half, (plain + without) / 2, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(more, plain + (plain - without) / 2, atol=1e-5, rtol=1e-4)


def test_grounding_says_what_is_open_and_what_is_ruled_out() -> None:
    captions = [
        Caption("a red star", {"object": "star", "colour": "red", "count": 1}),
        Caption("two red stars", {"object": "star", "colour": "red", "count": 2}),
        Caption("red", {"colour": "red"}, fragment=True),
        Caption(""),
    ]
    targets = grounding_targets(captions)
    star = 2 + 3
    assert targets["object"].tolist() == [
        [star, ABSENT, ABSENT],
        [star, star, ABSENT],
        [OPEN] * 3,
        [OPEN] * 3,
    ]
    assert targets["colour"][:, 0].tolist() == [2, 2, 2, OPEN]
    assert targets["relation"].tolist() == [ABSENT, ABSENT, OPEN, OPEN]
