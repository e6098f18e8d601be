"""Parameter files whose numbers are all equal, so that a half-written file can be recognised."""

import threading

import numpy as np

import cgraph as CG


def graph_of(value, size=3):
    """A graph with two parameters, all of whose numbers are `value`."""
    first = CG.Affine(CG.Leaf1(size), np.full((size + 1, size), float(value)))
    return CG.Affine(first, np.full((size + 1, 1), float(value)))


def save(path, value):
    CG.save_parameters(path, graph_of(value), {"value": value})


def saved_value(path):
    """Returns the value in a file, which must be complete."""
    graph = graph_of(-1)
    value = CG.load_parameters(path, graph)["value"]
    for item in CG.parameters(graph):
        np.testing.assert_array_equal(item.value, value)
    return value


def save_often(path, *values, count=40):
    for i in range(count):
        save(path, values[i % len(values)])


def in_threads(*calls):
    """Runs all calls at once; the exception of any of them is raised here."""
    raised = []

    def run(call):
        try:
            call()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]
