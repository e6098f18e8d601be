"""Rows of CSV files, one at a time, with the lines on which they begin; encoding and separator are recognised."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from pathlib import Path

from cgraph.data.idx import DataError

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_SAMPLE = 1 << 16  # bytes or characters that are looked at to recognise a format
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_SHOWN = 40  # characters of a cell that a message quotes

Row = tuple[int, list[str]]


class Table:
    """A CSV file whose first row is a header; the file is read anew by each call of `rows`.

    Parameters
    ----------
    path : Path
        The file.
    separator : str or None, optional
        The character between two cells; by default that of `SEPARATORS` which divides the first rows best.
    encoding : str or None, optional
        By default UTF-8, or UTF-16 where the file begins with the mark of it.
    only : str or None, optional
        The name of the only column that is needed, which may stand alone.

    Attributes
    ----------
    header : list of str
        The names of the columns; a column may have none, which is an empty text.

    Raises
    ------
    OSError
        The file cannot be read.
    DataError
        The file is empty or no text, its separator is not recognised, or its header is none.
    """

    def __init__(
        self,
        path: Path,
        separator: str | None = None,
        encoding: str | None = None,
        only: str | None = None,
    ) -> None:
        self.path = path
        with path.open("rb") as stream:
            if not path.is_file():
                raise DataError(f"{path}: expected a file, which can be read twice")
            start = stream.read(_SAMPLE)
        self.encoding = encoding or self._encoding_of(start)
        self.separator = separator or self._recognised(only)
        self.header = self._checked_header()

    def rows(self) -> Iterator[Row]:
        """Yields the line on which each row begins, and its cells, whatever their number; empty lines are no rows."""
        rows = self._parsed()
        next(rows, None)
        return rows

    def wrong_length(self, cells: list[str]) -> str | None:
        """Returns what is wrong with the number of cells of a row, or None."""
        if len(cells) == len(self.header):
            return None
        return f"expected {len(self.header)} cells, as in the header, got {len(cells)}"

    def _parsed(self) -> Iterator[Row]:
        line = 1
        try:
            with self.path.open(encoding=self.encoding, newline="") as stream:
                reader = csv.reader(
                    stream, delimiter=self.separator, skipinitialspace=True, strict=True
                )
                try:
                    for cells in reader:
                        if cells:
                            yield line, [cell.strip() for cell in cells]
                        line = reader.line_num + 1
                except csv.Error as error:
                    raise DataError(f"{self.path}: line {line}: {error}; is a quote missing?") from error  # fmt: skip
        except UnicodeError as error:
            raise self._undecodable() from error
        except LookupError as error:
            raise DataError(f"{self.path}: {error}; --encoding takes names of Python") from error

    def _encoding_of(self, start: bytes) -> str:
        if not start.strip():
            raise DataError(f"{self.path}: expected a header and rows, got an empty file")
        if start.startswith((b"PK\x03\x04", b"\x1f\x8b", b"\xd0\xcf\x11\xe0")):
            raise DataError(
                f"{self.path}: expected a text file, got a compressed or an Excel file: save it as CSV"
            )
        for mark, encoding in _MARKS.items():
            if start.startswith(mark):
                return encoding
        if b"\0" in start:
            raise DataError(
                f"{self.path}: expected text, got zero bytes: say --encoding utf-16-le if that is what it is"
            )
        return "utf-8"

    def _undecodable(self) -> DataError:
        """Returns the error of a file that is not in its encoding, with the line where that shows, if it is UTF-8."""
        where = ""
        if self.encoding.startswith("utf-8"):
            with self.path.open("rb") as stream:
                for number, line in enumerate(stream, 1):
                    try:
                        line.decode("utf-8")
                    except UnicodeDecodeError:
                        where = f"line {number}: "
                        break
        return DataError(
            f"{self.path}: {where}expected text in {self.encoding}: say --encoding, such as cp1252 or latin-1"
        )

    def _recognised(self, only: str | None) -> str:
        """Returns the separator with which most of the first rows have as many cells as the header, and several.

        Where no separator has several, the header may be the only column that is needed.
        """
        try:
            with self.path.open(encoding=self.encoding, newline="") as stream:
                sample = stream.read(_SAMPLE)
        except UnicodeError as error:
            raise self._undecodable() from error
        except LookupError as error:
            raise DataError(f"{self.path}: {error}; --encoding takes names of Python") from error
        best: tuple[float, int, str] = (0.0, 1, "")
        for separator in SEPARATORS:
            reader = csv.reader(io.StringIO(sample, newline=""), delimiter=separator)
            try:
                rows = [cells for cells in reader if cells]
            except csv.Error:
                continue
            if len(sample) == _SAMPLE and len(rows) > 1:
                del rows[-1]  # it may be cut
            if rows and len(rows[0]) > 1:
                share = sum(len(cells) == len(rows[0]) for cells in rows) / len(rows)
                best = max(best, (share, len(rows[0]), separator))
        if not best[2]:
            first = next(csv.reader(io.StringIO(sample.lstrip("\ufeff"), newline="")), [])
            if only is not None and [name.strip() for name in first] == [only]:
                return ","
            raise DataError(
                f"{self.path}: expected columns separated by {', '.join(SEPARATORS.values())}, got one column: "
                "say --separator"
            )
        return best[2]

    def _checked_header(self) -> list[str]:
        """Returns the names of the columns; refuses names that stand there twice, and numbers alone."""
        line, header = next(self._parsed(), (1, []))
        header = [name.lstrip("\ufeff") for name in header]
        named = [name for name in header if name]
        if not named:
            raise DataError(f"{self.path}: line {line}: expected a header, got no name in it")
        for index, name in enumerate(header):
            if name and name in header[:index]:
                first = header.index(name) + 1
                raise DataError(
                    f"{self.path}: line {line}: expected different names, got {quoted(name)} in columns "
                    f"{first} and {index + 1}"
                )
        if all(map(_is_number, named)):
            raise DataError(f"{self.path}: line {line}: expected a header of names, got numbers")
        return header


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def quoted(text: str) -> str:
    """Returns a text of a file for a message: quoted, with its other characters escaped, and shortened."""
    return repr(text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}...")
