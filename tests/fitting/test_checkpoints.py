"""Checkpoints of fit: a run that was interrupted, even killed, ends with the bits of one that was not."""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fitting_networks import Network, RateByLoss, bits, whole_run
from interrupts import events, stopped

import cgraph as CG

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def expected():
    """What the run ends with that nothing interrupts."""
    return whole_run()


def test_a_checkpoint_leaves_no_trace(tmp_path, expected):
    assert whole_run(tmp_path / "run.npz") == expected
    assert whole_run(tmp_path / "run.npz") == expected  # a run that has ended is not trained again
    assert [path.name for path in tmp_path.iterdir()] == ["run.npz"]


@pytest.mark.parametrize("every", [1, 2, 100])
def test_a_run_goes_on_for_more_epochs(tmp_path, expected, every):
    for epochs in (1, 3, 4, 7):
        result = whole_run(tmp_path / "run.npz", epochs, checkpoint_every=every)
    assert result == expected


# Python swallows an exception where a generator ends before its last element, and reports it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.thread_unsafe(reason="traces")
def test_interrupted_at_any_moment(tmp_path, expected):
    """An exception in Python code of the package, at moments spread over the whole run."""
    path = tmp_path / "run.npz"
    count = events(lambda: whole_run(path))
    path.unlink()
    hits = 0
    for event in range(count // 6, count * 11 // 12, count // 6):
        hits += not stopped(lambda: whole_run(path), event)
        assert whole_run(path) == expected
        path.unlink()
    assert hits > 2


@pytest.mark.parametrize("kills", [8, pytest.param(50, marks=pytest.mark.full)])
@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="kills forked processes")
@pytest.mark.thread_unsafe(reason="starts processes")
def test_killed_at_random_moments(tmp_path, kills):
    program = ROOT / "tests" / "support" / "killed_fits.py"
    run = subprocess.run(
        [sys.executable, program, tmp_path / "run.npz", str(kills)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert int(run.stdout.split()[0]) >= kills


def test_the_same_graph_goes_on_after_an_interrupt(tmp_path):
    """As in a notebook, where the optimiser has updated these parameters already, and a callback its settings."""
    results = []
    for fails in (False, True):
        network, adam, rate = Network(dropout=True), CG.Adam(lr=0.02), RateByLoss()
        settings = {"epochs": 6, "batch": 8, "rng": 1, "progress": False}
        settings["checkpoint"] = tmp_path / f"{fails}.npz"
        call = network.graph, network.feed(), adam

        class Fails(CG.Callback):
            def __init__(self, fails):
                self.fails = fails

            def on_batch_end(self, run, losses):
                if self.fails and run.epoch == 4:
                    raise ZeroDivisionError

        if fails:
            with pytest.raises(ZeroDivisionError):
                CG.fit(*call, **settings, callbacks=[rate, Fails(True)])
        history = CG.fit(*call, **settings, callbacks=[rate, Fails(False)])
        results.append((network.bits(), bits(history), rate.average.tobytes()))
    assert results[0] == results[1]


def run_once(path, epochs=3, network=None, optimizer=None, feed=None, **settings):
    network = network or Network()
    optimizer = optimizer or CG.Adam(lr=0.01)
    settings = {"batch": 8, "rng": 1, "progress": False} | settings
    feed = feed or network.feed()
    history = CG.fit(network.graph, feed, optimizer, epochs=epochs, checkpoint=path, **settings)
    return network.bits(), bits(history)


@pytest.mark.parametrize("kind", ["MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"])
def test_any_generator_of_numpy_goes_on(tmp_path, kind):
    def rng():
        return np.random.Generator(getattr(np.random, kind)(5))

    whole = run_once(None, 6, rng=rng())
    run_once(tmp_path / "run.npz", 3, rng=rng())
    assert run_once(tmp_path / "run.npz", 6, rng=rng()) == whole


def test_without_a_seed_the_run_keeps_its_own(tmp_path):
    path = tmp_path / "run.npz"
    first = run_once(path, 2, rng=None, validation=0.3)
    again = run_once(path, 2, rng=None, validation=0.3)
    assert first == again


def test_feeds_of_a_function_go_on_by_the_generator(tmp_path):
    def run(path, epochs):
        network = Network()

        def noisy(rng):
            feed = network.feed()
            yield feed | {network.x: feed[network.x] + rng.normal(size=(50, 3))}

        return run_once(path, epochs, network, feed=noisy)

    run(tmp_path / "run.npz", 2)
    assert run(tmp_path / "run.npz", 5) == run(None, 5)


def test_flags_of_parameters_go_on(tmp_path):
    def run(path, epochs):
        network = Network()
        first = network.graph.parameters[0]
        first.trainable = False

        def release(run):
            first.trainable = run.epoch >= 2

        return run_once(path, epochs, network, callbacks=release)

    run(tmp_path / "run.npz", 3)
    assert run(tmp_path / "run.npz", 6) == run(None, 6)


def test_settings_that_callbacks_have_changed_go_on(tmp_path):
    def run(path, epochs):
        return run_once(path, epochs, callbacks=[RateByLoss()])

    run(tmp_path / "run.npz", 3)
    assert run(tmp_path / "run.npz", 6) == run(None, 6)


def test_patience_that_has_ended_a_run_does_not_begin_again(tmp_path):
    path = tmp_path / "run.npz"
    settings = {"patience": 1, "checkpoint_every": 100}
    ended = run_once(path, 10, optimizer=CG.SGD(lr=1e3), **settings)
    assert len(ended[1]["loss"]) < 10 * 8
    assert run_once(path, 20, optimizer=CG.SGD(lr=1e3), **settings) == ended


def test_a_run_that_is_stopped_is_kept_at_its_end(tmp_path):
    calls, path = [], tmp_path / "run.npz"

    def stop(run):
        calls.append(run.epoch)
        return run.epoch == 2

    ended = run_once(path, callbacks=stop, checkpoint_every=100)
    assert run_once(path, callbacks=stop, checkpoint_every=100) == ended
    assert calls == [1, 2]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"batch": 9}, "batch 8, got 9"),
        ({"optimizer": CG.SGD(lr=0.01)}, "optimizer 'Adam', got 'SGD'"),
        ({"optimizer": CG.Adam(lr=0.02)}, "settings of the optimizer"),
        ({"metrics": "mae"}, "measurements"),
        ({"patience": 3}, "patience None, got 3"),
        ({"validation": 0.2}, "fraction for validation None, got 0.2"),
        ({"callbacks": [RateByLoss()]}, "callbacks"),
        ({"rng": np.random.Generator(np.random.Philox(1))}, "rng 'PCG64', got 'Philox'"),
        ({"network": Network("float32")}, "parameters"),
    ],
)
def test_the_checkpoint_of_another_run_is_refused(tmp_path, settings, name):
    path = tmp_path / "run.npz"
    run_once(path)
    content = path.read_bytes()
    network = settings.pop("network", None) or Network()
    before = network.bits()
    with pytest.raises(CG.ModelFileError) as refused:
        run_once(path, network=network, **settings)
    assert f"checkpoint of another run, with {name}" in str(refused.value)
    assert network.bits() == before
    assert path.read_bytes() == content


