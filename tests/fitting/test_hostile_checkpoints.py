"""Damaged and forged checkpoints raise a ModelFileError in little memory, and leave a run as it was before."""

import copy
import io
import json
import re
import tracemalloc
from functools import cache

import numpy as np
import pytest
from fitting_networks import Average, Network
from forged_arrays import changed_arrays
from forged_graphs import mutated

import cgraph as CG

MiB = 1 << 20
SEEDS = [0, *[pytest.param(seed, marks=pytest.mark.full) for seed in range(1, 20)]]


class Kept(Average):
    """A callback that takes its own state alone."""

    def load_state_dict(self, state):
        if state["average"].dtype != np.float64 or state["average"].shape != (1,):
            raise KeyError("average")
        super().load_state_dict(state)


class Program:
    """What a program has that calls fit again: a graph, an optimiser, a generator and a callback."""

    def __init__(self, path):
        self.network, self.adam = Network(dropout=True), CG.Adam(lr=0.01)
        self.callback, self.rng = Kept(), np.random.default_rng(3)
        self._path = path

    def fit(self, epochs=3, callbacks=()):
        return CG.fit(
            *(self.network.graph, self.network.feed(30), self.adam),
            epochs=epochs,
            batch=10,
            validation=0.2,
            patience=5,
            callbacks=[self.callback, *callbacks],
            rng=self.rng,
            progress=False,
            checkpoint=self._path,
        )

    def state(self):
        adam = {name: x.tobytes() for name, x in self.adam.state_dict().items()}
        flags = [p.trainable for p in self.network.graph.parameters]
        sums = [p.grad.tobytes() for p in self.network.graph.parameters]
        return (
            *(self.network.bits(), adam, repr(self.adam), flags, sums),
            *(self.rng.bit_generator.state, self.callback.average.tobytes()),
        )


@cache
def original(folder):
    """Returns the bytes, the header and the arrays of a checkpoint."""
    path = folder / "original.npz"
    Program(path).fit()
    arrays = dict(np.load(path))
    return path.read_bytes(), json.loads(str(arrays.pop("cgraph"))), arrays


@pytest.fixture
def checkpoint(tmp_path_factory):
    return original(tmp_path_factory.getbasetemp())


def packed(header, arrays):
    file = io.BytesIO()
    text = header if isinstance(header, str) else json.dumps(header)
    np.savez(file, cgraph=np.array(text), **arrays)
    return file.getvalue()


def outcome(path, content):
    """Returns whether a checkpoint is refused, or goes on for an epoch; a refusal must have changed nothing."""
    path.write_bytes(content)
    program = Program(path)
    before = program.state()
    tracemalloc.start()
    try:
        program.fit(epochs=4)
    except (CG.ModelFileError, KeyError) as error:
        assert program.state() == before
        told = str(error) if isinstance(error, CG.ModelFileError) else error.__notes__[0]
        assert told.startswith(f"{path}: ")
        assert path.read_bytes() == content
        return "refused"
    else:
        return "loaded"
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4 * MiB


@pytest.mark.thread_unsafe(reason="measures memory")
@pytest.mark.parametrize("seed", SEEDS)
def test_forged_checkpoints_are_refused_or_go_on(tmp_path, checkpoint, seed):
    content, header, arrays = checkpoint
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(10):
        found.append(outcome(tmp_path / "run.npz", packed(mutated(header, rng), arrays)))
        found.append(outcome(tmp_path / "run.npz", packed(header, changed_arrays(arrays, rng))))
        damaged = bytearray(content)
        for place in rng.integers(len(content), size=int(rng.integers(1, 5))):
            damaged[place] ^= int(rng.integers(1, 256))
        outcome(tmp_path / "run.npz", bytes(damaged))
    assert {*found} == {"refused", "loaded"}
    assert outcome(tmp_path / "run.npz", content[: int(rng.integers(len(content)))]) == "refused"
    assert outcome(tmp_path / "run.npz", content) == "loaded"


def changed(header, **entries):
    return copy.deepcopy(header) | entries


def generator(header, **entries):
    return changed(header, rng=header["rng"] | entries)


