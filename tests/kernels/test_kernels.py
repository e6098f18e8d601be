"""The choice of the kernels' build: by CPU, by environment variable, by hand."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cgraph as CG
from cgraph import _kernels
from cgraph._kernels.cpu import AVX512_IS_EMULATED, has_avx2, has_avx512

pytestmark = pytest.mark.thread_unsafe(reason="starts processes, selects kernels for all threads")

CPU_INFO = Path("/proc/cpuinfo")
# What Linux calls the extensions that the builds are compiled for.
AVX2 = {"avx2", "fma"}
AVX512 = AVX2 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
CODE = "import cgraph; from cgraph import _kernels; print(_kernels.select('baseline'))"


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_memory_is_laid_out_in_whole_vectors_of_the_build(dtype, build_name):
    """Rows of channels are padded to whole vectors; blocks have half a line, a line, two or four."""
    build = _kernels.build(np.dtype(dtype))
    vector, padded, line = build.elementwise.VECTOR_BYTES, build.padded_bytes, build.line_bytes
    assert padded % vector == 0
    assert line == 64
    assert line % vector == 0
    graph = CG.Graph(CG.Norm2(CG.Leaf1(3, dtype=dtype)), layout="lanes")
    lanes = {
        block * np.dtype(dtype).itemsize
        for block in graph._executable.executors.layouts.forward.blocks[1:]
    }
    assert lanes <= {line // 2, line, 2 * line, 4 * line}
    assert max(lanes) == 4 * line


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_group_of_channels_is_padded_to_the_vectors_that_compute_it(dtype, build_name):
    """A group that fits into 32 bytes is not padded to 64, and the kernels for 32 bytes compute its rows."""
    dtype = np.dtype(dtype)
    build = _kernels.build(dtype)
    for channels in range(2, 70):
        row, pitch = channels * dtype.itemsize, build.pitch(channels, dtype.itemsize)
        padded = pitch * dtype.itemsize
        assert 0 <= padded - row < (32 if row <= 32 else build.padded_bytes)
        x = CG.Leaf2(3, 2, dtype=dtype)
        nodes = [CG.Convolution2d([x], np.ones((1, 2, 2)), 0.0) for _ in range(channels)]
        nodes = [CG.MaxPooling2d(node, 2, 1, 1) for node in nodes]
        loss = CG.Norm2(CG.Concatenation([CG.AveragePooling2d(node, 1, 1, 1) for node in nodes]))
        steps = CG.Graph(loss, layout="samples")._executable.executors.samples.steps
        grouped = {
            group.buffer.pitch: step for group, step in steps.items() if len(group.nodes) > 1
        }
        assert list(grouped) == [pitch]
        for group, step in steps.items():
            narrow = len(group.nodes) > 1 and padded < build.padded_bytes
            assert type(step).__module__.endswith(f"_{dtype}_{'avx2' if narrow else build_name}")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_matrix_whose_rows_fit_into_32_bytes_is_computed_by_the_kernels_for_these(
    dtype, build_name
):
    dtype = np.dtype(dtype)
    build = _kernels.build(dtype)
    for outputs in range(1, 34):
        affine = CG.Affine(CG.Leaf1(3, dtype=dtype), np.ones((4, outputs)))
        steps = CG.Graph(CG.Norm2(affine), layout="samples")._executable.executors.samples.steps
        narrow = 1 < outputs <= 32 // dtype.itemsize and build.padded_bytes > 32
        step = next(iter(steps.values()))
        assert type(step).__module__.endswith(f"_{dtype}_{'avx2' if narrow else build_name}")


def test_baseline_is_always_available_and_the_best_build_is_the_default():
    assert _kernels.available()[0] == "baseline"
    default = run(CODE, CGRAPH_SIMD="")
    assert default.stdout.split() == [_kernels.available()[-1]], default.stderr


@pytest.mark.skipif(not CPU_INFO.exists(), reason="only Linux lists what its CPU can do")
def test_avx2_and_avx512_are_found_where_the_cpu_has_them():
    flags = re.search(r"^flags\s*:(.*)$", CPU_INFO.read_text(encoding="ascii"), re.MULTILINE)
    assert has_avx2() == (flags is not None and set(flags[1].split()) >= AVX2)
    assert has_avx512() == (flags is not None and set(flags[1].split()) >= AVX512)


def test_a_build_is_available_only_where_the_cpu_runs_what_it_was_compiled_for():
    assert ("avx2" in _kernels.available()) <= has_avx2()
    if AVX512_IS_EMULATED:
        assert ("avx512" in _kernels.available()) == has_avx2()
    else:
        assert ("avx512" in _kernels.available()) <= has_avx512()


def test_the_widest_vectors_are_the_default_unless_they_are_emulated():
    order = ["baseline", "avx512", "avx2"] if AVX512_IS_EMULATED else ["baseline", "avx2", "avx512"]
    assert list(_kernels.available()) == [name for name in order if name in _kernels.available()]


def test_the_environment_variable_overrides_the_choice():
    chosen = run(CODE, CGRAPH_SIMD="baseline")
    assert chosen.stdout.split() == ["baseline"], chosen.stderr


def test_an_unknown_build_is_refused_with_the_names_of_the_known():
    with pytest.raises(ValueError, match=r"baseline.*nonsense"):
        _kernels.select("nonsense")
    refused = run(CODE, CGRAPH_SIMD="nonsense")
    assert refused.returncode != 0
    assert "CGRAPH_SIMD" in refused.stderr.splitlines()[-1]


SHOW = "import cgraph; cgraph.show_config()"


def test_show_config_says_which_build_is_used(build_name, capsys):
    CG.show_config()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"kernels in use: {build_name}, ")
    assert lines[1] == f"available on this CPU: {', '.join(_kernels.available())}"


def test_show_config_says_why_a_build_is_used():
    best = _kernels.available()[-1]
    default, *_, unset = run(SHOW, CGRAPH_SIMD="").stdout.splitlines()
    assert default == f"kernels in use: {best}, the widest on this CPU"
    assert unset == "CGRAPH_SIMD: not set"
    chosen, *_, wish = run(SHOW, CGRAPH_SIMD="baseline").stdout.splitlines()
    assert chosen == "kernels in use: baseline, chosen by CGRAPH_SIMD"
    assert wish == "CGRAPH_SIMD: baseline"
    select = f"from cgraph import _kernels; _kernels.select('baseline'); {SHOW}"
    selected = run(select, CGRAPH_SIMD=best).stdout.splitlines()[0]
    reason = "chosen by CGRAPH_SIMD" if best == "baseline" else "selected by the program"
    assert selected == f"kernels in use: baseline, {reason}"


@pytest.mark.parametrize(
    ("name", "reason"), [("avx2", "does not run"), ("avx512", "not been built")]
)
def test_show_config_says_why_a_build_is_not_to_be_had(name, reason, monkeypatch, capsys):
    monkeypatch.setattr(_kernels, "_runs", lambda: {"baseline": True, name: "not been" in reason})
    monkeypatch.setattr(_kernels, "_is_built", lambda simd: simd == "baseline")
    CG.show_config()
    found = [line for line in capsys.readouterr().out.splitlines() if line.startswith("not")]
    assert len(found) == 1
    assert found[0].startswith(f"not available: {name}, ")
    assert reason in found[0]


def test_a_selected_build_serves_the_nodes_that_are_made_from_then_on(build_name):
    for dtype in ("float32", "float64"):
        kernels = CG.Leaf1(1, dtype=dtype)._kernels
        assert {module.__name__.rpartition("_")[2] for module in kernels} == {build_name}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_node_keeps_the_build_it_was_made_with(dtype):
    """Nodes of different builds also work together in one graph."""
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


def affine():
    return CG.Affine(CG.Leaf1(2), np.ones((3, 40)))


def convolution():
    return CG.Convolution2d([CG.Leaf2(5, 5)], np.ones((1, 3, 3)), 0.0)


def exchange_input(node):
    node.backward[0] = CG.Leaf1(1_000_000)


def add_inputs(node):
    node.backward.extend([CG.Leaf2(5, 5)] * 100)


def reshape_weight(node):
    node._weight.shape = (40, 3)


def shrink_input(node):
    node.backward[0].data.resize(1, refcheck=False)


def change_dtype(node):
    x = node.backward[0]
    x._data = x._data.astype(np.int64)


def add_dimension(node):
    x = node.backward[0]
    x._data = np.stack([x._data, x._data], axis=1)


@pytest.mark.filterwarnings("ignore:Setting the shape:DeprecationWarning")
@pytest.mark.parametrize("method", ["calcData", "calcPartialDerivative"])
@pytest.mark.parametrize(
    ("build", "tamper"),
    [
        (affine, exchange_input),
        (affine, reshape_weight),
        (affine, shrink_input),
        (convolution, exchange_input),
        (convolution, add_inputs),
        (convolution, shrink_input),
        (convolution, change_dtype),
        (convolution, add_dimension),
        (lambda: CG.Add(CG.Leaf1(9), CG.Leaf1(9)), exchange_input),
        (lambda: CG.MSE(CG.Leaf1(9), CG.Leaf1(9)), exchange_input),
        (lambda: CG.Sigmoid(CG.Leaf1(9)), exchange_input),
        (lambda: CG.Softmax(CG.Leaf1(9)), exchange_input),
        (lambda: CG.Concatenation([CG.Leaf1(9)]), exchange_input),
        (lambda: CG.MaxPooling2d(CG.Leaf2(4, 4), 2, 2, 2), exchange_input),
        (lambda: CG.AveragePooling2d(CG.Leaf2(4, 4), 2, 2, 2), exchange_input),
    ],
)
def test_what_was_exchanged_after_construction_is_refused_and_never_read(build, tamper, method):
    node = build()
    tamper(node)
    with pytest.raises(ValueError, match="exchanged or resized after the node was constructed"):
        getattr(node, method)()
