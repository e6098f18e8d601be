"""NaN, inf, ties or saturation in one sample of a batch affect this sample alone."""

import itertools

import numpy as np
import pytest
from amounts import full
from batch_settings import SETTINGS, Setting
from batch_twins import BatchTwins, leaves_of, some_nodes, uniform
from edge_table import EDGES
from graph_networks import SOME_NETWORKS, nodes_of
from graph_twins import parameters_of
from op_row import positive
from random_graphs import CompiledRecipe, nodes_above

import cgraph as CG

pytestmark = [
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.usefixtures("guard_pages", "eager_threads"),
]
COUNT = 19  # more than a block of lanes of float32, and no multiple of any block
AT = (3, 17)
DTYPES = ("float64", "float32")
both_dtypes = pytest.mark.parametrize("dtype", DTYPES)
every_network = pytest.mark.parametrize(
    "network", SOME_NETWORKS, ids=lambda network: network.__name__
)


def in_turn(names, *columns, usual=lambda *_: True):
    """Returns every combination of the columns, each with one dtype; `usual` gets its place in each column."""
    rows = []
    for row in itertools.product(*map(enumerate, columns)):
        at, values = zip(*row, strict=True)
        made = pytest.param(*values, DTYPES[sum(at) % 2], id="-".join(map(name_of, values)))
        rows.append(made if usual(*at) else full(made))
    return pytest.mark.parametrize((*names, "dtype"), rows)


