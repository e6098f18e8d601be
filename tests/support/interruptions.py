"""Calls that promise a state after an exception, on newly built objects, and the conditions of that state."""

import gc
import os
from functools import cache, partial

import numpy as np
from interrupted_network import ROWS, Network, close, same

import cgraph as CG

ETA = 0.125
USUAL = np.geterr()


# Each function returns the call, and a function that tells afterwards whether its promise was kept.

COMPILED = {
    "samples": partial(Network, layout="samples", threads=1),
    "lanes": partial(Network, layout="lanes", threads=1),
    "threads": partial(Network, layout="lanes", threads=2),
    "own": partial(Network, own=True, layout="auto", threads=1),
}


def construction(make):
    net = make().filled()
    before = net.state()

    def right():
        return (
            same(net.state(), before) and np.isfinite(CG.Graph(net.loss).step(net.few, ETA)).all()
        )

    return lambda: CG.Graph(net.loss), right


def first_construction(make):
    net = Network(own=make is COMPILED["own"])
    net.pass_of_nodes()
    before = net.state()

    def right():
        unchanged = same(net.state(), before)
        net.pass_of_nodes()
        return unchanged and np.isfinite(net.loss.data).all()

    return lambda: CG.Graph(net.loss), right


def sample(make):
    net = make().filled()
    before = net.parameters(), net.sums()
    return lambda: net.graph.sample(
        1
    ), lambda: same(net.parameters(), before[0]) and same(net.sums(), before[1])


def setting_vector(make):
    """All parameters are set, or none."""
    net = make().filled()
    net.deep.kernel[...] = 3
    before, sums = net.parameters(), net.sums()
    vector = 2 * net.graph.get_vector()

    def right():
        ends = before, [2 * array for array in before]
        return any(same(net.parameters(), end) for end in ends) and same(net.sums(), sums)

    return lambda: net.graph.set_vector(vector), right


def gradients(make, call, prepare, sets=False):
    """Gradient sums, and the samples that they count, are as before; parameters, too, unless they are set before."""
    net = prepare(make())
    before, sums = net.parameters(), net.sums()
    samples = net.graph._executable.memory.samples
    named = {"v": 2 * net.graph.get_vector()} if sets else {}
    ends = before, [2 * array for array in before] if sets else before

    def right():
        kept = same(net.sums(), sums) and net.graph._executable.memory.samples == samples
        found = [number for number, end in enumerate(ends) if same(net.parameters(), end)]
        net.graph.set_vector(net.graph.get_vector() / (2 if found == [1] else 1))
        net.graph.accumulate(net.few)
        twin = make()
        for p, total in zip(CG.parameters(twin.loss), sums, strict=True):
            p.grad = total
        twin.graph.accumulate(twin.few)
        return kept and found and close(net.sums(), twin.sums())

    return lambda: getattr(net.graph, call)(net.feed, **named), right


def jacobian(make):
    """Parameters and gradient sums stay as they are, and the next Jacobian is right."""
    net, twin = make().filled(), make()
    before = net.parameters(), net.sums()
    expected = twin.graph.jacobian(twin.few, twin.y, twin.image)

    def right():
        kept = same(net.parameters(), before[0]) and same(net.sums(), before[1])
        return kept and close([net.graph.jacobian(net.few, net.y, net.image)], [expected])

    return lambda: net.graph.jacobian(net.feed, net.y, net.image), right


def gradcheck(make, compiled=True):
    net = make().filled()
    before = net.state()
    subject = net.graph if compiled else net.loss
    check = partial(CG.gradcheck, subject, mode="projection", wrt=[net.y])
    return check, lambda: same(net.state(), before)


def gradcheck_of_nodes(make):
    return gradcheck(make, compiled=False)


