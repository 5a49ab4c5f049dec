"""Fixtures that every area of the tests shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from tests.browser import chromium, open_page  # noqa: F401  # one browser for the whole session

ROOT = Path(__file__).parents[1]

# One thread a process: the default of two workers on two cores is then never oversubscribed.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Properties are tried on the same examples every time, and never fail because a machine is busy.
settings.register_profile("evalkit", deadline=None, derandomize=True)
settings.load_profile("evalkit")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real clips with human ratings; see CONTRIBUTING.md."""
    folder = Path(os.environ.get("EVALKIT_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "rated" / "ratings.csv").is_file():
        pytest.skip(
            f"real clips not found at {folder}; set EVALKIT_DATA to the folder that holds rated/ and lavie/"
        )
    return folder
