"""Every operation has its rows, and with them no operation runs as Python in a Graph."""

import inspect

import numpy as np
import pytest
from amounts import over
from op_row import network_of
from op_table import cases

import cgraph as CG
from cgraph._kernels.runtime.step import PythonStep
from cgraph._lowering import ops

pytestmark = pytest.mark.thread_unsafe(reason="prints")
BASES = (CG.Node, CG.MMtoM, CG.MMto1, CG.MtoM, CG.Mto1, CG.Filter2d)
# The first case of each row.
FIRST = {row.op: (name, row, case) for name, row, case in reversed(cases())}.values()


def public_operations():
    """Returns the public classes of nodes that compute, and leaves; a class may have two public names."""
    public = {getattr(CG, name) for name in CG.__all__}
    return {cls for cls in public if inspect.isclass(cls) and issubclass(cls, CG.Node)} - {*BASES}


def test_every_operation_has_one_row_for_graphs():
    for_graphs = [op.node_class for op in ops.ROWS]
    assert len(for_graphs) == len(set(for_graphs))
    assert set(for_graphs) == public_operations()


@over(FIRST)
def test_no_operation_runs_as_python_in_a_graph(row, case, capsys):
    nodes = network_of(row, case, "float64")
    assert row.op in ops.OPS, f"{row.op.__name__} has no row in cgraph/_lowering/ops.py"
    graph = CG.Graph(nodes[-1], layout="lanes")
    inputs = row.draw(case, np.random.default_rng(0))
    samples = {leaf: np.array([x.ravel()] * 2) for leaf, x in zip(nodes, inputs, strict=False)}
    graph.accumulate(samples)
    (lanes,) = graph._executable.executors.lanes
    single = graph._executable.executors.samples
    assert row.op in {type(node) for group in single.steps for node in group.nodes}
    # Views of other nodes have a place over lanes, and no step.
    assert row.op in {type(node) for buffer in lanes._builder.offsets for node in buffer.nodes}
    for executor in (single, lanes):
        assert not any(isinstance(step, PythonStep) for step in executor.steps.values())
    graph.summary()
    table = capsys.readouterr().out.splitlines()
    assert all(line.endswith("  lanes") for line in table[1:-2])
    assert any(f" {row.op.__name__} " in line for line in table)


def test_a_class_without_a_row_runs_as_python(capsys):
    class Own(CG.Tanh):
        def calcData(self):
            super().calcData()

    x = CG.Leaf1(3)
    graph = CG.Graph(CG.Norm2(Own(x)), layout="lanes")
    steps = graph._executable.executors.samples.steps.values()
    assert [type(step) is PythonStep for step in steps] == [True, False]
    graph.summary()
    assert "lanes" not in capsys.readouterr().out