def test_other_samples_are_refused(tmp_path):
    path, network = tmp_path / "run.npz", Network()
    run_once(path)
    for feed in (network.feed(51), network.feed(seed=1)):
        with pytest.raises(CG.ModelFileError, match="checkpoint of another run, with samples"):
            run_once(path, network=network, feed=feed)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04"])
def test_other_files_are_refused_and_kept(tmp_path, content):
    path, network = tmp_path / "run.npz", Network()
    path.write_bytes(content)
    with pytest.raises(CG.ModelFileError, match=r"run\.npz: not a checkpoint of fit, or damaged"):
        run_once(path, network=network)
    assert path.read_bytes() == content
    assert network.bits() == Network().bits()


def test_files_of_parameters_and_damaged_files_are_refused(tmp_path):
    path, network = tmp_path / "run.npz", Network()
    CG.save_parameters(path, network.graph)
    expected = (
        "not a checkpoint of fit, or damaged .expected a cgraph checkpoint, got 'cgraph parameters'"
    )
    with pytest.raises(CG.ModelFileError, match=expected):
        run_once(path, network=network)
    path.unlink()
    run_once(path)
    for reads in (CG.load, CG.read_metadata):
        with pytest.raises(
            CG.ModelFileError, match=r"run\.npz: not a .*, but a checkpoint, which CG"
        ):
            reads(path)
    whole = path.read_bytes()
    for position in np.linspace(60, len(whole) - 60, 40).astype(int):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        fresh = Network()
        try:
            run_once(path, network=fresh)
        except CG.ModelFileError:
            assert fresh.bits() == Network().bits()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CG.ModelFileError, match="not a checkpoint of fit"):
        run_once(path)


def test_a_checkpoint_is_a_plain_archive_of_arrays(tmp_path):
    path = tmp_path / "run.npz"
    run_once(path)
    with np.load(path, allow_pickle=False) as arrays:
        assert arrays["history.loss"].shape == (3,)
        assert arrays["parameters.00000.Affine.weight"].shape == (4, 8)
        assert "optimizer.00001.exp_avg" in arrays
    assert zipfile.is_zipfile(path)


def test_a_place_that_cannot_be_written_is_known_before_the_first_epoch(tmp_path):
    network = Network()
    with pytest.raises(FileNotFoundError):
        run_once(tmp_path / "none" / "run.npz", network=network)
    assert network.bits() == Network().bits()


def test_an_optimiser_of_other_graphs_is_refused(tmp_path):
    network, adam = Network(), CG.Adam(lr=0.01)
    other = Network()
    other.graph.step(other.feed(), adam)
    with pytest.raises(ValueError, match="needs an optimizer of this graph's parameters alone"):
        run_once(tmp_path / "run.npz", network=network, optimizer=adam)


def test_states_of_callbacks_that_are_no_arrays_are_refused(tmp_path):
    class Wrong(CG.Callback):
        def __init__(self, state):
            self.state = state

        def state_dict(self):
            return self.state

    for state in ([1], {"a": object()}, {1: 2}):
        with pytest.raises(TypeError, match=r"Wrong\.state_dict: must return a dict of arrays"):
            run_once(tmp_path / "run.npz", callbacks=[Wrong(state)])
    assert not list(tmp_path.iterdir())
