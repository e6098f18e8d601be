"""The choice of the kernels' build: by CPU, by environment variable, by hand."""

import os
import subprocess
import sys

import numpy as np
import pytest

import cgraph as CG
from cgraph import _kernels

CODE = "import cgraph; from cgraph import _kernels; print(_kernels.select('baseline'))"


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_baseline_is_always_available_and_the_best_build_is_the_default():
    assert _kernels.available()[0] == "baseline"
    default = run(CODE, CGRAPH_SIMD="")
    assert default.stdout.split() == [_kernels.available()[-1]], default.stderr


def test_the_environment_variable_overrides_the_choice():
    chosen = run(CODE, CGRAPH_SIMD="baseline")
    assert chosen.stdout.split() == ["baseline"], chosen.stderr


def test_an_unknown_build_is_refused_with_the_names_of_the_known():
    with pytest.raises(ValueError, match=r"baseline.*nonsense"):
        _kernels.select("nonsense")
    refused = run(CODE, CGRAPH_SIMD="nonsense")
    assert refused.returncode != 0
    assert "CGRAPH_SIMD" in refused.stderr.splitlines()[-1]


def test_show_config_says_which_build_is_used(build_name, capsys):
    CG.show_config()
    assert build_name in capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_node_keeps_the_build_it_was_made_with(dtype):
    """And nodes of different builds work in one graph."""
    x = CG.Leaf1(3, dtype=dtype)
    x.getInput([1, 2, 3])
    nodes = []
    previous = _kernels.select("baseline")
    try:
        for name in _kernels.available():
            _kernels.select(name)
            nodes.append(CG.Affine(nodes[-1] if nodes else x, np.ones((4, 3))))
    finally:
        _kernels.select(previous)
    end = CG.Norm2(nodes[-1])
    x.forwardPropagation()
    end.backwardPropagation()
    expected = 7.0
    for node in nodes:
        assert node.data.tolist() == [expected] * 3
        expected = 3 * expected + 1
    np.testing.assert_allclose(x.grad, 3 ** (len(nodes) - 0.5), rtol=1e-6)
