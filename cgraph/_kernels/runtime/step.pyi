from typing import Any, Self

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

@disjoint_base
class Table:
    def __new__(cls, numbers: list[int] | npt.NDArray[np.intp]) -> Self: ...

@disjoint_base
class Step:
    table_bytes: int

@disjoint_base
class LearningStep(Step):
    weights_learn: bool
    biases_learn: bool
    accumulate: bool

@disjoint_base
class PythonStep(Step):
    def __init__(self, node: Any) -> None: ...

@disjoint_base
class Port:
    nbytes: int

@disjoint_base
class RowPort(Port):
    def __init__(self, offset: int, nbytes: int) -> None: ...