@cache
def ends_of_learning(make, prepare, call):
    """Returns (parameters, gradient sums) after each number of whole batches."""
    ends = []
    whole = 8 if call == "train" else 24
    for batches in range(24 // whole + 1):
        net = make()
        prepare(net)
        for first in range(0, batches * whole, whole):
            part = {leaf: rows[first : first + whole] for leaf, rows in net.feed.items()}
            if call == "accumulate":
                net.graph.accumulate(part)
            else:
                net.graph.step(part, ETA)
        ends.append((net.parameters(), net.sums()))
    return ends


OPTIONS = {
    "weights": lambda net: {
        "weights": np.ones(24),
        "outputs": [net.y, net.deep],
        "check_loss": True,
    },
    "grads": lambda net: {"grads": {net.loss: np.ones(24)}, "outputs": net.y},
}


def learning(make, prepare, call, options=None):
    """The parameters are those after some number of whole batches; the sums those with which the next began.

    The options are those with which a call learns as without any.
    """
    ends = ends_of_learning(make, prepare, call)
    net = make()
    prepare(net)
    arguments = {"accumulate": (), "step": (ETA,), "train": (ETA, 8)}[call]
    named = OPTIONS[options](net) if options else {}

    def right():
        found = net.parameters(), net.sums()
        return any(close(found[0], end[0]) and close(found[1], end[1]) for end in ends)

    return lambda: getattr(net.graph, call)(net.feed, *arguments, **named), right


def learning_from(state, call, options=None):
    prepare = {"zero": lambda net: None, "exposed": Network.looked_at, "filled": Network.filled}[
        state
    ]
    return partial(learning, prepare=prepare, call=call, options=options)


@cache
def ends_of_pass(make, call):
    """Returns (parameters, gradient sums) before a pass over the sample that the leaves hold, and after it."""
    ends = []
    for done in (False, True):
        net = make().filled()
        net.graph.forward()
        if done:
            getattr(net.graph, call)(*[ETA][: call == "update"])
        ends.append((net.parameters(), net.sums()))
    return ends


def one_pass(make, call):
    """A method of a Graph, which works on the sample that the leaves hold."""
    ends = ends_of_pass(make, call)
    net = make().filled()
    net.graph.forward()

    def right():
        found = net.parameters(), net.sums()
        return any(same(found[0], end[0]) and same(found[1], end[1]) for end in ends)

    return lambda: getattr(net.graph, call)(*[ETA][: call == "update"]), right


def look_at_sums(make):
    net = make().filled()
    expected = make().filled().sums()
    return lambda: net.deep.gradKernel, lambda: same(net.sums(), expected)


def freezing(make):
    """A parameter learns in the next call if it is trainable then."""
    net = make().filled()
    kernel = CG.parameters(net.deep)[-2]

    def call():
        kernel.trainable = False

    def right():
        before = kernel.value.copy(), kernel.grad.copy()
        net.graph.step(net.few, ETA)
        return same((kernel.value, kernel.grad), before) is not kernel.trainable

    return call, right


def written_before(make):
    """Checks that a value written into a parameter is kept if the call after it is interrupted or refused."""
    net = make()
    net.deep.kernel[...] = 3

    def call():
        net.graph.predict(net.few, net.y)

    return call, lambda: (net.deep.kernel == 3).all()


def pass_of_nodes(make, call):
    """Checks that the next pass begins anew, unless the call was stopped before its first change or after its last."""
    net, twin = make(), make()
    for leaf, rows in net.few.items():
        leaf.getInput(rows[0])
    if call != "forward":
        net.image.forwardPropagation()
        net.target.forwardPropagation()
    if call == "update":
        net.loss.backwardPropagation()

    def right():
        counts = {node.b_count + node.f_count for node in net.nodes}
        if net.loss.b_count:
            counts = {0}  # the image's call was completed
            net.target.forwardPropagation()
        for mine, theirs in zip(CG.parameters(net.loss), CG.parameters(twin.loss), strict=True):
            mine.grad[...] = 0
            theirs.value = mine.value
        net.pass_of_nodes()
        twin.pass_of_nodes()
        return counts == {0} and same(net.sums(), twin.sums())

    calls = {
        "forward": net.image.forwardPropagation,
        "backward": net.loss.backwardPropagation,
        "update": partial(net.loss.update, ETA),
    }
    return calls[call], right


def evaluating(make):
    net = make().filled()
    net.image.getInput(ROWS[0])
    before = net.parameters(), net.sums()

    def right():
        counts = [node.f_count + node.b_count for node in net.nodes]
        return not any(counts) and same(net.parameters(), before[0]) and same(net.sums(), before[1])

    return lambda: CG.evaluate(net.loss), right


def forward_of_graph(make):
    """A backward pass afterwards is that of the sample that the leaves hold, or is refused."""
    net, twin = make(), make()
    for each in (net, twin):
        for leaf, rows in each.few.items():
            leaf.getInput(rows[0])
    twin.graph.forward()
    twin.graph.backward()

    def right():
        try:
            net.graph.backward()
        except RuntimeError:
            return not any(each.any() for each in net.sums())
        return same(net.sums(), twin.sums())

    return net.graph.forward, right


def attaching(make):
    net = Network()
    maps = net.deep.backward

    def call():
        CG.Convolution2d(maps, np.ones((3, 2, 2)), 0.0)

    def right():
        added = [[node for node in x.forward if node not in net.nodes] for x in maps]
        if any(added):
            added[0][0].calcData()
        return all(each == added[0] and len(each) < 2 for each in added)

    return call, right


def detaching(make):
    net = Network()
    probe = CG.Concatenation(net.deep.backward)

    def right():
        return len({probe in x.forward for x in probe.backward}) == 1

    return probe.detach, right


def cutting(make):
    net = Network()

    def right():
        return len({bool(node.forward or node.backward) for node in net.nodes}) == 1

    return net.y.cut, right


def loading(make, folder):
    net, other = make().looked_at(), make()
    CG.save_parameters(folder / "parameters.npz", net.loss)
    other.graph.step(other.feed, ETA)
    ends = net.parameters(), other.parameters()

    def right():
        return any(same(other.parameters(), end) for end in ends)

    return lambda: CG.load_parameters(folder / "parameters.npz", other.loss), right


def saving(make, folder):
    net = make()
    path = folder / "parameters.npz"
    CG.save_parameters(path, net.loss, {"version": 1})

    def right():
        gc.collect()  # what an interrupted zipfile says at its end belongs here
        names = os.listdir(folder)
        return names == [path.name] and CG.read_metadata(path)["version"] in (1, 2)

    return lambda: CG.save_parameters(path, net.loss, {"version": 2}), right


CALLS = {
    "construction": construction,
    "first construction": first_construction,
    "sample": sample,
    "jacobian": jacobian,
    "gradcheck": gradcheck,
    "gradcheck of nodes": gradcheck_of_nodes,
    **{
        f"{call}, sums {state}": learning_from(state, call)
        for call in ("accumulate", "step", "train")
        for state in ("zero", "exposed", "filled")
    },
    **{
        f"{call} with {options}": learning_from("filled", call, options)
        for call, options in (("accumulate", "grads"), ("step", "weights"), ("train", "grads"))
    },
    "backward": partial(one_pass, call="backward"),
    "update": partial(one_pass, call="update"),
    "zero_grad": partial(one_pass, call="zero_grad"),
    "set_vector": setting_vector,
    "value_and_grad": partial(gradients, call="value_and_grad", prepare=Network.looked_at),
    "value_and_grad, sums filled": partial(
        gradients, call="value_and_grad", prepare=Network.filled, sets=True
    ),
    "per_sample_gradients": partial(gradients, call="per_sample_gradients", prepare=Network.filled),
    "look at sums": look_at_sums,
    "freezing": freezing,
    "written before": written_before,
    "forward pass of nodes": partial(pass_of_nodes, call="forward"),
    "backward pass of nodes": partial(pass_of_nodes, call="backward"),
    "update of nodes": partial(pass_of_nodes, call="update"),
    "evaluate": evaluating,
    "forward": forward_of_graph,
}
OF_NODES = {"attaching": attaching, "detaching": detaching, "cutting": cutting}
OF_FILES = {"loading": loading, "saving": saving}
TABLE = [
    *((call, make) for call in CALLS for make in COMPILED),
    *((call, "samples") for call in [*OF_NODES, *OF_FILES]),
]
