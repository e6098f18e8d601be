"""Showing: the method of a Graph that computes one sample of the last feed again, so that the nodes show it."""

from __future__ import annotations

from functools import partial

from cgraph._execution.executable import Executable
from cgraph._execution.feeds import FeedSpecs, one_sample
from cgraph._execution.residency import add_python_sums
from cgraph._execution.samples import show_sample
from cgraph._kernels.runtime import plan
from cgraph._kernels.runtime.memory import exclusive
from cgraph._kernels.runtime.request import Feeds
from cgraph._kernels.runtime.uninterrupted import Snapshot, preserving
from cgraph._validation import as_index


def show(executable: Executable, feeds: Feeds, number: int) -> None:
    """Computes one sample, and its gradients if there is a loss, in the nodes' own arrays.

    `number` is that of the sample in the last call with a feed.
    """
    residency, outputs = executable.residency, executable.program.outputs
    residency.start("live", outputs)
    show_sample(executable.fed, number)
    executable.feed_leaves(feeds, 0)
    plan.forward(executable.all_steps, executable.memory)
    residency.gradients = "zero"
    residency.allow_node_backward(outputs)
    if executable.is_loss:
        residency.gradients = "running"
        preserving(partial(_show_gradients, executable))
        residency.gradients = "full"


def _show_gradients(executable: Executable, snapshot: Snapshot) -> None:
    """Runs a backward pass whose gradient sums are discarded."""
    add_python_sums(executable.python_nodes, snapshot)
    memory, _grads = executable.arena.memory_with_discarded_grads()
    plan.backward(executable.all_steps, memory)


class Showing:
    """The samples of the last feed, one at a time, in the nodes' own arrays."""

    _executable: Executable
    _feed_specs: FeedSpecs

    @exclusive
    def sample(self, i: int) -> None:
        """Runs one sample of the last feed again, so that each node shows its data and, if there is a loss, its grad.

        Parameters and gradient sums keep their values; the leaves hold this sample afterwards. The Graph keeps the feed
        itself until the next call, not a copy, and converts this sample alone (but all samples of an object that is
        neither an array nor a list). So changes to the fed arrays since then count, and so do changes of parameters.

        Parameters
        ----------
        i : int
            The index of the sample in the arrays with which `accumulate`, `step`, `train` or `predict` was called last.

        Raises
        ------
        TypeError
            `i` is not an integer.
        IndexError, ValueError
            The sample does not exist, or no longer exists in an array that has become smaller.
        RuntimeError
            No samples have been fed; the Graph has `carry` or `streams`; the nodes belong to a newer Graph.
        """
        executable = self._executable
        if executable.carrying is not None or executable.streams:
            raise RuntimeError(
                "Graph.sample: a Graph with carry or streams cannot compute one sample alone"
            )
        executable.begin("Graph.sample", executable.effect_of_backward)
        kept = executable.last_feed
        if kept is None:
            raise RuntimeError("Graph.sample: needs samples that were fed before")
        number = as_index("Graph.sample", i, kept[2])
        show(executable, one_sample("Graph.sample", kept, number, self._feed_specs), number)
