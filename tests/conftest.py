"""Fixtures and rules shared by all tests.

Every test carries one of the markers `unit` (about a second at most), `slow` (seconds to minutes, or large weights)
and `gpu`; a test without one fails collection. Tests of either kind that look at real pictures or need public weights
get them from the fixtures `data_dir` and `weights`, which skip with a reason where there are none.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from engine import weights as weight_cache
from engine.errors import WeightsError

MARKERS: Final = ("unit", "slow", "gpu")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse tests that do not say what they are.

    Raises:
        UsageError: a test has none of the markers.
    """
    unmarked = [item.nodeid for item in items if not any(item.get_closest_marker(name) for name in MARKERS)]
    if unmarked:
        raise pytest.UsageError(f"tests without a marker ({', '.join(MARKERS)}): {', '.join(unmarked)}")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real test clips: $LIVEDUB_TEST_DATA, or `shared/data` beside the repository; skips without it."""
    if named := os.environ.get("LIVEDUB_TEST_DATA"):
        folder = Path(named)
        if not folder.is_dir():
            pytest.fail(f"LIVEDUB_TEST_DATA names {folder}, which is not a folder")
        return folder
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no test data: set LIVEDUB_TEST_DATA to a folder with clips/, speech/ and faces/")
    return folder


@pytest.fixture(scope="session")
def weights() -> Callable[[str], Path]:
    """Gives the path of public weights by name, fetching them at need; skips when they cannot be had."""
    failed: dict[str, str] = {}

    def get(name: str) -> Path:
        archive = weight_cache.entry(name).archive
        if archive not in failed:
            try:
                return weight_cache.path(name)
            except WeightsError as error:
                failed[archive] = str(error)
        pytest.skip(f"weights {name} cannot be had: {failed[archive]}")

    return get
