"""Numbers beyond the largest float32 become infinite where a cast would make them so, without NumPy's warnings."""

import numpy as np
import pytest

import cgraph as CG

HALFWAY = 2.0**128 - 2.0**103  # between the largest float32 and 2**128
NUMBERS = [1e300, -1e300, HALFWAY, np.nextafter(HALFWAY, 0), 3.4028235e38, 1e-60, np.inf, 0.1]


def as_float32(number):
    with np.errstate(all="ignore"):
        return np.float32(number)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_of_a_constructor_is_rounded(number):
    x = CG.Leaf2(4, 4, dtype="float32")
    with np.errstate(all="raise"):
        pooling = CG.MaxPooling2d(x, 2, 2, 1, 4, 4, pad_value=number)
    assert pooling._config()["pad_value"] == float(as_float32(number))


@pytest.mark.parametrize("kind", [np.float64, np.longdouble])
def test_gradients_of_outputs_are_rounded(kind):
    x = CG.Leaf1(1, dtype="float32")
    y = CG.Affine(x, np.ones((2, 1)))
    graph = CG.Graph(y)
    for number in NUMBERS:
        graph.zero_grad()
        with np.errstate(all="raise", under="ignore"):
            graph.accumulate({x: [[1.0]]}, grads={y: np.array([[number]], kind)})
        np.testing.assert_array_equal(y.gradWeight, np.full((2, 1), as_float32(number)))


@pytest.mark.parametrize("number", NUMBERS)
def test_a_state_holds_what_float32_rounds_to_a_finite_number(number):
    graph = CG.Graph(CG.Affine(CG.Leaf1(1, dtype="float32"), np.ones((2, 1))))
    state = {name: np.full((2, 1), number) for name in graph.state_dict()}
    if np.isfinite(number) and np.isinf(as_float32(number)):
        with pytest.raises(ValueError, match="finite in float32"):
            graph.load_state_dict(state, cast=True)
        return
    graph.load_state_dict(state, cast=True)
    assert (graph.parameters[0].value == as_float32(number)).all()
