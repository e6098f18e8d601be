"""The rows of recurrent cells."""

from __future__ import annotations

import reference_cells as ref
from op_row import Case, Row, tolerances

import cgraph as CG


def cells(op, reference, gates, states):
    """Cells of inputs and units around the width of vectors, and on inputs that are matrices."""

    def make(inputs, params, dtype):
        return op(*inputs, *params)

    def case(x, n, usual=True, width=1):
        m = x[0] * x[1]
        params = (gates * n, m), (gates * n, n), (gates * n,), (gates * n,)
        state = (states * n // width, width)
        return Case((x, state), make, reference, params, usual)

    table = {
        f"{m}to{n}": case((m, 1), n, usual=(m, n) in {(1, 1), (3, 5), (2, 16), (9, 19)})
        for m, n in ((1, 1), (3, 5), (5, 8), (2, 16), (9, 19), (1, 32), (33, 17))
    }
    return table | {
        "matrices": case((2, 3), 6, width=2),
        "by_keyword": Case(
            ((4, 1), (3 * states, 1)),
            lambda inputs, params, dtype: op(*inputs, *params[:2], b_hh=params[3], b_ih=params[2]),
            reference,
            ((3 * gates, 4), (3 * gates, 3), (3 * gates,), (3 * gates,)),
        ),
    }


OPTIONS = {"tolerance": tolerances(1e-12, 5e-5), "is_linear": False}
CELL_ROWS = [
    Row(CG.GRUCell, cells(CG.GRUCell, ref.GRUCell(), 3, 1), **OPTIONS),
    Row(CG.LSTMCell, cells(CG.LSTMCell, ref.LSTMCell(), 4, 2), **OPTIONS),
]
