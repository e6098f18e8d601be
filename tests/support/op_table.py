"""One row per op: how to build it, its reference, its inputs, its tolerances, its shape variants.

The laws in tests/laws run over these rows. A new op needs a row here and a
reference in reference.py, nothing else.
"""

from __future__ import annotations

import numpy as np
import reference as ref
from op_row import Case, Row, apart, binary, positive, target, unary
from op_table_cells import CELL_ROWS
from op_table_filters import FILTER_ROWS
from op_table_functions import FUNCTION_ROWS
from op_table_losses import LOSS_ROWS

import cgraph as CG

DTYPES = ("float64", "float32")


def concatenations():
    def case(*shapes):
        return Case(
            shapes, lambda inputs, params, dtype: CG.Concatenation(inputs), ref.Concatenation()
        )

    return {
        "one": case((3, 4)),
        "vectors": case((3, 1), (1, 1), (40, 1)),
        "maps": case((2, 3), (3, 2), (5, 7)),
        "channels": case(*[(5, 5)] * 16),
    }


# Around the widths of vectors, and of what is unrolled.
USUAL_WIDTHS = {*range(1, 6), *range(7, 10), *range(15, 18), 24, *range(31, 34), 40}


def affine_case(m, n, expected, *args, usual=True, **kwargs):
    """Returns a case of Affine from m = (height, width) to n; `args`, `kwargs` pass the bias `expected`."""

    def make(inputs, params, dtype):
        return CG.Affine(inputs[0], params[0], *args, **kwargs)

    return Case((m,), make, ref.Affine(expected), ((m[0] * m[1] + 1, n),), usual)


def affines():
    table = {
        f"n{n}": affine_case(((7 * n) % 23 + 1, 1), n, 1.0, usual=n in USUAL_WIDTHS)
        for n in range(1, 41)
    }
    return table | {
        "flattened": affine_case((3, 4), 5, 1.0),
        "bias": affine_case((4, 1), 3, -0.5, -0.5),
        "bias_keyword": affine_case((4, 1), 3, 0.0, bias=0),
        "long": affine_case((150, 1), 17, 1.0),
        "lenet": affine_case((400, 1), 120, 1.0),
        "broad": affine_case((3, 1), 133, 1.0),
    }


def leaves():
    value = np.arange(6.0)

    def filled(node, data):
        node.getInput(data)
        return node

    def case(shape, make):
        return {"own": Case((), make, ref.Constant(value.reshape(shape)))}

    return [
        Row(
            CG.Leaf1,
            case((6, 1), lambda inputs, params, dtype: filled(CG.Leaf1(6, dtype=dtype), value)),
            computes=False,
        ),
        Row(
            CG.Leaf2,
            case((2, 3), lambda inputs, params, dtype: filled(CG.Leaf2(2, 3, dtype=dtype), value)),
            computes=False,
        ),
    ]


def idle(op, shapes, output, make):
    """Returns a row for a class that only has a shape."""
    case = Case(shapes, lambda inputs, params, dtype: make(inputs), ref.Constant(np.zeros(output)))
    return Row(op, {"idle": case}, computes=False)


ROWS = [
    *leaves(),
    idle(CG.Node, ((2, 3),), (4, 2), lambda inputs: CG.Node(6, 4, 2, inputs)),
    idle(CG.MMtoM, ((2, 3), (2, 3)), (2, 3), lambda inputs: CG.MMtoM(*inputs)),
    idle(CG.MMto1, ((2, 3), (2, 3)), (1, 1), lambda inputs: CG.MMto1(*inputs)),
    idle(CG.MtoM, ((2, 3),), (2, 3), lambda inputs: CG.MtoM(*inputs)),
    idle(CG.Mto1, ((2, 3),), (1, 1), lambda inputs: CG.Mto1(*inputs)),
    idle(
        CG.Filter2d, ((4, 5),) * 2, (3, 4), lambda inputs: CG.Filter2d(inputs, 2, 2, 1, 0, 0, 3, 4)
    ),
    Row(CG.Concatenation, concatenations()),
    Row(CG.Add, binary(CG.Add, ref.Add())),
    Row(CG.Sub, binary(CG.Sub, ref.Sub())),
    Row(CG.Dots, binary(CG.Dots, ref.Dots())),
    Row(CG.MSE, binary(CG.MSE, ref.MSE())),
    Row(CG.CEE, binary(CG.CEE, ref.CEE()), draws=(positive, target)),
    Row(CG.ReLU, unary(CG.ReLU, ref.ReLU()), draws=(apart,)),
    Row(CG.Softmax, unary(CG.Softmax, ref.Softmax())),
    Row(CG.Sigmoid, unary(CG.Sigmoid, ref.Sigmoid())),
    Row(CG.Tanh, unary(CG.Tanh, ref.Tanh())),
    *FUNCTION_ROWS,
    Row(CG.Norm2, unary(CG.Norm2, ref.Norm2())),
    Row(CG.Affine, affines()),
    *LOSS_ROWS,
    *CELL_ROWS,
    *FILTER_ROWS,
]


def cases(computing=True):
    """(id, row, case) of all rows whose calcData computes (or of all that do nothing there)."""
    return [
        (f"{row.op.__name__}-{label}", row, case)
        for row in ROWS
        if row.computes == computing
        for label, case in row.cases.items()
    ]
