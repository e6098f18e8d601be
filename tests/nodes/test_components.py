"""Components of connected nodes: notes of half passes concern one component alone, and each warns once."""

import gc

import pytest
from interrupts import events
from small_graphs import SHIFTED, line, show, warned_of

import cgraph as CG
from cgraph._kernels.runtime.uninterrupted import Component


def call_of_a_graph(nodes):
    x, t, _, loss = nodes
    graph = CG.Graph(loss)

    def call():
        graph.predict({x: [[1.0]], t: [[2.0]]})
        graph.forward()

    return call


def call_of_nodes(nodes):
    x, t, _, loss = nodes

    def call():
        show((x, t), (1.0, 2.0))
        loss.backwardPropagation()
        loss.update(0.1)

    return call


@pytest.mark.thread_unsafe(reason="traces")
@pytest.mark.parametrize("make", [call_of_a_graph, call_of_nodes])
def test_nodes_that_wait_elsewhere_take_no_time(make):
    """Nodes that wait in other graphs cost no lines of Python."""
    call = make(line())
    call()
    alone = events(call)
    strangers = [line() for _ in range(100)]
    for x, t, y, loss in strangers:
        show((x, t), (1.0, 2.0))
        CG.MSE(y, t)
        loss.backwardPropagation()
        show([x], [1.0])
        y.f_count = 1
    assert all(x._left_forward and loss._left_backward for x, _, _, loss in strangers)
    assert events(call) == alone


def link_by_constructor(nodes):
    CG.Concatenation(nodes)


def link_by_push(nodes):
    leaf = CG.Leaf1(1)
    for node in nodes:
        leaf.pushThis(node)


@pytest.mark.parametrize("link", [link_by_constructor, link_by_push])
def test_graphs_that_become_one_keep_their_notes_and_share_their_warnings(link):
    lines = [line() for _ in range(5)]
    for x, *_ in lines[::2]:
        show([x], [1.0])
    for pair in (lines[:2], lines[2:4], lines[1:3], lines[3:]):
        link([y for *_, y, _ in pair])
    losses = [loss for *_, loss in lines]
    for x, t, *_ in lines:
        show((x, t), (1.0, 2.0))
    assert [warned_of(loss.backwardPropagation) for loss in losses] == [SHIFTED, None] * 2 + [
        SHIFTED
    ]
    with pytest.warns(RuntimeWarning, match=SHIFTED):
        losses[4].backwardPropagation()
    assert warned_of(losses[0].backwardPropagation) is None


def test_a_graph_that_joins_one_that_was_warned_of_is_not_warned_of_again():
    lines = [line(), line()]
    for x, t, *_ in lines:
        show([x], [1.0])
        show((x, t), (1.0, 2.0))
    with pytest.warns(RuntimeWarning, match=SHIFTED):
        lines[1][3].backwardPropagation()
    assert warned_of(lines[0][3].backwardPropagation) == SHIFTED
    link_by_constructor([y for *_, y, _ in lines])
    assert warned_of(lines[0][3].backwardPropagation) is None


def test_a_graph_that_was_cut_is_warned_of_anew():
    x, t, _, end = line()
    for _ in range(2):
        show([x], [5.0])
        show((x, t), (1.0, 2.0))
        with pytest.warns(RuntimeWarning, match=SHIFTED):
            end.backwardPropagation()
        assert warned_of(end.backwardPropagation) is None
        show([x], [5.0])
        noted = x._component.root().forward
        assert noted
        end.cut()
        assert not noted
        end = CG.MSE(x, t)


def test_nothing_is_noted_of_what_a_graph_has_computed():
    x, _, _, loss = line()
    graph = CG.Graph(loss)
    show([x], [5.0])
    assert x._component.root().forward
    graph.forward()
    assert not x._component.root().forward


def test_what_gradcheck_computes_aside_forgets_nothing():
    x, t, _, loss = line()
    graph = CG.Graph(loss)
    show([x], [5.0])
    show((x, t), (1.0, 2.0))
    CG.gradcheck(graph, mode="projection")
    assert warned_of(loss.backwardPropagation) == SHIFTED


def test_a_node_that_is_gone_is_no_longer_noted():
    x, _, y, _ = line()
    for _ in range(2):
        probe = CG.Add(y, CG.Leaf1(1))
        probe.backward[1].forwardPropagation()
        noted = x._component.root().forward
        assert len(noted) == 1
        probe.detach()
        del probe
        gc.collect()
        assert not noted


def path(component):
    """Returns the components from one to its root."""
    found = []
    while component is not None:
        found.append(component)
        component = next((c for c in gc.get_referents(component) if type(c) is Component), None)
    return found


@pytest.mark.parametrize("flip", [False, True])
def test_the_path_to_what_all_share_is_short(flip):
    """The path is short for any number and order of joined graphs, so that freeing it needs no deep recursion."""
    leaves = [CG.Leaf1(1) for _ in range(1025)]
    first = leaves[0]._component
    end = leaves[0]
    for leaf in leaves[1:]:
        end = CG.Add(leaf, end) if flip else CG.Add(end, leaf)
    assert 1 <= max(len(path(leaf._component)) for leaf in leaves) <= 11
    assert path(first)[-1] is end._component.root()
