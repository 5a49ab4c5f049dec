from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from evalkit import cli
from evalkit.errors import EvalkitError, EvidenceError, UnknownName


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "evalkit", *arguments], capture_output=True, text=True, cwd=cwd, check=False
    )


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from evalkit.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'pandas', 'scipy', 'pyarrow', 'av', 'cv2', 'matplotlib'} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY []" in done.stdout
    for verb in cli._VERBS:
        assert f"  {verb} " in done.stdout


@pytest.mark.parametrize("verb", list(cli._VERBS))
def test_every_verb_teaches(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        cli.main([verb, "--help"])
    assert done.value.code == 0
    text = capsys.readouterr().out
    assert f"evalkit {verb}" in text
    assert "Example" in text


def test_a_misspelt_verb_is_corrected() -> None:
    done = run("skore")
    assert done.returncode == 2
    assert "'score'" in done.stderr
    assert done.stdout == ""


def test_errors_are_one_paragraph_with_their_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for error, code in [
        (UnknownName("metric", "temporal.flikker", ["temporal.flicker"]), 2),
        (EvidenceError("clips are missing"), 4),
        (EvalkitError("wrong"), 2),
        (ZeroDivisionError("oops"), 70),
    ]:

        def fail(raised: Exception = error) -> None:
            """Fail. Example: none."""
            raise raised

        monkeypatch.setattr(cli, "_VERBS", {"fail": ("x:y", "Fails.")})
        monkeypatch.setattr(
            "importlib.import_module", lambda _, fail=fail: type("M", (), {"y": staticmethod(fail)})
        )
        with pytest.raises(SystemExit) as done:
            cli.main(["fail"])
        monkeypatch.undo()
        assert done.value.code == code
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        assert str(error) in captured.err


def test_the_version_is_the_package_version() -> None:
    import importlib.metadata

    assert run("--version").stdout.strip() in {importlib.metadata.version("evalkit"), "0+unknown"}
