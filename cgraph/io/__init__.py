"""Files of parameters, which are written whole or not at all, and read without pickle; and state dicts in memory."""

from cgraph.io.parameters import (
    LoadReport,
    Metadata,
    ModelFileError,
    ParameterFile,
    load_parameters,
    open_parameters,
    read_metadata,
    save_parameters,
)

__all__ = [
    "LoadReport",
    "Metadata",
    "ModelFileError",
    "ParameterFile",
    "load_parameters",
    "open_parameters",
    "read_metadata",
    "save_parameters",
]
