"""Copies of parameters that a Graph learns at the same time."""

import io
import sys
import threading

import numpy as np
import pytest
from shared_networks import difference

import cgraph as CG
from cgraph._subclassing import sharing
from cgraph.nodes.learning import LearningNode


def copy_to_clone(node):
    target = CG.clone(node)[node]
    CG.copy_parameters(node, target)
    return [p.value for p in CG.parameters(target)]


def values_in_file(node):
    file = io.BytesIO()
    CG.save_parameters(file, node)
    file.seek(0)
    with np.load(file) as content:
        return [content[name] for name in content.files if name != "cgraph"]


COPIES = {
    "clone": lambda node: [p.value for p in CG.parameters(CG.clone(node)[node])],
    "copy_parameters": copy_to_clone,
    "save_parameters": values_in_file,
    "state_dict": lambda node: [*CG.Graph(node).state_dict().values()],
}


@pytest.mark.parametrize("take", COPIES.values(), ids=COPIES)
def test_copies_beside_learning_are_of_one_moment(take, monkeypatch):
    x, y, t, loss = difference()
    trainer = CG.Graph(loss, threads=1)
    node = CG.clone(y, share=True)[y]
    feed = {x: np.full((4, 8), 0.1), t: np.zeros((4, 1))}
    copy_at_once = sharing.copy_at_once
    peek = LearningNode._peek
    learnt = []

    def learn_and_copy(*arguments):
        """Learns at the last moment, after which all values are new, or all are old in the end."""
        trainer.train(feed, 1e-4)
        learnt.append(trainer.parameters[0].value.copy())
        copy_at_once(*arguments)
        trainer.train(feed, 1e-4)

    def peek_and_learn(*arguments):
        array = peek(*arguments)
        trainer.train(feed, 1e-4)
        return array

    monkeypatch.setattr(sharing, "copy_at_once", learn_and_copy)
    trainer.train(feed, 1e-4)
    with monkeypatch.context() as patch:
        patch.setattr(LearningNode, "_peek", peek_and_learn)
        one, other = take(node)
    np.testing.assert_array_equal(one, other)
    assert any(np.array_equal(one, value) for value in learnt)


def loads(node, value):
    """Returns calls that set the shared parameters of a node to a value: from a file, and from another node."""
    other = CG.clone(node)[node]
    for p in CG.parameters(other):
        p.value = np.full(p.shape, value)
    file = io.BytesIO()
    CG.save_parameters(file, other)
    content = file.getvalue()
    return [
        lambda: CG.load_parameters(io.BytesIO(content), node),
        lambda: CG.copy_parameters(other, node),
    ]


def test_predictions_beside_loading_see_all_of_it_or_nothing():
    x, y, _, _ = difference()
    twin = CG.clone(y, share=True)
    server = CG.Graph(twin[y], threads=1)
    calls = [*loads(y, 2.0), *loads(y, 3.0)]
    done, found = threading.Event(), []

    def serve():
        while not done.is_set():
            found.append(server.predict({twin[x]: np.ones((1, 8))})[0, 0])

    interval, thread = sys.getswitchinterval(), threading.Thread(target=serve)
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        for number in range(200):
            calls[number % 4]()
    finally:
        done.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert found
    assert not np.any(found)
