"""values.yaml explains every key, and the chart's README repeats it as a table."""

import re

from tools.generate import chart_values

from .rendered import CHART


def _meanings(text: str) -> dict[str, str]:
    return {key.name: key.meaning for key in chart_values.keys(text)}


def test_every_key_is_explained() -> None:
    """Every key of values.yaml, at any depth, has its own comment directly above it. Groups have a comment too."""
    unexplained = [name for name, meaning in _meanings((CHART / "values.yaml").read_text()).items() if not meaning]

    assert unexplained == []


def test_every_explanation_is_a_sentence() -> None:
    """Every explanation begins with a capital letter or a value and ends with a full stop.

    Otherwise, the lines would run together.
    """
    for name, meaning in _meanings((CHART / "values.yaml").read_text()).items():
        assert meaning[0].isupper() or meaning[0] == "`", name
        assert meaning.endswith("."), name


def test_links_of_the_readme_lead_somewhere() -> None:
    """Every relative link in the chart's README names a file of the repository."""
    targets = re.findall(r"\]\(([^)#:]+)\)", (CHART / "README.md").read_text())

    assert targets
    assert [target for target in targets if not (CHART / target).exists()] == []


def test_an_explanation_belongs_to_the_key_directly_below_it() -> None:
    """A comment explains only the key directly below it.

    It explains no key if a blank line, another key or the brace of a flow mapping is between the two. It explains
    no key either if its indentation differs from that of the key.
    """
    text = """\
# About the file.

# About one,
# in two lines.
one: 1
two: 2
# About group.
group:
  three: 3
# About flow.
flow: {four: 4}
"""

    assert _meanings(text) == {
        "one": "About one, in two lines.",
        "two": "",
        "group": "About group.",
        "group.three": "",
        "flow": "About flow.",
        "flow.four": "",
    }


def test_a_row_shows_the_default_as_yaml_takes_it() -> None:
    """A row of the table shows the default value as YAML.

    A text keeps its quotation marks. A group has no default. A bar in an explanation does not end the cell.
    """
    page = chart_values.page('# One | two.\na: "0.1"\n# Group.\nb:\n  # Inside.\n  c: [1, "ü"]\n')

    assert '| `a` | `"0.1"` | One \\| two. |' in page
    assert "## b\n\nGroup.\n" in page
    assert '| `b.c` | `[1, "ü"]` | Inside. |' in page
