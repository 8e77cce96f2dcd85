"""Tests that every action of a schedule has all its parts."""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import waypost.schedule.actions
from waypost.schedule.actions.action import ScheduleAction
from waypost.schedule.actions.table import ACTIONS, Action

MODULES = sorted(
    module.name
    for module in pkgutil.iter_modules(waypost.schedule.actions.__path__)
    if module.name not in {"action", "table"}
)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_of_actions_is_in_the_table(module: str) -> None:
    """The table contains every module of actions. An action outside the table can neither be declared nor run."""
    action = importlib.import_module(f"waypost.schedule.actions.{module}").ACTION

    assert isinstance(action, ScheduleAction)
    assert action in ACTIONS.values()


def test_spec_action_has_one_field_per_action() -> None:
    """`spec.action` has one field for each action. The fields have the same names and models as the table."""
    fields = {field.alias: field.annotation for field in Action.model_fields.values()}

    assert fields == {name: action.model | None for name, action in ACTIONS.items()}


@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_is_in_the_reference(pytestconfig: pytest.Config, name: str) -> None:
    """The reference describes each action. `make generate` writes the reference."""
    assert f"`spec.action.{name}`" in (pytestconfig.rootpath / "docs/reference/botschedule.md").read_text()


@pytest.mark.parametrize("name", [name for name, action in ACTIONS.items() if action.run is not None])
def test_an_action_that_can_run_has_an_example(pytestconfig: pytest.Config, name: str) -> None:
    """Each action that can run has an example, because users copy examples before they read a reference."""
    assert f"    {name}:" in (pytestconfig.rootpath / "examples/schedule.yaml").read_text()


@pytest.mark.parametrize("name", [name for name, action in ACTIONS.items() if action.run is not None])
def test_an_action_that_can_run_has_a_test_of_its_own(name: str) -> None:
    """Each action that can run is tested by another file of this folder."""
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py") if path != Path(__file__))

    assert f"{ACTIONS[name].model.__name__}" in tests


def test_the_operator_reads_actions_without_a_database_driver() -> None:
    """The table of actions can be imported without SQLAlchemy.

    The operator has no database, and SQLAlchemy would cost it memory and start-up time.
    """
    code = "import sys, waypost.schedule.actions.table; sys.exit('sqlalchemy' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
