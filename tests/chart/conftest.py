"""Fixtures for the chart's tests. The fixtures that render the chart need helm."""

import pytest

from .rendered import VALUES, Rendered, render, tool


@pytest.fixture(scope="session")
def helm() -> None:
    """Skips the test if there is no helm."""
    if tool("helm") is None:
        pytest.skip("no helm")


@pytest.fixture(params=VALUES)
def chart(helm: None, request: pytest.FixtureRequest) -> Rendered:
    """Renders the chart with each of its values files."""
    return render(request.param)


@pytest.fixture
def production(helm: None) -> Rendered:
    """Renders the chart with the example values for production."""
    return render("production")


@pytest.fixture
def trial(helm: None) -> Rendered:
    """Renders the chart with the values of a trial. They enable everything, including a simulated Meta."""
    return render("trial")
