"""Arguments for the fuzz tests: valid ones, and among them those that users pass by mistake."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import cgraph as CG


class Stand:
    """A placeholder for an argument until the call; its repr is short and harmless."""

    def __init__(self, name, make):
        self.name, self.make = name, make

    def __repr__(self):
        return self.name


def resolved(value, nodes):
    """Returns the value with its placeholders replaced; they are given the nodes of the graph."""
    if isinstance(value, Stand):
        return value.make(nodes)
    if type(value) in (list, tuple):
        return type(value)(resolved(item, nodes) for item in value)
    if type(value) is dict:
        return {name: resolved(item, nodes) for name, item in value.items()}
    return value


class Unspeakable:
    """An object whose repr raises, so that no error message can show it."""

    def __repr__(self):
        raise ZeroDivisionError("repr")


def ref(k):
    """Returns a placeholder for node number k of the graph."""
    return Stand(f"node {k}", lambda nodes: nodes[k])


SHAPES = [(3, 1), (3, 1), (4, 5), (4, 5), (1, 1), (1, 3)]


def some_nodes():
    """Leaves to build upon, of several shapes, and one of float32; each holds its number."""
    leaves = [CG.Leaf2(height, width) for height, width in SHAPES] + [CG.Leaf1(3, dtype="float32")]
    for k, node in enumerate(leaves):
        node.data[...] = k + 1
    return leaves


refs = st.integers(0, len(SHAPES)).map(ref)

# No two of them make a size that is legal and too much for the memory.
sizes = st.integers(-1, 7) | st.sampled_from([2**16, 2**31, 2**63, -(10**30)])
STANDS = [
    Stand("an object without words", lambda nodes: Unspeakable()),
    Stand("a generator", lambda nodes: (k for k in "ab")),
    Stand("a generator of nodes", iter),
    Stand("10**5000", lambda nodes: 10**5000),
]
reals = st.floats(width=32) | st.floats() | st.integers(-3, 3) | st.booleans()
dtypes = hnp.scalar_dtypes() | hnp.array_dtypes(max_size=2)
arrays = hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
nested = st.recursive(reals | st.none(), lambda items: st.lists(items, max_size=4), max_leaves=8)
junk = st.one_of(
    nested,
    sizes,
    arrays,
    refs,
    st.lists(refs, max_size=3),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.complex_numbers(),
    st.dictionaries(st.text(max_size=3), reals, max_size=2),
    st.sampled_from([Fraction(1, 2), Decimal(1), np.float64(2), np.int8(2), np.datetime64(0, "s")]),
    st.sampled_from([CG.Node, CG, len, ..., range(3), memoryview(b"abc"), {1.0}, np.ma.masked]),
    st.sampled_from(STANDS) | st.lists(st.sampled_from(STANDS), max_size=2),
)


def usually(strategy):
    """Draws valid values more often than others, so that whole calls are valid often enough."""
    return st.integers(0, 14).flatmap(lambda k: junk if k == 14 else strategy)
