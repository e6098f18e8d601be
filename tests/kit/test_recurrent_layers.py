"""Recurrent cells with initial parameters, and rnn: parameters, common ones, masks."""

import numpy as np
import pytest

import cgraph as CG

L = CG.layers
CELLS = {
    "simple": (L.simple_rnn_cell, 1),
    "gru": (L.gru_cell, 1),
    "lstm": (L.lstm_cell, 2),
}
STEPS, M, N, B = 6, 3, 5, 9


def sequence(size, steps=STEPS):
    return [CG.Leaf1(size) for _ in range(steps)]


def drawn(name):
    """Returns a function that makes the cell of a name, with numbers that a test can compare."""
    return lambda x, h: CELLS[name][0](x, h, rng=3)


@pytest.mark.parametrize("gates", [3, 4])
def test_initial_parameters_are_those_of_keras(gates):
    """Kernels are glorot_uniform, recurrent ones orthogonal; the forget gate of an LSTM has biases of 1."""
    make, states = (L.gru_cell, 1) if gates == 3 else (L.lstm_cell, 2)
    cell = make(CG.Leaf1(40), CG.Leaf1(states * 10), rng=0)
    limit = np.sqrt(6 / (40 + gates * 10))
    assert 0.95 * limit < abs(cell.W_ih).max() <= limit
    np.testing.assert_allclose(cell.W_hh.T @ cell.W_hh, np.eye(10), atol=1e-12)
    assert not cell.b_hh.any()
    forget = np.zeros(gates * 10)
    if gates == 4:
        forget[10:20] = 1
        assert not L.lstm_cell(CG.Leaf1(4), CG.Leaf1(2), unit_forget_bias=False).b_ih.any()
    np.testing.assert_array_equal(cell.b_ih, forget)


def test_a_simple_cell_is_tanh_of_both_products():
    x, h = CG.Leaf1(M), CG.Leaf1(N)
    cell = L.simple_rnn_cell(x, h, kernel_initializer="ones", recurrent_initializer="zeros")
    x.getInput([0.1, 0.2, 0.3])
    h.getInput(np.ones(N))
    np.testing.assert_allclose(CG.evaluate(cell), np.tanh(np.full(N, 0.6)))
    weight = cell.backward[0].weight
    assert weight.shape == (M + N + 1, N)
    orthogonal = L.simple_rnn_cell(x, h, "relu", rng=1).backward[0].weight[M:-1]
    np.testing.assert_allclose(orthogonal @ orthogonal.T, np.eye(N), atol=1e-12)


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_is_unrolled_with_common_parameters(name):
    make, states = CELLS[name]
    inputs, state = sequence(M), CG.Leaf1(states * N)
    found = L.rnn(drawn(name), inputs, state)
    assert len(CG.parameters(found[-1])) == len(CG.parameters(found[0]))
    assert all(
        p.nodes[0] is CG.parameters(found[0])[0].nodes[0] for p in CG.parameters(found[-1])[:1]
    )
    x, h = CG.Leaf1(M), CG.Leaf1(states * N)
    cell, rng = make(x, h, rng=3), np.random.default_rng(0)
    value = rng.normal(size=h.size)
    state.getInput(value)
    h.getInput(value)
    for leaf, each in zip(inputs, found, strict=True):
        leaf.getInput(rng.normal(size=M))
        x.getInput(leaf.data)
        h.getInput(CG.evaluate(cell))
        np.testing.assert_allclose(CG.evaluate(each), h.data, rtol=1e-12)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("layout", ["samples", "lanes"])
