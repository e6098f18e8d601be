from typing import Any

from typing_extensions import disjoint_base

@disjoint_base
class Step: ...

@disjoint_base
class CallStep(Step):
    error: BaseException | None
    def __init__(self, node: Any) -> None: ...
