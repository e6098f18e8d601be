"""The structs of steps are filled by the names of their fields, and a wrong field raises before a step exists."""

import numpy as np
import pytest
from lane_arena import extents, kernels, operand

from cgraph._kernels.channels import offsets as channel_offsets
from cgraph._kernels.common.geometry import FilterGeometry
from cgraph._kernels.lanes import offsets as lane_offsets
from cgraph._kernels.lanes.per_sample import LAYOUT_COPY, PerSampleStep
from cgraph._kernels.lanes.tables import TERM
from cgraph._kernels.runtime.memory import Memory
from cgraph._kernels.runtime.plan import Steps
from cgraph._kernels.runtime.step import EXTENT, SEED, GivenSeedStep, Operand, OperandList
from cgraph._kernels.runtime.structs import checked, structs

ONE = FilterGeometry(1, 1, 1, 1, 1, 1, 1, 0, 0)
FLAGS = {"accumulate": False, "requires_grad": True, "requires_grad_parameters_only": True}


def with_other_names(array):
    """Returns a copy whose fields have exchanged their names; types and offsets are as before."""
    names = array.dtype.names
    return array.astype([(name, array.dtype[name]) for name in names[1:] + names[:1]])


def test_a_struct_takes_its_fields_by_name_in_any_order():
    one, other = (
        structs(TERM, 2, **fields) for fields in ({"w": [1, 2], "x": 3}, {"x": 3, "w": [1, 2]})
    )
    assert one.tolist() == other.tolist() == [(1, 3), (2, 3)]


@pytest.mark.parametrize("fields", [{"w": 1}, {"w": 1, "x": 2, "y": 3}, {"w": 1, "y": 2}])
def test_a_field_that_is_missing_or_unknown_raises(fields):
    with pytest.raises(TypeError, match="a struct must be given its fields w, x, got w"):
        structs(TERM, 1, **fields)


def test_structs_with_exchanged_names_are_refused():
    """Cython alone would take them, since types and offsets fit."""
    terms = structs(TERM, 1, w=1, x=2)
    assert checked(TERM, terms) is terms
    with pytest.raises(TypeError, match="structs must have the fields"):
        checked(TERM, with_other_names(terms))


@pytest.mark.parametrize(
    "fields",
    [
        {"offset": 0} | FLAGS,
        {"offset": 0, "stride": 1, "pitch": 1} | FLAGS,
        {"offset": 0, "stride": 1},
    ],
)
def test_an_operand_needs_all_of_its_fields_and_no_others(fields):
    with pytest.raises(TypeError):
        Operand(**fields)


def test_an_operand_is_not_given_by_order():
    with pytest.raises(TypeError):
        Operand(0, 1, False, True, True)


def test_the_fields_of_an_operand():
    x = Operand(
        offset=5, stride=3, accumulate=True, requires_grad=False, requires_grad_parameters_only=True
    )
    for y, place in ((x, (5, 3)), (x.contiguous(), (5, 1)), (x.shifted(2), (7, 3))):
        assert (y.offset, y.stride) == place
        assert (y.accumulate, y.requires_grad, y.requires_grad_parameters_only) == (
            True,
            False,
            True,
        )


ROW = (0, 1, False, True, True)
REFUSED = {
    "affine": lambda k, x: k.affine.AffineStep(x, operand(1, 1), 1, 1, 0, 1.0),
    "functions": lambda k, x: k.functions.add.step(1, [operand(1, 1), x], operand(2, 1)),
    "reduction": lambda k, x: k.reduction.dots.step(1, 1, [operand(1, 1), x], operand(2, 1)),
    "pooling": lambda k, x: k.elementwise.MaxPoolingStep(ONE, 0.0, 1, operand(1, 1), x),
    "concatenation": lambda k, x: k.elementwise.ConcatenationStep(
        [x], np.ones(1, np.intp), operand(1, 1)
    ),
    "convolution": lambda k, x: k.convolution.ConvolutionStep(
        ONE, [x], operand(1, 1), np.zeros(1, np.intp), 0, 0
    ),
    "group": lambda k, x: k.channels_convolution_group.ConvolutionGroupStep(
        ONE, [operand(1, 1), x], operand(2, 8), 1, 0, 0, None
    ),
    "lanes": lambda k, x: k.lanes_layer.LaneLayerStep(
        ONE, 16, [operand(0, 16)], x, 1, 0, 0, 1, 1, 1, 1.0, None
    ),
}


