"""What a study of controllability consists of: prompts, arms that differ in one thing, and what is read off."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from evalkit.errors import EvalkitError
from evalkit.suites import Prompt, Suite, load_suite

__all__ = ["SHIPPED", "Arm", "Definition", "Study", "load_definition"]

SHIPPED = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.yaml"))}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Arm(_Strict):
    """One way of asking.

    Args:
        set: model parameters, shape included (`num_frames`).
        text: which of the prompt's fields is the prompt.
        negative: which of the prompt's fields is the negative prompt; none when empty.
        fill: values for the `{placeholders}` of the prompt.
    """

    set: dict[str, Any] = Field(default_factory=dict)
    text: str = "text"
    negative: str = ""
    fill: dict[str, float | str] = Field(default_factory=dict)


class Study(_Strict):
    """One question.

    Args:
        title: for people.
        question: in a sentence, with what would be good.
        measure: `identical` (share of clips that all arms make bit for bit alike), `trend` (Spearman of the arms' order
            and the value, prompt by prompt), `change` (last arm minus first), `spread` (distance between samples) or
            `ratio` (distance between arms at one seed over distance between seeds).
        values: what `trend` and `change` read: `alignment` (100 cos of clip and the prompt's `towards`, or its text),
            `contrast` (the same minus that with its `away`), or ids of clip metrics.
        expected: the direction a controllable model shows.
        parameter: a model parameter without which the study says nothing; a model that ignores it is not judged.
        suite: name of a suite; exclusive with `prompts`.
        prompts: fields by prompt id; `text` is required.
        samples: clips a prompt and arm.
        arms: by name, in order.
    """

    title: str
    question: str
    measure: Literal["identical", "trend", "change", "spread", "ratio"]
    values: tuple[str, ...] = ()
    expected: Literal["up", "down", "none"] = "none"
    parameter: str = ""
    suite: str = ""
    prompts: dict[str, dict[str, str]] = Field(default_factory=dict)
    samples: int = Field(default=1, ge=1)
    arms: dict[str, Arm]

    @model_validator(mode="after")
    def _consistent(self) -> Study:
        if bool(self.suite) == bool(self.prompts):
            raise ValueError("give either `suite` or `prompts`")
        if self.measure in ("trend", "change") and not self.values:
            raise ValueError(f"measure {self.measure!r} needs `values`")
        if self.measure not in ("trend", "change") and self.values:
            raise ValueError(f"measure {self.measure!r} takes no `values`")
        fewest = {"spread": 1, "ratio": 2, "identical": 2, "trend": 2, "change": 2}[self.measure]
        if len(self.arms) < fewest:
            raise ValueError(f"measure {self.measure!r} needs at least {fewest} arms")
        if self.measure in ("spread", "ratio") and self.samples < 2:
            raise ValueError(f"measure {self.measure!r} needs `samples` of at least 2")
        return self

    def fields(self, limit: int | None) -> dict[str, dict[str, str]]:
        """Fields of the chosen prompts by id."""
        if self.prompts:
            return dict(list(self.prompts.items())[:limit])
        chosen = load_suite(self.suite)
        return {
            prompt.id: {"text": prompt.text, "negative": prompt.negative}
            for prompt in (chosen.select(limit=limit) if limit else chosen)
        }

    def suite_of(self, name: str, arm: Arm, limit: int | None) -> Suite:
        """The arm's prompts as a suite. Ids are the same in every arm, and so are the seeds.

        Raises:
            EvalkitError: a prompt lacks a field that the arm names.
        """
        prompts = []
        for identifier, fields in self.fields(limit).items():
            missing = [one for one in (arm.text, arm.negative) if one and one not in fields]
            if missing:
                raise EvalkitError(
                    f"control study {name!r}: prompt {identifier!r} has no field {missing[0]!r}"
                )
            text = fields[arm.text].format(**{**fields, **arm.fill}) if arm.fill else fields[arm.text]
            negative = fields[arm.negative] if arm.negative else ""
            prompts.append(Prompt(identifier, text, name, negative=negative))
        return Suite(f"control-{name}", "1.0", "CC-BY-4.0", self.question, tuple(prompts))


class Definition(_Strict):
    """A set of studies and the encoder that judges what is seen.

    Args:
        encoder: `world`, `conse` or `clip`.
        studies: by name.
    """

    encoder: Literal["world", "conse", "clip"]
    studies: dict[str, Study]


def load_definition(name: str) -> Definition:
    """Read a shipped definition (`world`, `open`) or a file.

    Raises:
        EvalkitError: there is no such definition, or it is wrong; says where.
    """
    path = SHIPPED.get(name, Path(name))
    try:
        content: Mapping[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Definition.model_validate(content)
    except OSError as error:
        raise EvalkitError(
            f"control definition {name!r}: {error.strerror}; shipped: {', '.join(SHIPPED)}, or give a path"
        ) from error
    except yaml.YAMLError as error:
        raise EvalkitError(f"{path}: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise EvalkitError(
            f"{path}: {where}: {first['msg']}; see benchmarks/control/definition.py"
        ) from error
