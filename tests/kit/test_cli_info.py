"""cgraph info: what it prints of each kind of file, and its errors, in one line."""

import copy
import json
import zipfile

import numpy as np
import pytest
from forged_graphs import model, opened, written

import cgraph as CG
from cgraph import cli

pytestmark = pytest.mark.thread_unsafe(reason="reads standard output")


def told(capsys, path):
    """Returns the exit code, and what is printed on stdout and on stderr."""
    code = cli.main(["info", str(path)])
    return code, *capsys.readouterr()


GRAPH = """\
nodes.npz: cgraph graph, version 1, SIZE bytes
metadata:
  a: [1]
15 nodes: 2 Leaf1, 3 Affine, 1 Tanh, 1 Dropout, 1 Leaf2, 1 MaxPooling2d, 1 Convolution2d, 1 Slice, 1 Concatenation, \
1 Clip, 1 LayerNorm, 1 MSE
  name  class   shape   dtype
  x     Leaf1   (3, 1)  float64
  y     Affine  (2, 1)  float64
  loss  MSE     (1, 1)  float64
43 parameters in 6 arrays
  array                       shape      dtype
  00000.Affine.weight         (4, 3)     float64
  00001.Convolution2d.kernel  (1, 2, 2)  float64
  00002.Convolution2d.bias    (1,)       float64
  00003.LayerNorm.gain        (6,)       float64
  00004.LayerNorm.bias        (6,)       float64
  00005.Affine.weight         (7, 2)     float64
optimizer: Adam
  lr: {"schedule": "warmup", "arguments": {"updates": 2, "sched...
  weight_decay: 0.0
  max_grad_norm: null
  nonfinite: ignore
  decay_bias: true
  betas: [0.9, 0.999]
  eps: 1e-08
"""


def test_a_file_of_a_graph(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    content = model().getvalue()
    (tmp_path / "nodes.npz").write_bytes(content)
    code, out, err = told(capsys, "nodes.npz")
    assert (code, out, err) == (0, GRAPH.replace("SIZE", f"{len(content):,}"), "")


def test_a_file_of_parameters(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    y = CG.Affine(CG.Dropout(CG.Leaf1(2), 0.5, 1), [[1.0], [2.0], [3.0]])
    CG.save_parameters("p.npz", y, {"title": "\x1b[2Jx" + "y" * 99, "deep": [{"a": None}]})
    code, out, _ = told(capsys, "p.npz")
    assert code == 0
    assert out.splitlines()[1:] == [
        "metadata:",
        "  title: \\x1b[2Jx" + "y" * 49 + "...",
        '  deep: [{"a": null}]',
        "3 parameters in 1 arrays",
        "  array                shape   dtype",
        "  00000.Affine.weight  (3, 1)  float64",
    ]


def test_own_classes_are_named_and_not_needed(tmp_path, capsys):
    own, rule = type("Own", (CG.Exp,), {}), type("Rule", (CG.SGD,), {})
    CG.save(tmp_path / "own.npz", own(CG.Leaf1(1)), optimizer=rule(0.5))
    code, out, _ = told(capsys, tmp_path / "own.npz")
    assert code == 0
    assert "2 nodes: 1 Leaf1, 1 Own\n" in out
    assert "optimizer: Rule\n  lr: 0.5\n" in out
    assert "0 parameters in 0 arrays\n" in out


def test_errors_are_one_line(tmp_path, capsys):
    header, arrays = opened(model())
    header = copy.deepcopy(header)
    header["nodes"][3]["inputs"] = [3]
    (tmp_path / "forged.npz").write_bytes(written(header, arrays).getvalue())
    (tmp_path / "text.npz").write_text("no zip")
    with zipfile.ZipFile(tmp_path / "zip.npz", "w") as archive:
        archive.writestr("cgraph.npy", "")
    np.savez(tmp_path / "other.npz", cgraph=np.array(json.dumps({"format": "x"})))
    for name, message in {
        "forged.npz": "node 3, Affine: inputs must be in [0, 3), got 3",
        "text.npz": "not a cgraph parameter file, or damaged (expected an .npz file (BadZipFile))",
        "zip.npz": "not a cgraph parameter file, or damaged (cgraph must be an undamaged array in",
        "other.npz": "not a cgraph parameter file, or damaged (cgraph is no such text, KeyError)",
        "none.npz": "No such file or directory",
    }.items():
        code, out, err = told(capsys, tmp_path / name)
        assert (code, out) == (2, "")
        assert err.startswith(f"cgraph: error: {tmp_path / name}: {message}")
        assert err.count("\n") == 1
