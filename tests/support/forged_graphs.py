"""Files of graphs that somebody has changed, with the right digest: their entries, and what may stand there instead."""

import copy
import io
import json

import numpy as np

import cgraph as CG
from cgraph.io.graphs import _digest

# Values that a file may have in any place: of wrong kinds, too large, no numbers, names of other things.
STRANGE = [
    *(None, True, -1, 0, 1, 2, 3, 10**9, 2**31 - 1, 2**63, 10**400, 0.5, -0.0, 1e308, 1e999),
    *(float("nan"), "", "os.system", "Node", "__init__", "__class__", "_data", "float32", "object"),
    *(
        [],
        [[]],
        [0],
        [1, 1],
        [2**31, 2**31],
        {},
        {"float": "nan"},
        {"float": "x"},
        {"class": "Exp"},
    ),
    *({"schedule": "os.system", "arguments": {}}, "Filter2d", "Concatenation", "Affine", "x" * 999),
    "00000.Affine.weight",
    "graph.00000.data",
]


def opened(file):
    """Returns the header and the arrays of a file."""
    content = dict(np.load(file))
    del content["graph.digest"]
    return json.loads(str(content.pop("cgraph"))), content


def written(header, arrays):
    """Returns a file with this header, as a text or as what JSON makes one of, and these arrays."""
    text = header if isinstance(header, str) else json.dumps(header)
    arrays = {name: np.asanyarray(array) for name, array in arrays.items()}
    file = io.BytesIO()
    # Times, for which there is no digest, are refused by their dtype.
    has_times = any(array.dtype.kind in "mM" for array in arrays.values())
    digest = "" if has_times else _digest(text, arrays)
    np.savez(
        file,
        **{"cgraph": np.array(text), "graph.digest": np.array(digest), **arrays},
    )
    file.seek(0)
    return file


def places(value):
    """Yields each container within a value of JSON, with a key of an entry."""
    pending = [value]
    while pending:
        each = pending.pop()
        keys = list(each) if isinstance(each, dict) else range(len(each))
        for key in keys:
            yield each, key
            if isinstance(each[key], dict | list):
                pending.append(each[key])


def mutated(header, rng):
    """Returns a copy of a header with one to three entries exchanged, removed, added, or copied from elsewhere."""
    header = copy.deepcopy(header)
    for _ in range(int(rng.integers(1, 4))):
        everywhere = list(places(header))
        where, key = everywhere[int(rng.integers(len(everywhere)))]
        way = int(rng.integers(4))
        if way == 0:
            del where[key]
        elif way == 1:
            other, there = everywhere[int(rng.integers(len(everywhere)))]
            where[key] = copy.deepcopy(other[there])
        elif isinstance(where, list) and way == 2:
            where.append(STRANGE[int(rng.integers(len(STRANGE)))])
        else:
            where[key] = copy.deepcopy(STRANGE[int(rng.integers(len(STRANGE)))])
    return header


def model():
    """Returns a file with all kinds of entries: nodes of many classes, shared parameters, masks, an optimiser."""
    x, image, t = CG.Leaf1(3), CG.Leaf2(4, 4), CG.Leaf1(2)
    x.getInput([1, 2, 3])
    first = CG.Affine(x, np.ones((4, 3)))
    second = first.share(CG.Tanh(first))
    pooled = CG.MaxPooling2d(image, 2, 2, 2, pad_value=-np.inf)
    filtered = CG.Convolution2d([pooled], np.ones((1, 2, 2)), 0.5)
    joined = CG.Concatenation([CG.Dropout(second, 0.5, 3), filtered, CG.Slice(x, 1, 3)])
    y = CG.Affine(CG.LayerNorm(CG.Clip(joined, -1, 1)), np.ones((joined.size + 1, 2)))
    loss = CG.MSE(y, t)
    adam = CG.Adam(CG.schedules.warmup(2, 0.1), groups={y: {"lr": 0.5}})
    CG.Graph(loss).step({x: [[1, 2, 3]], image: np.ones((1, 4, 4)), t: [[1, 2]]}, adam)
    file = io.BytesIO()
    CG.save(file, {"x": x, "y": y, "loss": loss}, optimizer=adam, metadata={"a": [1]})
    file.seek(0)
    return file
