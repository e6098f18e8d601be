"""A batch of any size == one pass of the nodes for each sample, in whatever blocks the batch is divided into.

One Graph takes batches of all sizes up to 70, in a drawn order: 70 samples need every block in float32 and in float64,
and blocks after the largest one.
"""

import itertools

import numpy as np
import pytest
from amounts import IN_USE, full
from batch_settings import Setting
from batch_twins import BatchTwins, uniform
from graph_networks import nodes_of

import cgraph as CG
from cgraph import _kernels

pytestmark = pytest.mark.usefixtures("guard_pages", "eager_threads")

MOST = 70
SETTINGS = [Setting(*pair) for pair in itertools.product(("auto", "lanes"), (1, 2))]


def few_outputs(make):
    """Builds an MLP, in which an Affine has one output more than a vector of float32, and one has 3 outputs."""
    hidden = make.add(CG.Tanh(make.affine(make.vector(5), 9)))
    hidden = make.add(CG.ReLU(make.affine(hidden, 26)))
    make.classified([hidden])


def small_convolutions(make):
    """Builds a network of two layers of convolutions and one of poolings."""
    first = make.each(CG.ReLU, make.bank([make.image(8, 7)], 4, 3, 8, 7))
    second = make.bank(make.each(CG.MaxPooling2d, first, 2, 2, 2), 3, 2)
    make.classified(make.each(CG.Tanh, second))


def rows():
    """Yields each network, dtype and build; by default the best build runs, convolutions in float32 alone."""
    for network, dtype, build in itertools.product(
        (few_outputs, small_convolutions), ("float32", "float64"), _kernels.available()
    ):
        row = pytest.param(network, dtype, build, id=f"{network.__name__}-{dtype}-{build}")
        usual = build == IN_USE and (network is few_outputs or dtype == "float32")
        yield row if usual else full(row)


def check_all_sizes(twins, setting, thorough):
    """Checks each call of one Graph for batches of every size; `train`, by default, for every third size."""
    graph = twins.compile(setting)
    assert len(set(graph._executable.executors.layouts.backward.blocks)) > 2
    for count in np.random.default_rng(MOST).permutation(np.arange(1, MOST + 1)).tolist():
        twins.step(count)
        twins.accumulate(count)
        twins.assert_sums(count)
        graph.update(0.0)
        if thorough or count % 3 == 0:
            twins.train(min(2 * count + 1, MOST + 5), count)
        twins.predict(count, [twins.end - 2])


@pytest.mark.parametrize(("network", "dtype", "build_name"), list(rows()), indirect=["build_name"])
def test_batches_of_every_size_equal_the_nodes(network, dtype, build_name, thorough):
    nodes = nodes_of(network, dtype)
    twins = BatchTwins(lambda: nodes_of(network, dtype), len(nodes) - 1, uniform(nodes), MOST)
    for setting in SETTINGS:
        check_all_sizes(twins, setting, thorough)