def a_half(i, j):
    """Half of the places in each row and in each column, of even and of odd sums."""
    return (i + (i + j) // 2) % 2 == 0


def one_of_two(i, j):
    """One place in each row, with either sum in turn."""
    return j == i // 2 % 2


def name_of(value):
    return getattr(value, "__name__", str(value))


def with_value(value):
    def make(sample, first, rng):
        sample[first][rng.integers(sample[first].size)] = value

    return make


def constant(sample, first, rng):
    sample[first][...] = 0.3


def empty(sample, first, rng):
    for values in sample.values():
        values[...] = 0


def large(sample, first, rng):
    sample[first][...] *= 1e4


# The special contents of a sample; constant images have ties in all windows, large ones saturate Softmax
SPECIAL = {
    "nan": with_value(np.nan),
    "inf": with_value(np.inf),
    "-inf": with_value(-np.inf),
    "constant": constant,
    "empty": empty,
    "large": large,
}
every_special = pytest.mark.parametrize("special", SPECIAL)


def twins_of(make, end, special, seed=0):
    """Returns twins with a batch of which two samples are special."""
    nodes, rng = make(), np.random.default_rng(seed + 1)
    specials = {i: uniform(nodes)(rng) for i in AT}
    for sample in specials.values():
        SPECIAL[special](sample, leaves_of(nodes)[0], rng)
    twins = BatchTwins(make, end, uniform(nodes), COUNT, specials=specials, seed=seed)
    if special == "large":  # where terms cancel, the rounding of the terms remains
        twins.tolerance *= 100
    return twins


def check(twins, settings):
    for setting in settings:
        for count in (4, COUNT):
            twins.check_added_sums(setting, count)
        twins.check_predictions(setting, COUNT, some_nodes(twins.ours))
        twins.check_samples(setting, COUNT, {i + k for i in AT for k in (0, 1)})


def of_network(network, dtype):
    return lambda: nodes_of(network, dtype)


def of_seed(seed, dtype):
    recipe = CompiledRecipe(seed)
    (end,) = nodes_above(recipe, recipe.ends[:1], dtype)[1]
    return lambda: nodes_above(recipe, recipe.ends[:1], dtype)[0], end


@in_turn(["network", "special"], SOME_NETWORKS, SPECIAL, usual=a_half)
def test_a_special_sample_is_as_the_nodes_have_it_and_its_neighbours_too(network, special, dtype):
    twins = twins_of(of_network(network, dtype), -1, special)
    number = SOME_NETWORKS.index(network) + list(SPECIAL).index(special)
    check(twins, [(*SETTINGS[:2], *SETTINGS)[number % 8]])


@pytest.mark.full
@both_dtypes
@every_special
@every_network
def test_a_special_sample_in_every_way(network, special, dtype):
    check(twins_of(of_network(network, dtype), -1, special), SETTINGS)


@in_turn(["seed", "special"], range(0, 75, 15), SPECIAL, usual=a_half)
def test_a_special_sample_of_a_random_graph(seed, special, dtype):
    check(twins_of(*of_seed(seed, dtype), special, seed), SETTINGS[seed % 2 :: 3])


@pytest.mark.full
@in_turn(["seed", "special"], range(300), SPECIAL)
def test_a_special_sample_of_every_random_graph(seed, special, dtype):
    check(twins_of(*of_seed(seed, dtype), special, seed), SETTINGS)


def of_edge(edge, dtype):
    """Builds the edge's node twice, on convolutions that are identities and whose sums show the gradients."""

    def make():
        leaves = [CG.Leaf2(*np.shape(x), dtype=dtype) for x in edge.xs]
        passed = [[CG.Convolution2d([x], [[[1.0]]], 0.0) for _ in range(2)] for x in leaves]
        ends = [edge.op(*inputs) for inputs in zip(*passed, strict=True)]
        slopes = CG.Leaf2(ends[0].height, ends[0].width, dtype=dtype)
        losses = [CG.Dots(end, slopes) for end in ends]
        return [*leaves, slopes, *itertools.chain(*passed), *ends, *losses, CG.Add(*losses)]

    return make


@in_turn(["edge", "layout"], EDGES, ["lanes", "samples"], usual=one_of_two)
def test_an_edge_within_a_batch_is_as_the_nodes_have_it(edge, layout, dtype):
    """The ties, zeros and saturation of test_ties.py stand in two samples among others, and in all samples."""
    edge = EDGES[edge]
    make = of_edge(edge, dtype)
    nodes = make()
    special = dict(enumerate(np.ravel(x).astype(dtype) for x in (*edge.xs, edge.g)))

    def draw(rng):
        return {k: positive(rng, nodes[k].size) for k in special}

    for at in (AT, range(COUNT)):
        specials = dict.fromkeys(at, special)
        twins = BatchTwins(make, len(nodes) - 1, draw, COUNT, specials=specials)
        twins.check_added_sums(Setting(layout, 1), COUNT)
        twins.check_predictions(Setting(layout, 2), COUNT, range(len(nodes)))
        twins.check_samples(Setting(layout, 1), COUNT, AT)


@in_turn(["network", "value"], SOME_NETWORKS, [np.nan, np.inf], usual=one_of_two)
def test_a_parameter_that_is_not_finite_reaches_in_a_batch_what_it_reaches_in_the_nodes(
    network, value, dtype
):
    number = SOME_NETWORKS.index(network)

    def make():
        nodes = nodes_of(network, dtype)
        learning = [values for values, _ in parameters_of(nodes)]
        learning[2 * number % len(learning)].flat[0] = value
        return nodes

    nodes = make()
    twins = BatchTwins(make, -1, uniform(nodes), COUNT)
    for setting in (SETTINGS[0], SETTINGS[number % len(SETTINGS)]):
        twins.check_added_sums(setting, COUNT)
        twins.check_predictions(setting, COUNT, some_nodes(nodes))


@in_turn(["network", "value"], SOME_NETWORKS, [np.nan, np.inf], usual=one_of_two)
def test_what_former_samples_left_reaches_nothing(network, value, dtype):
    """Lanes without a sample, in a partial block and in a second, smaller batch, affect no result."""
    nodes = nodes_of(network, dtype)
    twins = BatchTwins(of_network(network, dtype), len(nodes) - 1, uniform(nodes), COUNT)
    wrong = {node: np.full((64, node.size), value) for node in twins.ours if not node.backward}
    for setting in (SETTINGS[0], SETTINGS[SOME_NETWORKS.index(network) % len(SETTINGS)]):
        graph = twins.compile(setting)
        graph.predict(wrong)
        twins.accumulate(3)
        twins.assert_sums(3)
        graph.accumulate(wrong)
        for node in twins.ours:
            node.zero_grad()
        for count in (1, 3, COUNT):
            graph.predict(wrong)
            twins.accumulate(count)
        twins.assert_sums(1, 3, COUNT)
