from collections.abc import Callable
from typing import Any

def forward_calls(start: Any, observe: Callable[[str, Any], None] | None) -> list[Any]: ...
def backward_calls(
    start: Any, observe: Callable[[str, Any], None] | None, eta: float | None = None
) -> list[Any]: ...
