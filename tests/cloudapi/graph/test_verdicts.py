"""The verdict table covers every code that Meta documents, and any other number gets a safe verdict."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.cloudapi.graph import errors
from waypost.cloudapi.graph.errors import Verdict, verdict

DOCUMENTED = {
    Verdict.PAUSE_NUMBER: [
        *(0, 190),
        *(10, 200, 219, 299, 131005),
        *(368, 131031),
        *(131048, 131042),
        *(131037, 131045, 133010),
    ],
    Verdict.PAUSE_PAIR: [131056],
    Verdict.RETRY: [4, 80007, 130429, 2200],
    Verdict.AMBIGUOUS: [1, 2, 131000, 131016, 131057, 133004, 2494100],
    Verdict.NEEDS_TEMPLATE: [131047],
    Verdict.OPTED_OUT: [131050],
    Verdict.OPERATOR: [
        *(3, 131063, 131064, 134011),
        *(133000, 133005, 133006, 133008, 133009, 133015, 133016, 136024, 136025),
    ],
    Verdict.FINAL: [
        *(33, 100, 131008, 131009, 131021, 131051, 137000),
        *(130403, 130497, 131026, 131030, 131062),
        *(130472, 131049),
        *(131052, 131053, 131060, 135000),
        *(132000, 132001, 132005, 132007, 132012, 132015, 132016, 132068, 132069),
        *(2388000, 2388023, 2388999, 2593107, 2593108),
    ],
}
ROWS = [(code, expected) for expected, codes in DOCUMENTED.items() for code in codes]
KNOWN = sorted(code for code, _ in ROWS)
STATUSES = [0, 200, 302, 400, 401, 403, 404, 429, 500, 503]


@pytest.mark.fault("G7")
@pytest.mark.parametrize(("code", "expected"), ROWS)
def test_a_documented_code_has_its_verdict(code: int, expected: Verdict) -> None:
    """Each code of Meta's page has the verdict that our research gives it."""
    assert verdict(code, 400) is expected


@pytest.mark.parametrize("code", KNOWN)
def test_the_http_status_never_decides_if_the_code_is_known(code: int) -> None:
    """If the code is known, the HTTP status does not change the verdict.

    Meta says that clients should decide by the code. The same code comes with different statuses.
    """
    assert len({verdict(code, status) for status in STATUSES}) == 1


@pytest.mark.parametrize("code", KNOWN)
def test_a_documented_code_has_a_title_and_a_reason(code: int) -> None:
    """Each documented code has a title and a reason.

    A person who reads a failure learns what it is and why it was judged in this way.
    """
    assert errors.title(code)
    assert errors.reason(code)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, Verdict.FINAL),
        (404, Verdict.FINAL),
        (429, Verdict.RETRY),
        (499, Verdict.FINAL),
        (500, Verdict.AMBIGUOUS),
        (503, Verdict.AMBIGUOUS),
        (200, Verdict.AMBIGUOUS),
        (302, Verdict.AMBIGUOUS),
        (0, Verdict.AMBIGUOUS),
    ],
)
def test_an_unknown_code_is_judged_by_its_status_and_with_caution(status: int, expected: Verdict) -> None:
    """An unknown code is judged by its HTTP status.

    A call that may have been processed is never called safe to repeat.
    """
    assert verdict(987654321, status) is expected


@given(st.integers(), st.integers())
def test_any_code_with_any_status_has_a_verdict(code: int, status: int) -> None:
    """Every code with every status has a verdict. No response of Meta makes the function raise."""
    assert verdict(code, status) in Verdict


@given(st.sampled_from(DOCUMENTED[Verdict.AMBIGUOUS]), st.integers())
def test_an_ambiguous_code_is_never_judged_safe_to_repeat(code: int, status: int) -> None:
    """An ambiguous code is never judged safe to repeat.

    The message may have been sent. No HTTP status, not even 429, changes this verdict to a retry.
    """
    assert verdict(code, status) is Verdict.AMBIGUOUS


@given(st.integers(), st.integers().filter(lambda status: status != 429))
def test_only_rate_limits_and_callback_checks_are_repeated(code: int, status: int) -> None:
    """Only the codes for rate limits and callback checks are repeated.

    A retry needs proof that nothing was processed. No other code gives this proof.
    """
    assert (verdict(code, status) is Verdict.RETRY) == (code in DOCUMENTED[Verdict.RETRY])


@given(st.integers(), st.integers())
def test_only_codes_for_a_pause_pause_a_number(code: int, status: int) -> None:
    """Only certain codes pause a number. An unknown error may fail a message, but does not pause a number."""
    pausing = code in DOCUMENTED[Verdict.PAUSE_NUMBER] or 200 <= code <= 299
    assert (verdict(code, status) is Verdict.PAUSE_NUMBER) == pausing
