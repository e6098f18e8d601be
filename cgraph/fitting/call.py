"""fit: the training of a Graph on data, in one call."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

import numpy as np

from cgraph._execution.feeds import Feed
from cgraph._validation import as_flag, as_generator, as_size, describe
from cgraph.fitting.callbacks import Callback, as_callbacks
from cgraph.fitting.checkpoints import Checkpoint, as_path
from cgraph.fitting.data import as_data
from cgraph.fitting.history import History
from cgraph.fitting.metrics import Function, as_named, makers_of
from cgraph.fitting.progress import Bar, Progress
from cgraph.fitting.run import Run
from cgraph.fitting.samples import Feeds, FeedsOfEpoch
from cgraph.fitting.saved import Saved
from cgraph.fitting.seen import as_seen
from cgraph.graph import Graph
from cgraph.node import Node
from cgraph.nodes.losses import class_threshold
from cgraph.optimizers.optimizer import Optimizer

Metrics = str | Function | Iterable[str | Function]
Callbacks = Callback | Callable[[Run], object] | Iterable[Callback | Callable[[Run], object]]


def fit(
    graph: Graph,
    feed: Feed | Feeds | FeedsOfEpoch,
    optimizer: Optimizer,
    *,
    epochs: int,
    batch: int,
    validation: float | Feed | None = None,
    output: Node | tuple[Node, Node] | None = None,
    metrics: Metrics = (),
    callbacks: Callbacks = (),
    patience: int | None = None,
    rng: int | np.random.Generator | None = None,
    progress: bool | Bar = True,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 1,
) -> History:
    """Trains a graph on samples, in a new random order in each epoch, with an update after each batch.

    The last batch of an epoch has the samples that are left; an optimiser divides by their number.

    Parameters
    ----------
    graph : Graph
        The Graph of a loss.
    feed : mapping of Node to array_like, iterable of such mappings, or function
        The samples of each leaf, as for `Graph.train`. Arrays may be memory maps: chunks of some MB are gathered, and
        nothing is copied whole. An iterable, such as a list or a loader of data, has feeds, which come in its order in
        each epoch; so ``[{x: X, t: T}]`` is not shuffled. Its ``__iter__`` is called for each epoch; an iterator, such
        as a generator, serves one epoch. A function is called for each epoch, with the Generator if it takes an
        argument, and returns an iterable of feeds, which may be an iterator. A batch does not reach across two feeds. A
        Graph with `carry` takes no mapping, since its samples keep their order: each epoch begins with `Graph.reset`,
        the state goes on from feed to feed, and validation goes on from there.
    optimizer : Optimizer
        The optimiser. A number is refused: as everywhere, it would descend on the sum of the losses of a batch, and in
        other libraries on the mean; ``CG.SGD(lr)`` is the mean.
    epochs : int
        The number of passes over the samples.
    batch : int
        The number of samples of an update.
    validation : float or mapping of Node to array_like, optional
        Samples that are not trained on and are measured after each epoch, without Dropout: a part of the arrays of
        `feed`, between 0 and 1, drawn at random once; or a feed of the same leaves.
    output : Node or (Node, Node), optional
        The node that metrics see, or this node and the leaf with its targets. By default the inputs of the loss, if one
        of them is a leaf that is fed; for a node alone the only leaf that is fed and that the node does not depend on.
    metrics : str, function, or sequence of them, optional
        "accuracy", "mae" or "mean_absolute_error", "mse" or "mean_squared_error", "r2"; or functions of (output,
        target), two arrays of shape (samples, size), which return a number. Those of training see the outputs with
        which the samples were learnt.
    callbacks : Callback, function, or sequence of them, optional
        What is called while the training runs; a function is called with the `Run` at the end of each epoch. One that
        returns True ends the training.
    patience : int, optional
        The training ends after so many epochs in a row without a loss below the lowest one before: that of validation
        where there is one. Whenever the training ends, the graph gets the parameters of the best epoch.
    rng : int or Generator, optional
        The seed or the generator of all orders; by default a new one.
    progress : bool or cgraph.fitting.progress.Bar, optional
        Whether progress is shown: a bar of tqdm where that is installed, else a line for each epoch on a terminal. An
        object of a class derived from `Bar` shows it in a way of its own.
    checkpoint : path, optional
        A file that is written, whole or not at all, before the first epoch, after each `checkpoint_every` epochs, and
        at the end. **If it is there already, the training goes on from it**; see the notes.
    checkpoint_every : int, optional
        The number of epochs from one write of the checkpoint to the next.

    Returns
    -------
    History
        A dict of arrays, one element for each epoch: ``loss``, the mean of the losses at the time of their forward
        passes; with validation ``val_loss``; the metrics, and with validation ``val_`` and their names; ``lr``;
        ``seconds``.

    Raises
    ------
    TypeError, ValueError
        An argument is not as above, and nothing has changed; a feed of an iterable, or what a function returns, is not.
    ModelFileError
        The checkpoint is no checkpoint, is damaged, or is of another run.
    OSError
        The checkpoint cannot be read or written.
    FloatingPointError
        The optimiser refuses a gradient that is not finite.

    Notes
    -----
    An exception in a callback, or Ctrl-C, leaves the graph and the optimiser as the last whole batch left them; another
    call trains on.

    A checkpoint has all that decides about the next epochs: parameters, which of them learn, the state of the optimiser
    and its settings, the state of the generator, numbers of samples of Dropout, the best epoch, the history, and the
    state of callbacks that have one. A training that was interrupted, even killed, and is started again in the same way
    ends with the same bits as one that was not, with the same build, number of threads and NumPy. What it was at since
    the last checkpoint is done again. What else an own node or a callback keeps is not a part of it. A training that
    has ended returns its history and parameters at once; a larger `epochs` trains on. A checkpoint is refused where
    batch, optimiser and its settings, shapes of parameters, metrics, callbacks, validation, or samples (their number,
    and the first and last ones) are not those that it was written with; of schedules, functions and feeds of an
    iterable it knows nothing.

    A checkpoint is loaded whole or not at all: what is damaged or forged in it is refused with the name of the entry,
    and where a callback refuses its state, all have again what they had before. Nothing in it is executed.

    A process that is killed may leave a file `.cgraph-*.tmp` behind.

    Examples
    --------
    >>> import numpy as np
    >>> import cgraph as CG
    >>> rng = np.random.default_rng(0)
    >>> inputs = rng.uniform(-1, 1, (200, 2))
    >>> x, t = CG.Leaf1(2), CG.Leaf1(1)
    >>> y = CG.Affine(x, np.zeros((3, 1)))
    >>> graph = CG.Graph(CG.MSE(y, t))
    >>> feed = {x: inputs, t: inputs @ [[1.0], [2.0]] + 3}
    >>> history = CG.fit(graph, feed, CG.Adam(lr=0.1), epochs=30, batch=20, metrics="r2", validation=0.2, rng=0)
    >>> list(history)
    ['loss', 'r2', 'val_loss', 'val_r2', 'lr', 'seconds']
    >>> y.weight.ravel().round(2)
    array([1., 2., 3.])
    """
    loss = _loss_of(graph)
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"fit: optimizer must be an Optimizer, such as CG.SGD(lr), got {describe(optimizer)}"
        )
    last, size = as_size("fit", "epochs", epochs), as_size("fit", "batch", batch)
    waits = None if patience is None else as_size("fit", "patience", patience)
    every = as_size("fit", "checkpoint_every", checkpoint_every)
    own = progress if isinstance(progress, Bar) else None
    shown = own is None and as_flag("fit", "progress", progress)
    name = None if checkpoint is None else as_path(checkpoint, optimizer, graph)
    called, named = as_callbacks(callbacks), as_named(metrics)
    data = as_data(feed, validation, graph._feed_specs, last)
    seen = None
    if named or output is not None:
        fed = graph.leaves if data.leaves is None else data.leaves
        seen = as_seen(loss, output, graph.nodes, fed)
    makers = makers_of(named, class_threshold(loss, seen.output) if seen else None)
    generator = as_generator("fit", rng)
    saved = Saved(name) if name is not None and os.path.exists(name) else None
    split = saved.split if saved else data.draw_split(generator)
    samples, held_out = data.parts(split)
    run = Run(
        graph, optimizer, last, size, samples, held_out, seen, makers, called, waits, generator
    )
    with own or Progress(last, samples.size, shown) as bar:
        if name is None:
            run.train(bar, lambda: None, every)
        else:
            kept = Checkpoint(name, run, data.description(), split)
            if saved is None:
                kept.save()
            else:
                kept.restore(saved)
                bar.resume(name, run.record.epochs, samples.size)
            run.train(bar, kept.save, every)
    return run.history


def _loss_of(graph: object) -> Node:
    """Returns the loss of a Graph, or refuses another argument, and a Graph that ends in something else."""
    if not isinstance(graph, Graph):
        raise TypeError(f"fit: graph must be a Graph, got {describe(graph)}")
    ends = graph._program.outputs
    if len(ends) != 1 or ends[0].size != 1:
        raise ValueError(
            f"fit: graph must have one output of one element, the loss, got {len(ends)} of sizes "
            f"{[node.size for node in ends]}"
        )
    return ends[0]
