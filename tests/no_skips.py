"""A pytest plug-in for machines that have all data: with LIVEDUB_REQUIRE_DATA=1 a skipped test fails with its reason.

Load it with `-p tests.no_skips`. A skip hides a test; where data, weights and extras are at hand nothing may hide.
"""

import os
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("LIVEDUB_REQUIRE_DATA") == "1":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"must run here (LIVEDUB_REQUIRE_DATA=1) but was skipped: {reason}"
    return report
