"""Files of parameters, which are written whole or not at all, and read without pickle."""

from cgraph.io.parameters import (
    ModelFileError,
    load_parameters,
    read_metadata,
    save_parameters,
)

__all__ = ["ModelFileError", "load_parameters", "read_metadata", "save_parameters"]
