"""Targets made of labels."""

import numpy as np
import pytest

import cgraph as CG


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["u1", "i2", ">i4", "i8", "u8"])
def test_each_label_becomes_a_row_of_the_identity(kind, dtype):
    labels = np.array([[2, 0], [1, 2]], kind)
    rows = CG.one_hot(labels, 3, dtype=dtype)
    assert rows.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(rows, np.eye(3)[labels.astype(int)])


def test_a_single_label_is_one_row_and_no_labels_are_none():
    assert CG.one_hot(1, 2).tolist() == [0, 1]
    assert CG.one_hot([], 2).shape == (0, 2)


def test_the_rows_are_what_a_loss_of_logits_reads():
    x, t = CG.Leaf1(3), CG.Leaf1(3)
    losses = CG.Graph(CG.SoftmaxCEE(x, t)).predict({x: np.zeros((2, 3)), t: CG.one_hot([2, 0], 3)})
    np.testing.assert_allclose(losses, np.log(3))
