"""Callbacks of fit, exceptions in them, interrupts, and what is shown meanwhile."""

import signal
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from fitting_networks import Network, bits
from interrupts import Alarm, events, seconds, stopped

import cgraph as CG


def fitted(network, callbacks=(), epochs=4, **settings):
    settings = {"batch": 8, "rng": 3, "progress": False} | settings
    feed = network.feed(20)
    return CG.fit(
        *(network.graph, feed, CG.Adam(lr=0.01)), epochs=epochs, callbacks=callbacks, **settings
    )


class Notes(CG.Callback):
    """Notes its calls, and at one of them does something."""

    def __init__(self, moment=None, act=lambda: None):
        self.calls, self.moment, self.act = [], moment, act

    def note(self, *call):
        self.calls.append(call)
        return self.act() if call == self.moment else None

    def on_epoch_begin(self, run):
        assert run.logs == {}
        return self.note("begin", run.epoch)

    def on_batch_end(self, run, losses):
        return self.note("batch", run.epoch, losses.size)

    def on_epoch_end(self, run):
        assert len(run.history["loss"]) == run.epoch
        assert run.history["loss"][-1] == run.logs["loss"]
        return self.note("end", run.epoch)


def test_callbacks_are_called_in_order():
    network, notes = Network(), Notes()
    fitted(network, [notes], epochs=2)
    epochs = [
        [("begin", n), ("batch", n, 8), ("batch", n, 8), ("batch", n, 4), ("end", n)]
        for n in (1, 2)
    ]
    assert notes.calls == epochs[0] + epochs[1]


@pytest.mark.parametrize(
    ("moment", "epochs", "last"),
    [
        (("begin", 1), 0, ("begin", 1)),
        (("begin", 3), 2, ("begin", 3)),
        (("batch", 2, 4), 2, ("end", 2)),
        (("batch", 2, 8), 2, ("end", 2)),
        (("end", 3), 3, ("end", 3)),
    ],
)
@pytest.mark.parametrize("true", [True, np.True_])
def test_true_ends_the_training_and_the_epoch_is_recorded(moment, epochs, last, true):
    notes, other = Notes(moment, lambda: true), Notes()
    network = Network()
    history = fitted(network, [notes, other], metrics="mae", validation=network.feed(5, seed=1))
    assert history.stopped
    assert {len(array) for array in history.values()} == {epochs}
    assert notes.calls[-1] == other.calls[-1] == last


def test_other_values_do_not_end_it():
    answers = iter([1, 0.5, "no", [True]])
    assert len(fitted(Network(), lambda run: next(answers))["loss"]) == 4
    assert len(fitted(Network(), lambda run: run.epoch == 2)["loss"]) == 2


@pytest.mark.parametrize("moment", [("begin", 2), ("batch", 2, 4), ("end", 2)])
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_exception_leaves_a_usable_graph(moment, error):
    """The parameters are those of the last update, and another call trains on."""

    def fail():
        raise error

    def stop():
        return True

    network, expected = Network(dropout=True), Network(dropout=True)
    with pytest.raises(error):
        fitted(network, [Notes(moment, fail)])
    fitted(expected, [Notes(moment, stop)])
    assert network.bits() == expected.bits()
    assert bits(fitted(network)) == bits(fitted(expected))
    assert network.bits() == expected.bits()


def test_interrupts_at_any_moment_leave_the_graph_usable():
    network = Network("float32", dropout=True)
    settings = {"epochs": 2, "metrics": "r2", "validation": 0.2, "patience": 2}

    def call():
        fitted(network, [Notes()], **settings)

    call()
    count = events(call)
    # An epoch that is not the best one has fewer events.
    for event in range(1, count * 9 // 10, count // 60):
        assert not stopped(call, event)
        assert all(
            np.isfinite(p.value).all() and not p.grad.any() for p in network.graph.parameters
        )
    call()


@pytest.mark.thread_unsafe(reason="sets an alarm")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers")
def test_signals_leave_the_graph_usable():
    network = Network(dropout=True, threads=2)

    def call():
        fitted(network, epochs=3, metrics="r2", validation=0.2)

    longest = seconds(call)
    with Alarm(seed=0) as alarm:
        stops = sum(alarm.stops(call, longest) for _ in range(40))
    assert stops > 5
    assert all(np.isfinite(p.value).all() and not p.grad.any() for p in network.graph.parameters)
    call()


def test_a_frozen_parameter_may_be_released_meanwhile():
    network = Network()
    first = network.graph.parameters[0]
    first.trainable = False
    before = first.value.copy()
    unchanged = []

    def release(run):
        unchanged.append((first.value == before).all())
        first.trainable = run.epoch >= 2

    fitted(network, release)
    assert unchanged == [True, True, False, False]


# What is shown


def test_without_a_terminal_nothing_is_printed(capsys):
    fitted(Network(), progress=True)
    assert capsys.readouterr() == ("", "")


def test_lines_on_a_terminal_without_tqdm(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    history = fitted(Network(), progress=True, epochs=10, validation=0.2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert lines[0].startswith(
        f"epoch  1/10   loss {history['loss'][0]:.4g}   val_loss {history['val_loss'][0]:.4g}   "
    )
    fitted(Network(), progress=False)
    assert capsys.readouterr() == ("", "")


class Bar:
    """The interface of tqdm that fit uses."""

    def __init__(self, *, total, **_):
        Bar.last = self
        self.total, self.count, self.closed, self.shown = total, 0, False, []

    def update(self, count):
        self.count += count

    def set_description(self, text, refresh):
        self.shown.append(text)

    def set_postfix(self, numbers):
        self.shown.append(list(numbers))

    def close(self):
        self.closed = True


class Broken(Bar):
    def update(self, count):
        raise OSError("closed")


@pytest.mark.parametrize("kind", [Bar, Broken])
def test_a_bar_where_tqdm_is(monkeypatch, capsys, kind):
    monkeypatch.setitem(sys.modules, "tqdm", SimpleNamespace(tqdm=kind))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    fitted(Network(), progress=True, epochs=2)
    if kind is Bar:
        assert (Bar.last.total, Bar.last.count, Bar.last.closed) == (40, 40, True)
        assert Bar.last.shown == ["epoch 1/2", ["loss", "lr"], "epoch 2/2", ["loss", "lr"]]
    assert capsys.readouterr().out == ""


def test_the_bar_is_closed_after_an_exception(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", SimpleNamespace(tqdm=Bar))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with pytest.raises(ZeroDivisionError):
        fitted(Network(), lambda run: 1 / 0, progress=True)
    assert Bar.last.closed


def test_the_real_tqdm_shows_the_epochs(monkeypatch, capsys):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    fitted(Network(), progress=True, epochs=2)
    assert "epoch 2/2: 100%" in capsys.readouterr().err