FORGED = {
    "levels": (lambda h, a: ("[" * 100_000, a), "not a checkpoint of fit, or damaged"),
    "a seed": (lambda h, a: (changed(h, split=-1), a), "split must be in [0, "),
    "flags": (
        lambda h, a: (changed(h, trainable=[True]), a),
        "trainable must have 2 elements, got 1",
    ),
    "kinds of flags": (
        lambda h, a: (changed(h, trainable=[1, 1]), a),
        "cgraph: trainable must hold true or false each, got 1",
    ),
    "a parameter twice": (
        lambda h, a: (changed(h, updated=[0, 0]), a),
        "cgraph: updated must hold different numbers, got one twice",
    ),
    "an attribute": (
        lambda h, a: (changed(h, current={"settings of the optimizer": {"_states": 1}}), a),
        "settings of the optimizer: must be those of Adam, got '_states': 1",
    ),
    "another generator": (
        lambda h, a: (generator(h, bit_generator="MT19937"), a),
        "rng.bit_generator must be like 'PCG64', got 'MT19937'",
    ),
    "a number of 500 digits": (
        lambda h, a: (generator(h, uinteger=10**500), a),
        "",
    ),
    "a state without a name": (
        lambda h, a: (changed(h, rng={}), a),
        "rng must have bit_generator, ",
    ),
    "epochs": (
        lambda h, a: (changed(h, best_epoch=4), a),
        "cgraph: best_epoch must be in [0, 4), got 4",
    ),
    "a longer column": (
        lambda h, a: (h, a | {"history.lr": np.zeros(4)}),
        "history.lr must be as many float64 as there were epochs, got shape (4,) and float64",
    ),
    "best parameters": (
        lambda h, a: (h, a | {"best.00000.Affine.weight": np.zeros(3)}),
        "best.00000.Affine.weight must have shape (4, 8) and dtype float64, got (3,) and float64",
    ),
    "parameters": (
        lambda h, a: (h, a | {"parameters.00000.Affine.weight": np.zeros((4, 8), "f4")}),
        "Graph.load_state_dict: 00000.Affine.weight must have shape (4, 8) and dtype float64, got",
    ),
    "a count": (
        lambda h, a: (h, a | {"optimizer.updates": np.array(2**63, np.uint64)}),
        "Adam.load_state_dict: updates must be an integer of at least 0, and less than 2**62",
    ),
    "state of a parameter": (
        lambda h, a: (h, a | {"optimizer.00000.exp_avg": np.zeros(3)}),
        "Adam: 00000.exp_avg must have shape (32,) for ",
    ),
    "waiting state of other parameters": (
        lambda h, a: (
            changed(h, updated=None),
            a | {"optimizer.00000.exp_avg": np.zeros(3)},
        ),
        "Adam: 00000.exp_avg must have shape (32,) for ",
    ),
    "another group": (
        lambda h, a: (h, a | {"other.x": np.zeros(1)}),
        "not a checkpoint of fit, or damaged (expected arrays of a run alone, got 'other.x')",
    ),
}


@pytest.mark.parametrize(("forge", "message"), FORGED.values(), ids=FORGED)
def test_a_forged_checkpoint_is_refused(tmp_path, checkpoint, forge, message):
    path = tmp_path / "run.npz"
    path.write_bytes(packed(*forge(*copy.deepcopy(checkpoint[1:]))))
    program = Program(path)
    before = program.state()
    with pytest.raises(CG.ModelFileError, match=f"^{re.escape(f'{path}: ')}.*{re.escape(message)}"):
        program.fit()
    assert program.state() == before


def test_compressed_members_are_refused(tmp_path, checkpoint):
    path, file = tmp_path / "run.npz", io.BytesIO()
    np.savez_compressed(file, **dict(np.load(io.BytesIO(checkpoint[0]))), more=np.zeros(MiB))
    assert outcome(path, file.getvalue()) == "refused"


@pytest.mark.parametrize(
    ("kind", "entry", "name"),
    [(np.random.MT19937, "state", "pos"), (np.random.Philox, None, "buffer_pos")],
)
def test_the_place_at_which_a_generator_reads_is_within_its_buffer(tmp_path, kind, entry, name):
    path = tmp_path / "run.npz"
    program = Program(path)
    program.rng = np.random.Generator(kind(3))
    program.fit()
    arrays = dict(np.load(path))
    header = json.loads(str(arrays.pop("cgraph")))
    state = header["rng"][entry] if entry else header["rng"]
    state[name] = 10**6
    path.write_bytes(packed(header, arrays))
    again = Program(path)
    again.rng = np.random.Generator(kind(3))
    with pytest.raises(CG.ModelFileError, match=rf"{name} must be in \[0, "):
        again.fit()


class Refusing(Average):
    def load_state_dict(self, state):
        raise ZeroDivisionError("no")


def test_a_callback_that_refuses_its_state_leaves_all_as_it_was(tmp_path):
    path = tmp_path / "run.npz"
    Program(path).fit(callbacks=[Refusing()])
    content = path.read_bytes()
    program = Program(path)
    before = program.state()
    with pytest.raises(ZeroDivisionError, match="no") as refused:
        program.fit(callbacks=[Refusing()])
    assert refused.value.__notes__ == [f"{path}: callbacks.1 of the checkpoint was being loaded"]
    assert program.state() == before
    assert path.read_bytes() == content
