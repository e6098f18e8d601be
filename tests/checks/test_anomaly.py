"""detect_anomaly names the first number that is not finite."""

import threading

import numpy as np
import pytest

import cgraph as CG
from cgraph._propagation.passes import observing


def graph(kind=CG.Affine):
    x, t = CG.Leaf1(2), CG.Leaf1(1)
    y = kind(x, [[1.0], [1.0], [0.0]])
    return x, t, y, CG.MSE(y, t)


def run(leaves, loss, eta=None):
    for leaf in leaves:
        leaf.forwardPropagation()
    loss.backwardPropagation()
    if eta is not None:
        loss.update(eta)


def test_finite_passes_go_through():
    x, t, _, loss = graph()
    x.getInput([1.0, 2.0])
    with CG.detect_anomaly():
        run((x, t), loss, 0.1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_data_is_named_with_node_element_and_sample(value):
    x, t, _, loss = graph()
    with CG.detect_anomaly():
        for sample in ([1.0, 2.0], [3.0, 4.0]):
            x.getInput(sample)
            run((x, t), loss)
        x.getInput([0.0, value])
        with pytest.raises(CG.AnomalyError) as caught:
            run((x, t), loss)
    error = caught.value
    assert (error.node, error.kind, error.sample) == (x, "data", 2)
    assert str(error) == f"{x!r}: data[1] is {value} in sample 2"


def test_a_gradient_is_named_with_the_node_that_added_it():
    class Diverging(CG.ReLU):
        def calcPartialDerivative(self):
            self.backward[0].grad[1] += np.inf

    x = CG.Leaf1(2)
    node = Diverging(x)
    loss = CG.Norm2(node)
    x.getInput([1.0, 2.0])
    with CG.detect_anomaly(), pytest.raises(CG.AnomalyError, match=r"backward\[0\].grad\[1\]") as e:
        run((x,), loss)
    assert (e.value.node, e.value.kind) == (node, "gradient")
    assert node.f_count == x.f_count == 0


def test_a_gradient_sum_is_named():
    class Diverging(CG.Affine):
        def calcPartialDerivative(self):
            self.gradWeight[1, 0] = np.nan

    x, t, y, loss = graph(Diverging)
    with CG.detect_anomaly(), pytest.raises(CG.AnomalyError, match="gradient of weight") as caught:
        run((x, t), loss)
    assert (caught.value.node, caught.value.kind) == (y, "gradient")


def test_a_parameter_is_named():
    x, t, y, loss = graph()
    x.getInput([1e150, 1.0])
    t.getInput([-1e150])
    with CG.detect_anomaly(), pytest.raises(CG.AnomalyError, match=r"weight\[0, 0\]") as caught:
        run((x, t), loss, 1e20)
    assert (caught.value.node, caught.value.kind) == (y, "parameter")


def test_nothing_is_watched_outside_the_context():
    x, t, _, loss = graph()
    x.getInput([np.nan, 0.0])
    with CG.detect_anomaly():
        pass
    run((x, t), loss)


def test_passes_of_other_threads_are_not_watched():
    x, t, _, loss = graph()
    x.getInput([np.nan, 0.0])
    failures = []

    def other():
        try:
            run((x, t), loss)
        except CG.AnomalyError as error:
            failures.append(error)

    with CG.detect_anomaly():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert failures == []


def test_every_observer_of_nested_contexts_is_told():
    x = CG.Leaf1(1)
    told = {"outer": [], "inner": []}

    def observer(name):
        return lambda method, node: told[name].append((method, node))

    with observing(observer("outer")):
        with observing(observer("inner")):
            x.forwardPropagation()
        x.backwardPropagation()
    x.forwardPropagation()
    assert told["inner"] == [("calcData", x)]
    assert told["outer"] == [("calcData", x), ("calcPartialDerivative", x)]
