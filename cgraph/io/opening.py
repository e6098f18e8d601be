"""The archive of a file of cgraph: how it is opened with its header, and how it is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from cgraph.io.header import HEADER, STRANGE, ModelFileError, parsed_header
from cgraph.io.state import Arrays, MisfitError
from cgraph.io.streams import File, as_source, opened

if TYPE_CHECKING:
    from cgraph.io.archive import Archive

_SHORT_HEADER = 1 << 20  # bytes that the header may have even where the whole file is shorter
# The beginnings of the names of arrays that `CG.save` adds to those of `save_parameters`.
OF_GRAPH, OF_OPTIMIZER = "graph.", "optimizer."


def is_parameter(name: str) -> bool:
    """Returns whether an array of a file is one that `save_parameters` writes, too."""
    return name != HEADER and not name.startswith((OF_GRAPH, OF_OPTIMIZER))


@contextmanager
def opened_archive(function: str, file: File) -> Iterator[tuple[Archive, dict[str, Any]]]:
    """Opens a file for a function, and yields the archive and its header.

    Damage, also while the archive is read, and what does not fit raise a ModelFileError with the file's name.
    """
    # Imported here, since `import cgraph` would take a tenth longer with the imports of zipfile.
    from cgraph.io.archive import Archive, DamagedError

    name = as_source(function, file)
    with opened(file) as stream:
        try:
            archive = Archive(stream)
            # The header is at most as long as the file, unless it is compressed.
            text = archive.member(HEADER).text(max(archive.size, _SHORT_HEADER))
        except DamagedError as error:
            raise ModelFileError(f"{name}: {STRANGE}, or damaged ({error})") from error
        with archive:
            header = parsed_header(name, text)
            try:
                yield archive, header
            except (DamagedError, MisfitError) as error:
                raise ModelFileError(f"{name}: {error}") from error


def write_archive(file: IO[bytes], arrays: Arrays) -> None:
    """Writes the arrays as `.npz`; an exception that interrupts it is raised as it came."""
    # NumPy's annotations do not accept a dict of arrays beside the keywords that NumPy reserves.
    write: Any = np.savez
    try:
        write(file, **arrays)
    except ValueError as error:
        # zipfile cannot close an interrupted archive, and raises a ValueError in place of the interruption.
        cause: BaseException | None = error
        while isinstance(cause, Exception):
            cause = cause.__context__
        raise cause or error from None
