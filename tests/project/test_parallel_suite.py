"""When the suite runs in a process for each processor: whole, by pytest-xdist, and if nothing else is asked for."""

from types import SimpleNamespace

import pytest
from conftest import pytest_cmdline_main

Source = pytest.Config.ArgsSource
OPTIONS = {"usepdb": False, "capture": "fd", "collectonly": False, "dist": "no"}
CASES = {
    "whole": ({"numprocesses": None}, Source.TESTPATHS, "auto"),
    "without the plugin": ({}, Source.TESTPATHS, "none"),
    "a number": ({"numprocesses": 0}, Source.TESTPATHS, 0),
    "names": ({"numprocesses": None}, Source.ARGS, None),
    "threads": ({"numprocesses": None, "parallel_threads": 4}, Source.TESTPATHS, None),
    "a debugger": ({"numprocesses": None, "usepdb": True}, Source.TESTPATHS, None),
    "no capture": ({"numprocesses": None, "capture": "no"}, Source.TESTPATHS, None),
}


@pytest.mark.parametrize("worker", [False, True])
@pytest.mark.parametrize(("options", "source", "expected"), CASES.values(), ids=CASES)
def test_the_whole_suite_takes_all_processors_and_a_part_of_it_one(
    options, source, expected, worker
):
    option = SimpleNamespace(**OPTIONS | options)
    config = SimpleNamespace(option=option, args_source=source, ArgsSource=Source)
    if worker:
        config.workerinput = {}
        expected = options.get("numprocesses", "none")
    pytest_cmdline_main(config)
    assert getattr(option, "numprocesses", "none") == expected
    assert option.dist == ("worksteal" if expected == "auto" else "no")
