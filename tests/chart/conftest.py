"""Fixtures of the chart's tests; those that render need helm."""

import pytest

from .rendered import VALUES, Rendered, render, tool


@pytest.fixture(scope="session")
def helm() -> None:
    """Skips where there is no helm."""
    if tool("helm") is None:
        pytest.skip("no helm")


@pytest.fixture(params=VALUES)
def chart(helm: None, request: pytest.FixtureRequest) -> Rendered:
    """The chart under each of its values files."""
    return render(request.param)


@pytest.fixture
def production(helm: None) -> Rendered:
    """The chart as it is meant to be run."""
    return render("production")


@pytest.fixture
def trial(helm: None) -> Rendered:
    """The chart with everything in it, Meta included."""
    return render("trial")
