"""Files, state dicts and optimisers hold parameters that several nodes share once."""

import io

import numpy as np
import pytest
from shared_networks import MAKERS, nodes_of

import cgraph as CG

every_maker = pytest.mark.parametrize("name", MAKERS)


@every_maker
def test_a_file_has_each_parameter_once(name):
    loss, other = nodes_of(name, "float64")[-1], nodes_of(name, "float64")[-1]
    for p in CG.parameters(loss):
        p.value[...] = np.random.default_rng(p.value.size).normal(size=p.shape)
    file = io.BytesIO()
    CG.save_parameters(file, loss)
    file.seek(0)
    names = [name for name in np.load(file).files if name[0].isdigit()]
    assert len(names) == len(CG.parameters(loss)) == len({id(p) for p in CG.parameters(loss)})
    for target in (other, CG.Graph(other)):
        file.seek(0)
        CG.load_parameters(file, target)
        for p, q in zip(CG.parameters(loss), CG.parameters(other), strict=True):
            np.testing.assert_array_equal(p.value, q.value)


@every_maker
def test_a_state_dict_has_each_parameter_once(name):
    loss, other = nodes_of(name, "float64")[-1], nodes_of(name, "float64")[-1]
    graph, twin = CG.Graph(loss), CG.Graph(other)
    for p in CG.parameters(loss):
        p.value *= 2
    state = graph.state_dict()
    assert len(state) == len(graph.parameters)
    twin.load_state_dict(state)
    for p, q in zip(graph.parameters, twin.parameters, strict=True):
        np.testing.assert_array_equal(p.value, q.value)


def test_settings_of_any_node_are_those_of_the_parameter():
    nodes = nodes_of("siamese", "float64")
    graph = CG.Graph(nodes[-1])
    twins = [node for node in nodes if node._sharing][-1]
    (shared,) = [p for p in graph.parameters if twins in p.nodes]
    values = [p.value.copy() for p in graph.parameters]
    rng = np.random.default_rng(0)
    feed = {leaf: rng.normal(size=(4, leaf.size)) for leaf in graph.leaves}
    graph.step(feed, CG.SGD(0.1, groups={twins: {"lr": 0.0}}))
    for p, value in zip(graph.parameters, values, strict=True):
        assert np.array_equal(p.value, value) == (p is shared)


def test_freezing_a_shared_parameter_freezes_it_for_all_its_nodes():
    nodes = nodes_of("autoencoder", "float64")
    for p in CG.parameters(nodes[-1]):
        p.trainable = False
    assert all(node._frozen for node in nodes if node._parameters)
    twin = CG.clone(nodes[-1], share=True)[nodes[-1]]
    assert not any(p.trainable for p in CG.parameters(twin))
    CG.parameters(twin)[0].trainable = True
    assert CG.parameters(nodes[-1])[0].trainable
