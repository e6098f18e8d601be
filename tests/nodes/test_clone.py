"""CG.clone: what is copied, what stays as it is, and what is refused."""

import gc
import threading
import weakref

import numpy as np
import pytest

import cgraph as CG


def network(dtype="float64"):
    """Returns a leaf, a target and a loss over filters, dropout, normalisation and a node that is read twice."""
    rng = np.random.default_rng(0)
    x, t = CG.Leaf2(6, 5, dtype=dtype), CG.Leaf1(3, dtype=dtype)
    maps = [CG.Convolution2d([x], rng.normal(size=(1, 3, 3)), k / 7) for k in range(3)]
    pools = [CG.MaxPooling2d(CG.Tanh(each), 2, 2, 2, crop=True) for each in maps]
    joined = CG.Dropout(CG.Concatenation(pools), 0.25, seed=5)
    normal = CG.LayerNorm(joined, rng.normal(size=joined.size), rng.normal(size=joined.size))
    hidden = CG.Affine(normal, rng.normal(size=(joined.size + 1, 3)), bias=0.5)
    return x, t, CG.MSE(CG.Mul(hidden, hidden), t)


def feed(x, t, count, seed=1):
    rng = np.random.default_rng(seed)
    return {
        node: rng.normal(size=(count, node.size)).astype(node.dtype, copy=False) for node in (x, t)
    }


def state(node):
    """Returns all that a clone must leave as it is: attributes of nodes, their lists, and contents of arrays."""
    found = []
    for each in CG.ancestors(node):
        found += [each, list(each.forward), list(each.backward), each.f_count, each.b_count]
        found += [each._data.tobytes(), each._has_run, each._residency, each._frozen]
        found += [p._peek().tobytes() for p in CG.parameters(each) if p.node is each]
    return found


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("layout", ["samples", "lanes"])
def test_a_clone_learns_what_the_graph_would_have_learnt(dtype, layout):
    x, t, loss = network(dtype)
    graph = CG.Graph(loss, layout=layout)
    graph.train(feed(x, t, 21), 0.01, batch=4)
    before = state(loss)
    twin = CG.clone(loss)
    assert state(loss) == before
    assert all(node._residency is None for node in twin.values())
    other = CG.Graph(twin[loss], layout=layout)
    expected = graph.train(feed(x, t, 13, 2), 0.01, batch=4)
    actual = other.train(feed(twin[x], twin[t], 13, 2), 0.01, batch=4)
    assert actual.tobytes() == expected.tobytes()
    for ours, theirs in zip(graph.parameters, other.parameters, strict=True):
        assert ours.value.tobytes() == theirs.value.tobytes()
        assert not np.shares_memory(ours.value, theirs.value)


def test_the_two_graphs_are_not_connected():
    x, _, loss = network()
    twin = CG.clone(loss)
    assert list(twin) == CG.ancestors(loss)
    old, new = set(twin), set(twin.values())
    assert old.isdisjoint(new)
    assert all({*node.forward, *node.backward} <= new for node in new)
    assert all({*node.forward, *node.backward} <= old for node in old)
    loss.cut()
    twin[x].getInput(np.ones(30))
    assert CG.evaluate(twin[loss]).shape == (1,)


def test_a_clone_does_not_keep_the_original_alive():
    x, _, loss = network()
    twin, old = CG.clone(loss)[loss], weakref.ref(x)
    loss.cut()
    del x, _, loss
    gc.collect()
    assert old() is None
    assert len(CG.ancestors(twin)) == 17


def test_the_way_nodes_are_connected_is_kept():
    x = CG.Leaf1(2)
    square, both = CG.Mul(x, x), CG.Concatenation([x, x])
    ends = [CG.Sum(square), CG.Mean(both)]
    twin = CG.clone(ends)
    assert list(twin) == [x, square, ends[0], both, ends[1]]
    assert twin[square].backward == twin[both].backward == [twin[x], twin[x]]
    assert twin[x].forward == [twin[square]] * 2 + [twin[both]] * 2
    assert [twin[end] for end in ends] == [*twin[square].forward, *twin[both].forward]


def test_nodes_that_are_no_ancestors_are_left_out():
    x = CG.Leaf1(2)
    y, z = CG.Exp(x), CG.Log(x)
    twin = CG.clone(y)
    assert z not in twin
    assert twin[x].forward == [twin[y]]


def test_data_of_leaves_are_copied_if_they_were_ever_given_any():
    given, fresh, matrix = CG.Leaf1(2), CG.Leaf1(2), CG.Leaf2(2, 2, dtype="float32")
    given.getInput([1, np.nan])
    matrix.getInput([[1, 2], [3, -0.0]])
    twin = CG.clone([given, fresh, matrix])
    assert [twin[node]._is_given for node in (given, fresh, matrix)] == [True, False, True]
    assert twin[given]._data.tobytes() == given._data.tobytes()
    assert twin[matrix]._data.tobytes() == matrix._data.tobytes()
    assert not fresh._is_given
    twin[given].getInput([5, 6])
    assert given.data[0] == 1


def test_a_leaf_without_data_is_missed_in_the_clone_too():
    x, _, loss = network()
    twin = CG.clone(loss)
    with pytest.raises(ValueError, match="never given data"):
        CG.Graph(twin[loss]).predict({twin[x]: np.ones((1, 30))})


