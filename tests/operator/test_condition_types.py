"""Scripts and alerts of users rely on the words of conditions, so a word changes only with its member's name."""

from enum import StrEnum

import pytest

from waypost.contracts.condition_types import ConditionStatus, ConditionType, Reason


@pytest.mark.parametrize("member", [*ConditionStatus, *ConditionType, *Reason], ids=str)
def test_a_word_is_its_members_name_in_camel_case(member: StrEnum) -> None:
    """A reader of the code finds the word that `kubectl describe` shows, and the other way round."""
    assert member.value == "".join(part.title() for part in member.name.split("_"))
