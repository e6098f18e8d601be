"""The nodes of a file as records: JSON objects that refer to arrays by name, and to other nodes by their numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from cgraph._subclassing.rebuilding import (
    Plan,
    built,
    checked_arguments,
    is_built_in,
    shapes,
)
from cgraph._subclassing.sharing import share_parameters
from cgraph._subclassing.structure import copied, rows
from cgraph._validation import DTYPES, describe
from cgraph.io.fields import decoded, each_of, encoded, place, taken
from cgraph.io.opening import OF_GRAPH
from cgraph.io.state import Arrays, MisfitError, counting, named
from cgraph.node import Node
from cgraph.parameter import own_parameters, parameters_of

_DTYPES = {dtype.name: dtype for dtype in DTYPES}
# Arguments that a node of a built-in class has as attributes, too.
_SIZES = ("size", "height", "width")

Classes = Mapping[str, type[Any]]


def built_in(base: type[Any]) -> dict[str, type[Any]]:
    """Returns the public classes of this package that are derived from a base, and the base itself, by name."""
    found: dict[str, type[Any]] = {}
    pending = [base]
    while pending:
        cls = pending.pop()
        pending += cls.__subclasses__()
        if is_built_in(cls) and not cls.__name__.startswith("_"):
            found[cls.__name__] = cls
    return found


def class_record(function: str, cls: type[Any], own: dict[str, type[Any]]) -> dict[str, str]:
    """Returns how a file names a class; refuses a second class of the user's own with the same name."""
    if is_built_in(cls):
        return {"class": cls.__name__}
    if own.setdefault(cls.__name__, cls) is not cls:
        raise ValueError(
            f"{function}: classes must have different names, got two called {cls.__name__}"
        )
    return {"own class": cls.__name__}


def class_of(
    record: Any, owner: str, base: type[Any], known: Classes, classes: Classes
) -> type[Any]:
    """Returns the class that a record names: one of those known or, for an own class, one of those given."""
    is_own = isinstance(record, dict) and "own class" in record
    name = taken(record, owner, "own class" if is_own else "class", str)
    found = (classes if is_own else known).get(name)
    if found is not None and issubclass(found, base):
        return found
    if is_own:
        raise MisfitError(
            f"{owner}: is of the class {describe(name)}, which is none of cgraph; load it with classes=[{name[:40]}]"
        )
    raise MisfitError(f"{owner}: class must be one of cgraph, got {describe(name)}")


def records_of(
    function: str, order: Sequence[Node], own: dict[str, type[Any]]
) -> tuple[list[dict[str, Any]], Arrays]:
    """Returns the records of nodes in topological order, and copies of their arrays by name."""
    names: dict[Any, str] = {parameter: name for name, parameter in named(parameters_of(order))}
    samples = {node: name for name, node in counting(order)}
    arrays: Arrays = {}
    records: list[dict[str, Any]] = []
    for row in copied(rows(order, {node: number for number, node in enumerate(order)})):
        node, plan = order[len(records)], row.plan
        owner = f"{function}, {plan.cls.__name__}"
        checked_arguments(plan, row.inputs)
        record: dict[str, Any] = class_record(function, plan.cls, own)
        record |= {"dtype": plan.dtype.name, "shape": list(plan.shape)}
        if row.inputs:
            record["inputs"] = list(row.inputs)
        if plan.config:
            config = plan.config.items()
            record["config"] = {name: encoded(owner, name, value) for name, value in config}
        if row.first is not None:
            record["shares with"] = row.first
        elif plan.values:
            declared = {p._value_name: names[p] for p in own_parameters(node)}
            other = f"{OF_GRAPH}{len(records):05d}"
            record["values"] = {name: declared.get(name, f"{other}.{name}") for name in plan.values}
            arrays |= {record["values"][name]: value for name, value in plan.values.items()}
        if plan.frozen:
            record["frozen"] = sorted(plan.frozen)
        if plan.samples is not None:
            record["samples"] = samples[node]
            arrays[samples[node]] = plan.samples
        if plan.data is not None:
            record["data"] = f"{OF_GRAPH}{len(records):05d}.data"
            arrays[record["data"]] = plan.data
        records.append(record)
    return records, arrays


class Record(NamedTuple):
    """A record whose entries have the right kinds, and refer to nodes before it.

    Attributes
    ----------
    owner : str
        The node in messages.
    name : str
        The name of its class.
    dtype : numpy.dtype
    shape : (int, int)
    inputs : list of int
        The numbers of its inputs.
    config : dict of str to object
    first : int, optional
        The number of the node whose parameters it shares.
    values : dict of str to str
        The name of the array of each parameter.
    frozen : frozenset of str
    samples, data : str
        The names of arrays; empty where there are none.
    """

    owner: str
    name: str
    dtype: Any
    shape: tuple[int, int]
    inputs: list[int]
    config: dict[str, Any]
    first: int | None
    values: dict[str, str]
    frozen: frozenset[str]
    samples: str
    data: str


