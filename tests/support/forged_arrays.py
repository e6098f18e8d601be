"""Arrays of files that somebody has changed: what may stand in the place of one."""

import numpy as np

WAYS = ("dtype", "byte order", "shape", "transposed", "value", "negative", "text", "gone", "more")
_VALUES = (np.nan, np.inf, -np.inf, -1, 2**63 - 1, 1e308)


def changed_arrays(arrays, rng):
    """Returns arrays of which one has another dtype, byte order, shape or content, is gone, or has one beside it."""
    arrays = dict(arrays)
    name = str(rng.choice(sorted(arrays)))
    array, way = arrays[name], str(rng.choice(WAYS))
    if way == "gone":
        del arrays[name]
    elif way == "more":
        arrays[str(rng.choice(["more", "best.more", "optimizer.99999.updates", "/etc/passwd"]))] = (
            array
        )
    elif way == "dtype":
        kind = str(rng.choice(["f2", "f4", "f8", "i1", "i8", "u8", "c16", "M8[s]", "S3", "?"]))
        arrays[name] = np.zeros(array.shape, kind)
    elif way == "byte order":
        arrays[name] = array.astype(array.dtype.newbyteorder("S"))
    elif way == "shape":
        arrays[name] = np.resize(array, tuple(rng.integers(0, 4, size=int(rng.integers(0, 4)))))
    elif way == "transposed":
        arrays[name] = np.asfortranarray(array.T)
    elif way == "text":
        arrays[name] = np.array("x" * int(rng.integers(1, 9)))
    elif array.size and array.dtype.kind in "iuf":
        value = -1 if way == "negative" else _VALUES[int(rng.integers(len(_VALUES)))]
        with np.errstate(all="ignore"):
            arrays[name] = np.full_like(array, np.asarray(value).astype(array.dtype))
    return arrays
