"""The schedules of other trainers: every line of ours gives their formula, and the pages show these lines."""

import json

import pytest

from experiments.schedules import coverage
from experiments.schedules.peers import LIBRARIES, ROWS


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.library}: {row.theirs}")
def test_a_line_gives_what_their_configuration_gives(row):
    assert coverage.error(row) <= coverage.TOLERANCE


def test_a_changed_line_is_noticed():
    row = ROWS[0]._replace(ours="piecewise_constant([0.15, 0.3], [6])")
    assert coverage.error(row) > 0.1


@pytest.mark.parametrize("name", coverage.PAGES)
def test_a_page_has_the_table(name):
    found, wanted = coverage.page(name)
    assert found == wanted, "python experiments/schedules/coverage.py --write"


def test_the_counts_are_of_this_list():
    counts = json.loads(coverage.OUT.read_text())["libraries"]
    assert {library: counts[library]["rows"] for library in LIBRARIES} == {
        library: len(rows) for library, rows in LIBRARIES.items()
    }
    assert all(one["equal"] == one["rows"] for one in counts.values())
