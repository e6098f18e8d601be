"""The programs on docs/learn/programs.md take at most half of the lines that they took a newcomer by hand."""

import pytest
from pages import Page

# The lines that set up cgraph, without data, environment and plots, before there were layers, models, fit and files.
BY_HAND = {
    "XOR": 10,
    "Three kinds of iris": 20,
    "Regression with early stopping and a schedule": 29,
    "A convolutional network for digits": 19,
    "A stream that drifts": 16,
    "Adam": 31,
    "Save here, load in a new process": 18,
    "DQN": 47,
    "A siamese network": 15,
    "Dropout, weight decay and clipping": 32,
    "Freezing": 21,
    "Two losses with weights": 11,
    "Two Graphs in two threads": 19,
}
# The last block of each section is all that cgraph needs.
PROGRAMS = {title: code for title, code in Page("docs/learn/programs.md").code() if title}


def test_the_page_has_all_programs():
    assert [*PROGRAMS] == [*BY_HAND]


@pytest.mark.parametrize("title", BY_HAND)
def test_a_program_takes_at_most_half_of_the_lines(title):
    lines = [line for line in PROGRAMS[title].splitlines() if line.strip()]
    assert len(lines) <= BY_HAND[title] / 2