def test_what_learns_and_the_numbers_of_samples_are_copied():
    x, t, loss = network()
    ours = CG.parameters(loss)
    for parameter in ours[::2]:
        parameter.trainable = False
    graph = CG.Graph(loss)
    graph.accumulate(feed(x, t, 5))
    twin = CG.clone(loss)
    theirs = CG.parameters(twin[loss])
    assert [p.trainable for p in theirs] == [p.trainable for p in ours]
    assert all(not p.grad.any() for p in theirs)
    assert any(p.grad.any() for p in ours)
    (masks,) = [node for node in twin if isinstance(node, CG.Dropout)]
    assert (twin[masks].samples, masks.samples) == (5, 5)
    twin[masks].samples = 7
    theirs[0].trainable = True
    assert masks.samples == 5
    assert not ours[0].trainable


def test_values_that_users_have_written_and_not_given_back_are_copied():
    x, t, loss = network()
    views = [p.value for p in CG.parameters(loss)]
    graph = CG.Graph(loss)
    graph.step(feed(x, t, 9), 0.01)
    for k, view in enumerate(views):
        view[...] = k
    assert [p.value.flat[0] for p in CG.parameters(CG.clone(loss)[loss])] == [*range(len(views))]


def test_a_clone_of_nodes_of_a_stale_graph_has_the_present_values():
    x, t, loss = network()
    stale = CG.Graph(loss)
    stale.step(feed(x, t, 3), 0.01)
    CG.Graph(loss).step(feed(x, t, 3), 0.01)
    twin = CG.clone(stale.nodes[-1])
    for ours, theirs in zip(CG.parameters(loss), CG.parameters(twin[loss]), strict=True):
        assert ours.value.tobytes() == theirs.value.tobytes()


def test_a_clone_amid_a_pass_begins_at_the_beginning():
    x, y = CG.Leaf1(2), CG.Leaf1(2)
    end = CG.Sum(CG.Mul(x, y))
    x.forwardPropagation()
    twin = CG.clone(end)
    assert all(node.f_count == node.b_count == 0 for node in twin.values())
    assert not twin[end]._has_run
    y.forwardPropagation()
    end.backwardPropagation()


class Cloning(CG.Node):
    """The identity, which calls a function while it computes."""

    def __init__(self, node, function=None):
        super().__init__(node.size, node.height, node.width, [node])
        self.function = function

    def calcData(self):
        self.data = self.backward[0].data
        if self.function:
            self.function()


def test_nodes_of_a_running_graph_are_refused():
    x = CG.Leaf1(2)
    y = CG.Affine(x, np.ones((3, 2)))
    end = CG.Sum(Cloning(y, lambda: CG.clone(y)))
    graph = CG.Graph(end)
    with pytest.raises(RuntimeError, match="clone: nodes must not belong to a Graph that is runn"):
        graph.predict({x: [[1, 2]]})
    assert y.forward == [end.backward[0]]
    assert x.forward == [y]
    assert graph.predict({x: [[1, 2]]}, y).tolist() == [[4, 4]]


@pytest.mark.thread_unsafe(reason="starts threads")
def test_a_graph_cannot_learn_while_it_is_cloned():
    """The values are those of one moment: the constructor of an own class tries to learn while they are read."""
    x, graphs, seen = CG.Leaf1(2), [], []

    class Learning(CG.Affine):
        _arguments = CG.Affine._arguments

        def __init__(self, node, Weight, bias=1):
            super().__init__(node, Weight, bias)
            for graph in graphs:
                thread = threading.Thread(target=learn, args=(graph,))
                thread.start()
                thread.join()

    def learn(graph):
        try:
            graph.step({x: [[1, 2]]}, 0.1)
        except RuntimeError as error:
            seen.append(str(error))

    end = CG.Sum(Learning(x, np.ones((3, 2))))
    graphs.append(CG.Graph(end))
    twin = CG.clone(end)
    assert seen == ["Graph.step: is already running, in another thread or in a node's own method"]
    assert np.all(twin[end].backward[0].weight == 1)
    graphs[0].step({x: [[1, 2]]}, 0.1)


# Classes of users


class Scaled(CG.Node):
    """d = w x, with a parameter whose values the constructor does not take."""

    _parameters = (("w", "dw"),)

    def __init__(self, node, name, *, power=1):
        super().__init__(node.size, node.height, node.width, [node])
        self.name, self.power = name, power
        self.w = np.ones(node.size, node.dtype)
        self.dw = np.zeros_like(self.w)

    def _config(self):
        return {"name": self.name, "power": self.power}

    def calcData(self):
        self.data = self.w * self.backward[0].data ** self.power


class Joined(CG.Node):
    """The sum of some nodes, which come as one sequence."""

    _input_argument = "parts"

    def __init__(self, parts):
        super().__init__(parts[0].size, parts[0].height, parts[0].width, parts)

    def calcData(self):
        self.data = sum(node.data for node in self.backward)


class ByHand(CG.Node):
    """Attaches itself."""

    def __init__(self, node1, node2):
        super().__init__(node1.size, node1.height, node1.width, dtype=node1.dtype)
        for node in (node1, node2):
            self.backward.append(node)
            self.pushThis(node)


class Plain(CG.Node):
    """Has the constructor of Node."""

    def calcData(self):
        self.data = self.backward[0].data


class Dense(CG.Affine):
    """A layer of zeros, with a constructor of its own."""

    def __init__(self, node, units):
        super().__init__(node, np.zeros((node.size + 1, units)))

    def _config(self):
        return {"units": self.size}


class Head(CG.Affine):
    """A layer that does not learn, with the constructor of Affine."""

    _parameters = ()