@pytest.mark.parametrize("family", REFUSED)
def test_a_step_takes_an_operand_and_no_row_of_numbers(family):
    build = kernels(np.float32)
    REFUSED[family](build, operand(0, 1))
    for wrong in (ROW, None):
        with pytest.raises(TypeError):
            REFUSED[family](build, wrong)


def test_an_operand_list_takes_operands_alone():
    assert OperandList([operand(0, 1)] * 2).nbytes == 2 * OperandList([operand(0, 1)]).nbytes
    with pytest.raises(TypeError):
        OperandList([operand(0, 1), ROW])


@pytest.mark.parametrize("name", ["SGDStep", "SeedStep"])
def test_extents_with_exchanged_names_are_refused(name):
    make = getattr(kernels(np.float32).elementwise, name)
    first = () if name == "SGDStep" else (0,)
    make(*first, extents((0, 2)))
    for wrong in (with_other_names(extents((0, 2))), np.array([[0, 2]], np.intp)):
        with pytest.raises(TypeError, match="structs must have the fields"):
            make(*first, wrong)
    assert EXTENT.names == ("first", "count")


def test_seeds_with_exchanged_names_are_refused():
    seeds = structs(SEED, 1, source=0, first=1, pitch=1, count=1)
    GivenSeedStep(extents((0, 2)), seeds, 4)
    for given in ((extents((0, 2)), with_other_names(seeds)), (seeds, seeds)):
        with pytest.raises(TypeError, match="structs must have the fields"):
            GivenSeedStep(*given, 4)


@pytest.mark.parametrize("side", [0, 1])
def test_layout_copies_with_exchanged_names_are_refused(side):
    copies = [
        structs(LAYOUT_COPY, 1, lanes_offset=0, offset=0, channels=1, size=1, pitch=1) for _ in "12"
    ]
    memory = Memory(0, 0, 0, 0, 0)
    PerSampleStep(Steps([]), memory, 8, 8, *copies)
    copies[side] = with_other_names(copies[side])
    with pytest.raises(TypeError, match="structs must have the fields"):
        PerSampleStep(Steps([]), memory, 8, 8, *copies)


def test_a_group_refuses_subconvolutions_with_exchanged_names(monkeypatch):
    made = channel_offsets.tables
    monkeypatch.setattr(
        channel_offsets, "tables", lambda *given: exchanged(made(*given), "subconvolutions")
    )
    with pytest.raises(TypeError, match="structs must have the fields"):
        REFUSED["group"](kernels(np.float32), operand(0, 1))


def exchanged(tables, name):
    return tables._replace(**{name: with_other_names(getattr(tables, name))})


@pytest.mark.parametrize("name", ["sizes", "window_positions"])
def test_a_layer_over_lanes_refuses_tables_with_exchanged_names(name, monkeypatch):
    made = lane_offsets.layer
    monkeypatch.setattr(lane_offsets, "layer", lambda *given: exchanged(made(*given), name))
    with pytest.raises(TypeError, match="structs must have the fields"):
        REFUSED["lanes"](kernels(np.float32), operand(0, 16))


@pytest.mark.parametrize(
    "name",
    ["outputs", "sources", "channel_sets", "position_sets", "positions", "terms", "shifted_taps"],
)
def test_a_gemm_refuses_tables_with_exchanged_names(name, monkeypatch):
    made = lane_offsets.gemm_tables
    monkeypatch.setattr(lane_offsets, "gemm_tables", lambda *given: exchanged(made(*given), name))
    with pytest.raises(TypeError, match="structs must have the fields"):
        REFUSED["lanes"](kernels(np.float32), operand(0, 16))