def parsed_records(records: list[Any]) -> Iterator[Record]:
    """Yields the records of a file, checked one by one."""
    for number, record in enumerate(records):
        key = "own class" if isinstance(record, dict) and "own class" in record else "class"
        name = taken(record, f"node {number}", key, str)
        owner = f"node {number}, {describe(name).strip(chr(39))}"
        dtype = taken(record, owner, "dtype", str)
        if dtype not in _DTYPES:
            raise MisfitError(f"{owner}: dtype must be float64 or float32, got {describe(dtype)}")
        shape = each_of(owner, "shape", taken(record, owner, "shape", list), int)
        if len(shape) != 2 or min(shape) < 1:
            raise MisfitError(f"{owner}: shape must be two positive numbers, got {describe(shape)}")
        inputs = taken(record, owner, "inputs", list, [])
        values = taken(record, owner, "values", dict, {})
        first = record.get("shares with")
        frozen = taken(record, owner, "frozen", list, [])
        yield Record(
            owner=owner,
            name=name,
            dtype=_DTYPES[dtype],
            shape=(shape[0], shape[1]),
            inputs=[place(owner, "inputs", each, number) for each in inputs],
            config=taken(record, owner, "config", dict, {}),
            first=None if first is None else place(owner, "shares with", first, number),
            values=dict(
                zip(values, each_of(owner, "values", [*values.values()], str), strict=True)
            ),
            frozen=frozenset(each_of(owner, "frozen", frozen, str)),
            samples=taken(record, owner, "samples", str, ""),
            data=taken(record, owner, "data", str, ""),
        )


def built_nodes(records: list[Any], arrays: Arrays, classes: Classes, most: int) -> list[Node]:
    """Returns the nodes of records, built anew; arrays that they use are taken out of those given.

    Raises
    ------
    MisfitError
        Records and arrays do not make a graph, or its nodes would have more than `most` elements together.
    """
    parsed = [*parsed_records(records)]
    size = sum(record.shape[0] * record.shape[1] for record in parsed)
    require_at_most(most, size)
    nodes: list[Node] = []
    plans: list[Plan] = []
    known = built_in(Node)
    for number, record in enumerate(parsed):
        cls = class_of(records[number], record.owner, Node, known, classes)
        inputs = [nodes[each] for each in record.inputs]
        plan = _plan(cls, record, inputs, arrays, plans)
        plans.append(plan)
        if record.first is not None and not is_built_in(cls):
            # Its constructor gets values, too, in whose place come those of the first node.
            size += sum([value.size for value in plan.values.values()])
            require_at_most(most, size)
        try:
            node = built(plan, inputs, record.first is None)
            if record.first is not None:
                share_parameters(nodes[record.first], node)
        # Any exception: constructors of the user's own classes get arguments that a file says.
        except Exception as error:
            raise MisfitError(f"{record.owner}: {error}") from error
        nodes.append(node)
    return nodes


def require_at_most(most: int, size: int) -> None:
    """Refuses more elements than the caller of `CG.load` wants to spend time and memory on."""
    if size > most:
        raise MisfitError(f"nodes must have at most max_elements={most:,} elements, got {size:,}")


def _plan(
    cls: type[Any], record: Record, inputs: list[Node], arrays: Arrays, plans: list[Plan]
) -> Plan:
    """Returns what a node is to be built of, with all that could harm a node or take much memory checked."""
    owner, size = record.owner, record.shape[0] * record.shape[1]
    if record.first is None:
        values = {name: _array(owner, arrays, key) for name, key in record.values.items()}
    else:
        first = plans[record.first]
        if first.cls is not cls or not cls._parameters:
            raise MisfitError(f"{owner}: shares parameters with a node of another class, or none")
        values = first.values
    pairs = {*cls._parameters, *getattr(cls, "_parts", ())}
    expected = {name for name, _ in pairs}
    if values.keys() != expected:
        raise MisfitError(
            f"{owner}: values must be those of {sorted(expected)}, got {describe(sorted(values))}"
        )
    if not record.frozen <= expected:
        raise MisfitError(
            f"{owner}: frozen must name parameters, got {describe(sorted(record.frozen))}"
        )
    config = {name: decoded(value) for name, value in record.config.items()}
    if is_built_in(cls):
        # Before the constructor allocates: sizes that are not those which have been counted.
        for name, each in zip(_SIZES, (size, *record.shape), strict=True):
            if config.get(name, each) != each:
                raise MisfitError(f"{owner}: {name} must be {each}, got {describe(config[name])}")
        for name, value in values.items():
            if value.dtype != record.dtype:
                raise MisfitError(f"{owner}: {name} must be {record.dtype}, got {value.dtype}")
    samples = _array(owner, arrays, record.samples) if record.samples else None
    data = _array(owner, arrays, record.data) if record.data else None
    if samples is not None and (samples.shape != (1,) or samples.dtype != "uint64"):
        raise MisfitError(f"{owner}: samples must be one uint64, got {samples.dtype}")
    if data is not None and (inputs or data.shape != (size,) or data.dtype != record.dtype):
        raise MisfitError(
            f"{owner}: data must be {size} elements of {record.dtype} of a node without inputs, got "
            f"{data.shape} and {data.dtype}"
        )
    return Plan(
        cls=cls,
        config=config,
        dtype=record.dtype,
        shape=record.shape,
        input_shapes=shapes(inputs),
        values=values,
        frozen=record.frozen,
        samples=samples,
        data=data,
    )


def _array(owner: str, arrays: Arrays, name: str) -> Any:
    """Takes an array out of those of the file that no node has taken."""
    if name not in arrays:
        raise MisfitError(f"{owner}: expected an array {describe(name)} of its own, got none")
    return arrays.pop(name)
