"""The rules of optimisers against their formulas: kernels of all builds, all numbers of elements, groups, clipping."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from optimizer_reference import NAMES, RULES, Reference

import cgraph as CG
from cgraph import _kernels
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.memory import Memory, address
from cgraph._kernels.runtime.optimizer_step import LEARNING_EXTENT, SETTINGS, OptimizerStep
from cgraph._kernels.runtime.structs import structs

TOLERANCE = {"float64": 1e-13, "float32": 2e-6}


def step_of(build, dtype, name, options, count, size):
    """Returns a compiled step for `count` elements behind the first three of `size`, and its arrays of state."""
    optimizer = getattr(CG, name)(**options)
    rule = optimizer._rule
    states = [np.zeros(size, dtype) if state else None for state in rule.states]
    numbers = {"momentum": 0, "decay": 0, "eps": 0} | optimizer._numbers(optimizer._settings)
    settings = structs(
        SETTINGS,
        1,
        weight_decay=optimizer.weight_decay,
        decoupled=optimizer._decoupled,
        updates=0,
        **numbers,
    )
    extents = structs(LEARNING_EXTENT, 1, first=3, count=count, settings=0)
    kernels = build.elementwise.OPTIMIZER_KERNELS
    total = np.zeros(1, np.intp)
    step = OptimizerStep(
        name, rule.name, kernels, extents, settings, states, np.inf, "ignore", total
    )
    step.begin(np.array([[options["lr"]]]))
    return step, states


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("name", "options"), RULES, ids=NAMES)
def test_kernels(build_name, dtype, name, options):
    """Whole vectors and remainders; what lies around the elements keeps its bits."""
    build = _kernels.build(np.dtype(dtype))
    rng = np.random.default_rng(1)
    for count in (1, 2, 7, 8, 15, 16, 17, 33, 64, 100):
        values, sums = (rng.normal(size=count + 8).astype(dtype) for _ in range(2))
        step, states = step_of(build, dtype, name, options, count, count + 8)
        reference, inner = Reference(name, **options), slice(3, 3 + count)
        before, expected = values.copy(), values[inner].astype(float)
        memory = Memory(0, 0, address(values), address(sums), 0)
        for samples in (1, 4, 3):
            gradient = rng.normal(size=count).astype(dtype)
            sums[...] = 9
            sums[inner] = gradient * np.asarray(samples, dtype)
            memory.samples = samples
            plan.apply_update(plan.Steps([step]), memory, 0.0, False)
            expected = reference("w", expected, gradient.astype(float))
            assert_allclose(values[inner], expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
            assert not sums[inner].any()
            assert (np.delete(sums, np.r_[inner]) == 9).all()
        assert step.count == 3
        assert_array_equal(np.delete(values, np.r_[inner]), np.delete(before, np.r_[inner]))
        for state in states:
            assert state is None or not np.delete(state, np.r_[inner]).any()


class Net:
    """Two Affine layers and a LayerNorm, with gradient sums that tests fill."""

    def __init__(self, dtype="float64", seed=0):
        rng = np.random.default_rng(seed)
        self.x = CG.Leaf1(4, dtype=dtype)
        self.first = CG.Affine(self.x, rng.normal(size=(5, 6)))
        self.norm = CG.LayerNorm(self.first)
        self.second = CG.Affine(self.norm, rng.normal(size=(7, 3)))
        self.loss = CG.Sum(self.second)
        self.parameters = CG.parameters(self.loss)
        self.rng = rng

    def fill(self, scale=1.0):
        """Draws gradient sums, and returns them."""
        gradients = [scale * self.rng.normal(size=p.shape) for p in self.parameters]
        for p, gradient in zip(self.parameters, gradients, strict=True):
            p.grad = gradient
        return [p.grad.astype(float) for p in self.parameters]

    def values(self):
        return [p.value.astype(float) for p in self.parameters]


@pytest.fixture(params=["graph", "nodes"])
def update(request):
    """The two ways to an update: of a Graph, and of nodes."""
    if request.param == "nodes":
        return lambda net: lambda optimizer: optimizer.update(net.loss)
    return lambda net: CG.Graph(net.loss).update


@pytest.mark.parametrize(("name", "options"), RULES, ids=NAMES)
def test_updates_of_all_parameters(update, name, options):
    net = Net()
    apply, optimizer = update(net), getattr(CG, name)(**options)
    reference, expected = Reference(name, **options), net.values()
    for _ in range(5):
        gradients = net.fill()
        apply(optimizer)
        for k, gradient in enumerate(gradients):
            expected[k] = reference(k, expected[k], gradient)
        for value, right in zip(net.values(), expected, strict=True):
            assert_allclose(value, right, rtol=1e-12, atol=1e-13)
        assert not any(p.grad.any() for p in net.parameters)
    assert optimizer.updates == 5


def test_the_norm_is_that_of_all_parameters(update):
    net = Net()
    apply, optimizer = update(net), CG.SGD(1.0, max_grad_norm=0.5)
    for scale in (1.0, 1e-4, 1e160, 1e-170):
        before, gradients = net.values(), net.fill(scale)
        norm = np.hypot.reduce([np.hypot.reduce(g, axis=None) for g in gradients])
        apply(optimizer)
        factor = min(1, 0.5 / (norm + 1e-6))
        for value, old, gradient in zip(net.values(), before, gradients, strict=True):
            assert_allclose(value, old - factor * gradient, rtol=1e-12, atol=1e-14)


def test_biases_without_decay(update):
    net = Net()
    net.norm.gain[...] = 2
    apply = update(net)
    before, optimizer = net.values(), CG.AdamW(0.1, weight_decay=0.5, decay_bias=False)
    optimizer.eps = 1.0
    for p in net.parameters:
        p.grad = np.full(p.shape, 1e-300)
    apply(optimizer)
    for p, old, new in zip(net.parameters, before, net.values(), strict=True):
        if p.name == "weight":
            assert_allclose(new[:-1], 0.95 * old[:-1], rtol=1e-12)
            assert_allclose(new[-1], old[-1], rtol=1e-15)
        else:
            assert_allclose(new, old, rtol=1e-15, atol=1e-200)


def test_groups(update):
    net = Net()
    parameter = net.parameters[0]
    groups = {net.norm: {"lr": 0.0}, net.second: {"lr": 0.5}, parameter: {"weight_decay": 0.1}}
    apply, optimizer = update(net), CG.SGD(0.25, groups=groups)
    before, gradients = net.values(), net.fill()
    apply(optimizer)
    for p, old, new, gradient in zip(net.parameters, before, net.values(), gradients, strict=True):
        lr = {net.norm: 0.0, net.second: 0.5}.get(p.node, 0.25)
        decay = 0.1 if p is parameter else 0
        assert_allclose(new, old - lr * (gradient + decay * old), rtol=1e-13, atol=1e-15)


def test_a_parameter_goes_before_its_node():
    net = Net()
    groups = {net.norm: {"lr": 1.0, "momentum": 0.5}, net.parameters[1]: {"lr": 2.0}}
    optimizer = CG.SGD(0.5, momentum=0.25, groups=groups)
    assert optimizer._group_of(net.parameters[1]) == {"lr": 2.0, "momentum": 0.5}
    assert optimizer._group_of(net.parameters[0]) == {}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_gradients_that_are_not_finite(update, bad, dtype):
    net = Net(dtype)
    apply = update(net)
    for nonfinite in ("skip", "raise"):
        optimizer = CG.Adam(0.1, nonfinite=nonfinite)
        net.fill()
        apply(optimizer)
        before, state = net.values(), optimizer.state_dict()
        net.fill()
        net.second.gradWeight[2, 1] = bad
        if nonfinite == "raise":
            with pytest.raises(FloatingPointError, match=r"^Adam: gradients must be finite, got"):
                apply(optimizer)
        else:
            apply(optimizer)
        assert all(map(np.array_equal, before, net.values()))
        assert not any(p.grad.any() for p in net.parameters)
        assert optimizer.updates == 1
        after = optimizer.state_dict()
        assert after.keys() == state.keys()
        assert all(np.array_equal(after[name], state[name]) for name in state)
        net.fill()
        apply(optimizer)  # goes on
        assert optimizer.updates == 2
    ignoring = CG.SGD(0.1)
    net.fill()
    net.second.gradWeight[2, 1] = bad
    apply(ignoring)
    assert np.isnan(net.second.weight[2, 1]) or np.isinf(net.second.weight[2, 1])


def test_large_gradients_in_float32_are_clipped_not_lost():
    """The sum of squares overflows, the norm does not."""
    net = Net("float32")
    optimizer = CG.SGD(1.0, max_grad_norm=1.0, nonfinite="raise")
    before, gradients = net.values(), net.fill(1e30)
    CG.Graph(net.loss).update(optimizer)
    norm = np.sqrt(sum((g**2).sum() for g in gradients))
    for value, old, gradient in zip(net.values(), before, gradients, strict=True):
        assert_allclose(value, old - gradient / norm, rtol=1e-5, atol=1e-6)


def test_settings_count_from_the_next_update_on(update):
    net = Net()
    apply, optimizer = update(net), CG.Adam(0.1)
    reference, expected = Reference("Adam"), net.values()
    changes = [{"lr": 0.1}, {"lr": 0.01}, {"betas": (0.5, 0.6)}, {"eps": 0.1}, {"weight_decay": 1}]
    options = {}
    for change in changes:
        options |= change
        for name, value in change.items():
            setattr(optimizer, name, value)
        gradients = net.fill()
        apply(optimizer)
        for k, gradient in enumerate(gradients):
            expected[k] = reference(k, expected[k], gradient, **options)
        for value, right in zip(net.values(), expected, strict=True):
            assert_allclose(value, right, rtol=1e-12, atol=1e-13)
