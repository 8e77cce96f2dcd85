"""Errors of Graph calls have useful messages that reveal no secrets."""

import pytest

from waypost.cloudapi.graph.errors import (
    NO_CODE,
    GraphError,
    GraphOutcomeUnknown,
    GraphRefused,
    GraphUnreachable,
    Verdict,
)


@pytest.mark.parametrize("kind", [GraphRefused, GraphUnreachable, GraphOutcomeUnknown])
def test_every_failure_of_a_call_is_a_graph_error(kind: type[Exception]) -> None:
    """Every failure of a call is a `GraphError`. A caller can catch them all with this class."""
    assert issubclass(kind, GraphError)


def test_a_refusal_shows_code_subcode_and_our_own_title() -> None:
    """The message of a refusal shows the code, the subcode and our own title.

    A reader can look these up. The message quotes no text of Meta.
    """
    error = GraphRefused(190, 401, subcode=463, details="Session of somebody has expired")
    assert str(error) == "access token is invalid or has expired (code 190/463)"


def test_a_refusal_without_a_code_shows_the_status() -> None:
    """A refusal without a code shows the HTTP status. If a proxy responded, the status is the only information."""
    assert str(GraphRefused(NO_CODE, 404)) == "error unknown to this version (HTTP 404)"


def test_a_refusal_by_this_client_is_final_and_names_no_status() -> None:
    """A refusal by this client is final and names no HTTP status.

    A second attempt would be refused too. A call that was not sent has no HTTP status.
    """
    error = GraphRefused.by_client("not sent: the given media_id is not an id")
    assert error.verdict is Verdict.FINAL
    assert str(error) == "not sent: the given media_id is not an id"
