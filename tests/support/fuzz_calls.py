"""Calls of every constructor with arguments of every kind, for the fuzz tests: (positional, by keyword)."""

import numpy as np
from fuzz_values import SHAPES, junk, reals, ref, refs, sizes, usually
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import cgraph as CG

small = st.integers(1, 5) | st.integers(1, 3) | st.integers(0, 8)
POOLING_FORMS = [
    ("stride",),
    ("stride", "height", "width"),
    ("stride", "topPadding", "leftPadding", "height", "width"),
]
CONVOLUTION_FORMS = [(), ("height", "width"), *POOLING_FORMS]
NO_FORM = ("stride", "topPadding")


def real_arrays(*sides):
    """Arrays of real numbers; a side is a size or a strategy of sizes."""
    fixed = [side if isinstance(side, st.SearchStrategy) else st.just(side) for side in sides]
    dtypes = hnp.floating_dtypes(sizes=(32, 64)) | hnp.integer_dtypes() | hnp.boolean_dtypes()
    return st.tuples(dtypes, st.tuples(*fixed)).flatmap(lambda both: hnp.arrays(*both))


def arguments(*strategies):
    """Positional arguments, each of them junk now and then, and sometimes one too few or too many."""
    whole = st.tuples(*map(usually, strategies))
    more = st.tuples(whole, junk).map(lambda both: (*both[0], both[1]))
    return st.sampled_from([whole] * 8 + [whole.map(lambda args: args[:-1]), more]).flatmap(
        lambda chosen: chosen
    )


def call(args, **options):
    return st.tuples(args, st.fixed_dictionaries({}, optional=options))


@st.composite
def filter_call(draw, forms, *first, **options):
    """A filter's arguments in one of its forms, or none; the last ones by name."""
    names = draw(st.sampled_from([*forms, *forms, *forms, NO_FORM]))
    values = [draw(usually(small)) for _ in names]
    positional = draw(st.integers(0, len(names)))
    named = dict(zip(names[positional:], values[positional:], strict=True))
    return (
        (*draw(arguments(*first)), *values[:positional]),
        named | draw(st.fixed_dictionaries({}, optional=options)),
    )


@st.composite
def affine_call(draw):
    k = draw(st.integers(0, len(SHAPES)))
    rows = int(np.prod(SHAPES[k])) + 1 if k < len(SHAPES) else 4
    weights = real_arrays(rows, st.integers(0, 9)) | real_arrays(small, small)
    return draw(call(arguments(st.just(ref(k)), weights), bias=usually(reals)))


@st.composite
def convolution_call(draw):
    nodes = draw(st.lists(maps, max_size=3) | st.lists(st.just(ref(2)), min_size=1, max_size=3))
    kernels = real_arrays(len(nodes), small, small) | real_arrays(small, small)
    return draw(filter_call(CONVOLUTION_FORMS, st.just(nodes), kernels, reals))


maps = st.sampled_from([ref(2), ref(3), ref(5)])
some_refs = st.lists(refs, max_size=3)
two_refs = st.sampled_from([(0, 1), (2, 3), (4, 4), (1, 6), (0, 2)])
pairs = two_refs.flatmap(lambda ks: arguments(*(st.just(ref(k)) for k in ks)))
known_dtypes = st.sampled_from(["float32", "f8", np.float32, np.dtype("f4"), None])
dtype = {"dtype": usually(known_dtypes)}
CALLS = {
    CG.Leaf1: call(arguments(small | sizes), **dtype),
    CG.Leaf2: call(arguments(small | sizes, sizes), **dtype),
    CG.Node: call(arguments(small, small | sizes, small | sizes, some_refs), **dtype),
    CG.Concatenation: call(arguments(some_refs)),
    CG.Affine: affine_call(),
    CG.Filter2d: call(
        arguments(
            st.just([ref(2), ref(3)]) | some_refs,
            *[small] * 5,
            st.integers(3, 9),
            st.integers(3, 9),
        )
    ),
    CG.Convolution2d: convolution_call(),
    CG.MaxPooling2d: filter_call(POOLING_FORMS, maps, small, small, pad_value=usually(reals)),
    CG.AveragePooling2d: filter_call(POOLING_FORMS, maps, small, small),
}
NODES = [op for op in vars(CG).values() if isinstance(op, type) and issubclass(op, CG.Node)]
UNARY = [op for op in NODES if issubclass(op, CG.MtoM | CG.Mto1)]
BINARY = [op for op in NODES if issubclass(op, CG.MMtoM | CG.MMto1)]
# A class with a constructor of its own has a row above.
CALLS = {
    **{op: call(arguments(refs)) for op in UNARY},
    **{op: call(pairs) for op in BINARY},
    **CALLS,
}
