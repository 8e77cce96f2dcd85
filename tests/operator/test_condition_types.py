"""Users' scripts and alerts rely on the words in conditions. A word changes only if its enum member is renamed."""

from enum import StrEnum

import pytest

from waypost.contracts.condition_types import ConditionStatus, ConditionType, Reason


@pytest.mark.parametrize("member", [*ConditionStatus, *ConditionType, *Reason], ids=str)
def test_a_word_is_its_members_name_in_camel_case(member: StrEnum) -> None:
    """Each word is its member's name in camel case.

    So a reader can find the member in the code for a word in `kubectl describe`, and the other way round.
    """
    assert member.value == "".join(part.title() for part in member.name.split("_"))
