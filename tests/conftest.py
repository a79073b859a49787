"""Shared switches, Hypothesis profile, and the rule that nothing is skipped."""

import os
import tempfile
from collections.abc import Iterator

# Tests run beside each other, one to a core. Where libraries start a thread per core in each, threads spend
# their time waiting for one another. They read this as they load, so it comes before any of them.
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "gatefold",
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
)
settings.load_profile("gatefold")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A skipped test is a failed run: a check that lost its tool must not pass in silence."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and reporter.stats.get("skipped") and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session", autouse=True)
def own_cache() -> Iterator[None]:
    """A cache of compiled programs that begins empty: the user's says nothing about these sources."""
    with tempfile.TemporaryDirectory(prefix="gatefold-tests-") as folder:
        os.environ["GATEFOLD_CACHE"] = folder
        yield
        del os.environ["GATEFOLD_CACHE"]


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))