def test_masks_make_sequences_of_different_lengths_one_batch(name, layout):
    """Gradients and last states are those of each sequence alone, unrolled as far as it is long."""
    _, states = CELLS[name]
    lengths, rng = np.arange(B) % STEPS + 1, np.random.default_rng(7)
    samples, begin = rng.normal(size=(B, STEPS, M)), rng.normal(size=(B, states * N))

    def built(steps, masked):
        inputs, state, masks = sequence(M, steps), CG.Leaf1(states * N), sequence(1, steps)
        found = L.rnn(drawn(name), inputs, state, masks=masks if masked else None)
        return inputs, state, masks, CG.Norm2(found[-1])

    inputs, state, masks, loss = built(STEPS, True)
    feed = {x: samples[:, t] for t, x in enumerate(inputs)} | {state: begin}
    feed |= {mask: 1.0 * (lengths > t) for t, mask in enumerate(masks)}
    graph = CG.Graph(loss, layout=layout)
    rows = graph.per_sample_gradients(feed)
    losses = graph.predict(feed, loss)
    for k, length in enumerate(lengths):
        inputs, state, _, loss = built(length, False)
        alone = {x: samples[k : k + 1, t] for t, x in enumerate(inputs)} | {state: begin[k : k + 1]}
        other = CG.Graph(loss)
        np.testing.assert_allclose(losses[k], other.predict(alone, loss)[0], rtol=1e-12)
        np.testing.assert_allclose(
            rows[k], other.per_sample_gradients(alone)[0], rtol=1e-9, atol=1e-12
        )


def test_any_function_of_an_input_and_a_state_is_a_cell():
    """What it makes of nodes that are neither stays as it is; layers of several cells have several states."""
    inputs, state, gain = sequence(M), CG.Leaf1(N), CG.Leaf1(1)
    calls = []

    def cell(x, h):
        calls.append((x, h))
        hidden = L.layer_norm(L.dense(x, 4, "relu", rng=0))
        return CG.Mul(CG.Expand(CG.Exp(gain), N, 1), L.gru_cell(hidden, h, rng=1))

    found = L.rnn(cell, inputs, state)
    assert calls == [(inputs[0], state)]
    exps = [node for node in CG.ancestors(found[-1]) if isinstance(node, CG.Exp)]
    assert len(exps) == 1
    assert len(CG.parameters(found[-1])) == 1 + 2 + 4
    for leaf in (*inputs, state, gain):
        leaf.getInput(np.full(leaf.size, 0.3))
        leaf.forwardPropagation()
    end = CG.Norm2(found[-1])
    for leaf in (*inputs, state, gain):
        leaf.forwardPropagation()
    CG.gradcheck(end)


def test_a_cell_of_another_sequence_gives_its_parameters():
    first = L.rnn(lambda x, h: L.gru_cell(x, h, rng=0), sequence(M), CG.Leaf1(N))
    second = L.rnn(first[0], sequence(M, 3), CG.Leaf1(N))
    assert len(second) == 3
    assert {*CG.parameters(second[-1])} == {*CG.parameters(first[-1])}


def test_a_refused_cell_leaves_nothing_at_its_inputs():
    inputs, state, masks = sequence(M), CG.Leaf1(N), sequence(1)
    with pytest.raises(ValueError, match="shape of the state"):
        L.rnn(lambda x, h: L.dense(L.gru_cell(x, h, rng=0), 2), inputs, state, masks=masks)
    with pytest.raises(ValueError, match="depends on its arguments"):
        L.rnn(lambda x, h: L.gru_cell(CG.Leaf1(2), CG.Leaf1(N)), inputs, state)
    assert not any(node.forward for node in (*inputs, state, *masks))


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_that_is_carried_computes_what_an_unrolled_one_does(name):
    make, states = CELLS[name]
    inputs, state = sequence(M), CG.Leaf1(states * N)
    found = L.rnn(drawn(name), inputs, state)
    samples = np.random.default_rng(0).normal(size=(STEPS, M))
    for leaf, value in zip((*inputs, state), (*samples, np.zeros(state.size)), strict=True):
        leaf.getInput(value)
    x, h = CG.Leaf1(M), CG.Leaf1(states * N)
    cell = make(x, h, rng=3)
    carried = CG.Graph(cell, carry={h: cell}).predict({x: samples}, cell)
    unrolled = [CG.evaluate(each) for each in found]
    np.testing.assert_allclose(carried, unrolled, rtol=1e-12, atol=1e-14)


def test_the_first_input_is_not_the_state():
    h, x = CG.Leaf1(1), CG.Leaf1(1)
    with pytest.raises(
        ValueError, match=r"^rnn: state must be another node than the first input, got Leaf1"
    ):
        CG.layers.rnn(lambda x, h: CG.Sub(x, CG.Scale(h, 0.5)), [h, x], h)
    assert not h.forward
