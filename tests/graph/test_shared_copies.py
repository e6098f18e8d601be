"""Copies of shared parameters that are taken while another thread learns are of one moment."""

import io

import numpy as np
import pytest
from test_shared_calls import difference

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
