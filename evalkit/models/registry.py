"""Models by name.

A model is asked for as `NAME[@REVISION][:key=value,...]`, e.g. `reference`, `reference@v1`,
`folder:path=clips/`, `diffusers:pipeline=checkpoints/mine,dtype=bfloat16`. The keys are the parameters of the model's
constructor; a value is read as JSON where it is JSON, else as text. What does not fit on a line goes into a YAML or
JSON file, whose path is then the spec:

    model: command
    revision: "2026-11-02"
    params:
      command: [python, generate.py, --output, "{output}"]
      timeout_s: 900
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from evalkit._registry import Registry
from evalkit.errors import EvalkitError
from evalkit.models.protocol import VideoModel

__all__ = ["MODELS", "ModelSpec", "load_model", "missing_parts", "model_names", "parse_spec"]

MODELS = Registry(
    "model",
    "evalkit.models",
    {
        "command": "evalkit.models.command:CommandModel",
        "diffusers": "evalkit.models.diffusers_pipeline:DiffusersModel",
        "folder": "evalkit.models.folder:FolderModel",
        "http": "evalkit.models.http:HttpModel",
        "replay": "evalkit.models.replay:ReplayModel",
    },
)

_SPEC = re.compile(r"(?P<name>[\w.-]+)(@(?P<revision>[^:]+))?(:(?P<params>.*))?", re.DOTALL)
_FILES = {".yaml", ".yml", ".json"}


class ModelSpec(NamedTuple):
    """What a spec string says: a registered name, and constructor parameters (`revision` among them)."""

    name: str
    params: dict[str, Any]


def model_names() -> tuple[str, ...]:
    """Every registered name: built-in adapters first, then those of plugins."""
    return MODELS.names()


def parse_spec(spec_string: str) -> ModelSpec:
    """Read a spec string or the file that it names.

    Raises:
        EvalkitError: neither a spec nor a readable file.

    Example:
        >>> parse_spec("folder@v2:path=clips/new,ai_generated=false")
        ModelSpec(name='folder', params={'path': 'clips/new', 'ai_generated': False, 'revision': 'v2'})
    """
    text = spec_string.strip()
    if Path(text).suffix in _FILES and ":" not in text:
        return _read_file(Path(text))
    match = _SPEC.fullmatch(text)
    if match is None:
        raise EvalkitError(
            f"model {spec_string!r} is no spec; write NAME[@REVISION][:key=value,...] or the path of a YAML file"
        )
    params: dict[str, Any] = {}
    for part in _split(match["params"] or ""):
        key, equals, value = part.partition("=")
        if not equals or not key.strip().isidentifier():
            raise EvalkitError(
                f"model {spec_string!r}: {part!r} is no parameter; write NAME:key=value,key=value, "
                "or put the parameters into a YAML file"
            )
        params[key.strip()] = _value(value)
    if match["revision"]:
        params["revision"] = match["revision"]
    return ModelSpec(match["name"], params)


def load_model(spec_string: str, **params: Any) -> VideoModel:
    """Construct the model that `spec_string` asks for. Nothing is loaded yet.

    Args:
        spec_string: see the module's docstring.
        params: further constructor parameters; they win over those of the spec.

    Raises:
        UnknownName: nobody registered the name.
        EvalkitError: the spec cannot be read, or the model does not take one of the parameters.
    """
    name, own = parse_spec(spec_string)
    factory = MODELS.load(name)
    merged = {**own, **params}
    _check_params(name, factory, merged)
    try:
        model = factory(**merged)
    except (TypeError, ValueError) as error:
        raise EvalkitError(
            f"model {name!r} cannot be made from {merged}: {error}; `evalkit models show {name}` lists its parameters"
        ) from error
    if lacks := missing_parts(model):
        raise EvalkitError(
            f"model {name!r} ({type(model).__module__}.{type(model).__qualname__}) lacks {', '.join(lacks)}; "
            "see evalkit.models.VideoModel, and evalkit.testing.check_model for a test of it"
        )
    return cast("VideoModel", model)


def missing_parts(model: object) -> list[str]:
    """Parts of `VideoModel` that an object lacks.

    `isinstance` would read `info`, which may cost much or fail before there is anything to identify.
    """
    absent = object()
    parts = ("info", "ignored_params", "load", "generate")
    return [part for part in parts if inspect.getattr_static(model, part, absent) is absent]


def _check_params(name: str, factory: Any, params: Mapping[str, Any]) -> None:
    from evalkit.suites.document import nearest

    try:
        known = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return  # a class written in C; its constructor speaks for itself
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in known.values()):
        return
    for key in params:
        if key not in known:
            hint = nearest(key, known) if known else "it takes none"
            raise EvalkitError(f"model {name!r} has no parameter {key!r}; {hint}")
    missing = [
        key
        for key, one in known.items()
        if one.default is inspect.Parameter.empty and key not in params and one.kind is not one.VAR_POSITIONAL
    ]
    if missing:
        raise EvalkitError(f"model {name!r} needs {', '.join(missing)}; write {name}:{missing[0]}=...")


def _read_file(path: Path) -> ModelSpec:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise EvalkitError(f"{path}: cannot read the model file: {error}; check the path") from error
    except yaml.YAMLError as error:
        raise EvalkitError(f"{path}: not valid YAML: {str(error).replace(chr(10), ' ')}") from error
    allowed = {"model", "revision", "params"}
    if (
        not isinstance(content, dict)
        or not isinstance(content.get("model"), str)
        or not set(content) <= allowed
    ):
        raise EvalkitError(
            f"{path}: a model file has the keys `model`, and if needed `revision` and `params`"
        )
    params = content.get("params") or {}
    if not isinstance(params, dict) or not all(isinstance(key, str) for key in params):
        raise EvalkitError(f"{path}: `params` must be a mapping of parameter names to values")
    if "revision" in content:
        params = {**params, "revision": str(content["revision"])}
    return ModelSpec(content["model"], cast("dict[str, Any]", params))


def _split(text: str) -> list[str]:
    """Cut at commas, but not inside quotes, brackets or braces."""
    parts = re.findall(r"""(?:"(?:\\.|[^"\\])*"|\[[^\]]*\]|\{[^}]*\}|[^,])+""", text)
    return [part.strip() for part in parts if part.strip()]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text.strip()
