"""Files of parameters: written whole or not at all, read without pickle."""

from cgraph.io.parameters import (
    ModelFileError,
    load_parameters,
    read_metadata,
    save_parameters,
)

__all__ = ["ModelFileError", "load_parameters", "read_metadata", "save_parameters"]
