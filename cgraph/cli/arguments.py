"""The command line of `cgraph`: its options, its exit codes and its errors, each in one line."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from cgraph import __version__
from cgraph._streams import note
from cgraph.cli import images, predictions, tables
from cgraph.cli.info import info
from cgraph.cli.training import RATES, Settings
from cgraph.data.idx import DataError
from cgraph.io.graphs import load
from cgraph.io.header import ModelFileError
from cgraph.tables.columns import Cells
from cgraph.tables.reading import Table
from cgraph.tables.roles import Asked

_FAILED = 1
_USER_ERROR = 2
_INTERRUPTED = 130  # the exit code of a shell for a command that Ctrl-C has ended
_DIGITS = "digits"
_OF_TABLES = (
    *("target", "kind", "categories", "drop", "missing", "decimal", "hidden", "patience"),
    *("separator", "encoding"),
)
_IDX_HELP = (
    "folder with the four files of MNIST or their like (IDX format, plain or gzip), "
    "or FOLDER/emnist-letters for one of several sets of EMNIST"
)

Number = TypeVar("Number", int, float)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are printed as one line, like all errors of this command."""

    def error(self, message: str) -> NoReturn:
        _print_error(f"{message} (see {self.prog} --help)")
        raise SystemExit(_USER_ERROR)


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help that tells defaults, where there are any."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        known = action.default is not None and action.default != []
        return super()._get_help_string(action) if known else action.help


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line, and returns the exit code.

    0: success; 1: the training diverged, which a line on stderr reports, or the reader of stdout has closed it; 2: an
    error of the user, which a line on stderr reports; 130: interrupted by Ctrl-C.
    """
    args = _parser().parse_args(argv)
    try:
        code: int = args.run(args)
        return code
    except KeyboardInterrupt:
        note("interrupted")
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader has closed the pipe. Python would report that again when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    except OSError as error:
        known = error.filename is not None and error.strerror
        _print_error(f"{error.filename}: {error.strerror}" if known else str(error))
        return _USER_ERROR
    except MemoryError:
        _print_error("the memory is too small for these data")
        return _USER_ERROR
    except FloatingPointError as error:
        _print_error(f"{error}; nothing was saved")
        return _FAILED
    except (DataError, ModelFileError) as error:
        _print_error(str(error))
        return _USER_ERROR


def _print_error(message: str) -> None:
    note(f"cgraph: error: {message}")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="cgraph",
        description="Train a small network on images or on a table, and try it out.",
        epilog="example: cgraph train digits && cgraph predict model.npz",
    )
    parser.add_argument("--version", action="version", version=f"cgraph {__version__}")
    commands = parser.add_subparsers(
        title="commands", dest="command", required=True, metavar="{train,predict,info}"
    )
    _add_train(commands)
    _add_predict(commands)
    _add_info(commands)
    return parser


def _add_train(commands: Any) -> None:
    parser = commands.add_parser(
        "train",
        help="train on handwritten digits or on a table, and save the network",
        description="Train a small convolutional network on 1,797 handwritten digits of 8 x 8 pixels that come with "
        "the package, or a multi-layer perceptron on a table in a CSV file. Writes the model (model.npz) and the "
        "curves of the training (loss.png).",
        epilog="examples: cgraph train digits --epochs 10 --output trained; cgraph train houses.csv --target price. "
        "Ctrl-C stops early and keeps what has been trained so far. A training whose loss is no longer "
        "finite ends with exit status 1 and writes nothing.",
        formatter_class=_Help,
    )
    parser.set_defaults(run=_train)
    option = parser.add_argument
    option("task", metavar="digits | table.csv", help="what to train on")
    option(
        "--epochs",
        type=_positive,
        metavar="N",
        help="passes over the samples, for tables at most (default: 20, for tables 200)",
    )
    option("--batch", type=_positive, default=16, metavar="N", help="samples for one step")
    option("--optimizer", choices=[*RATES], default="adam", help="how parameters are updated")
    option(
        "--lr",
        "--learning-rate",
        type=_rate,
        metavar="RATE",
        help="learning rate at the start; it falls to 0 in a line over the epochs "
        f"(default: {', '.join(f'{rate} for {name}' for name, rate in RATES.items())})",
    )
    option(
        "--seed",
        type=_natural,
        default=0,
        metavar="N",
        help="fixes the split, the initial parameters and the order of the samples",
    )
    option(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="a file from which the same command, started again after it was interrupted or killed, goes on; "
        "--lr and --epochs are not compared",
    )
    option("--dtype", choices=["float32", "float64"], default="float32", help="precision")
    option("--output", type=Path, default=Path(), metavar="FOLDER", help="where to write")
    _add_data(parser, f"train on other images: {_IDX_HELP}")
    _add_table(parser.add_argument_group("options for tables"))


def _add_predict(commands: Any) -> None:
    parser = commands.add_parser(
        "predict",
        help="classify images, or predict from a table, with a saved network",
        description="Classify the images that were held out in training, show some of them with "
        "their predictions, and print the accuracy; or predict a number or a class for each row of a table.",
        epilog="examples: cgraph predict model.npz --show 8; cgraph predict model.npz houses.csv -o prices.csv",
        formatter_class=_Help,
    )
    parser.set_defaults(run=_predict)
    option = parser.add_argument
    option("model", type=Path, metavar="model.npz", help="a file that cgraph train wrote")
    option(
        "table",
        type=Path,
        nargs="?",
        metavar="table.csv",
        help="a table with the columns of the one that the model was trained on, in any order",
    )
    option(
        "--output",
        "-o",
        type=Path,
        metavar="out.csv",
        help="where to write the predictions of a table (default: stdout)",
    )
    option(
        "--show",
        type=_natural,
        metavar="N",
        help="how many images to show, and how many mistakes at most (default: 4)",
    )
    _add_data(
        parser,
        f"classify the test images of another {_IDX_HELP}; "
        "without it, the data that the model was trained on",
    )
    _add_format(parser.add_argument_group("options for tables"))


def _add_info(commands: Any) -> None:
    parser = commands.add_parser(
        "info",
        help="tell what a saved file holds",
        description="Print the format, the metadata, the nodes, the parameters and the optimiser of a file that "
        "cgraph.save or cgraph.save_parameters wrote. Nothing is built, and nothing in the file is run.",
        epilog="example: cgraph info model.npz",
    )
    parser.set_defaults(run=_info)
    parser.add_argument("model", type=Path, metavar="model.npz", help="a saved file")


def _add_table(group: Any) -> None:
    """Adds the options for tables to learn from."""
    option = group.add_argument
    option("--target", metavar="COLUMN", help="the column to predict")
    option(
        "--task",
        dest="kind",
        choices=["auto", "classification", "regression"],
        help="by itself (auto, the default): regression for numbers, classification for texts and for 0 and 1",
    )
    for name, text in (
        ("--categories", "a column of categories, though they are numbers or many texts"),
        ("--drop", "a column to ignore"),
    ):
        option(name, action="append", metavar="COLUMN", help=f"{text}; may be repeated")
    option(
        "--missing",
        action="append",
        metavar="WORD",
        help="a word for missing cells, beside empty ones, NA, N/A, #N/A, NaN, null and ?; may be repeated",
    )
    option("--decimal", choices=[".", ","], help="the mark in front of decimals (default: .)")
    option(
        "--hidden",
        type=_sizes,
        metavar="N,N",
        help="units of the hidden layers; 0 for a linear model (default: 32)",
    )
    option(
        "--patience",
        type=_positive,
        metavar="N",
        help="epochs without a lower validation loss that end the training (default: 50)",
    )
    _add_format(group)


def _add_format(group: Any) -> None:
    option = group.add_argument
    option(
        "--separator",
        type=_separator,
        metavar="CHARACTER",
        help="between two cells, or tab (default: the one that is recognised)",
    )
    option(
        "--encoding",
        metavar="NAME",
        help="of the file, such as cp1252 (default: utf-8, or utf-16 with a mark)",
    )


def _add_data(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--data", type=Path, metavar="FOLDER", help=text)


def _refuse(args: argparse.Namespace, names: Iterable[str], expected: str) -> None:
    """Refuses options that would be of no effect."""
    for name in names:
        if getattr(args, name) is not None:
            raise DataError(f"--{'task' if name == 'kind' else name} is {expected}")


def _train(args: argparse.Namespace) -> int:
    is_table = args.task != _DIGITS
    args.epochs = args.epochs or (200 if is_table else 20)
    settings = Settings(**{field.name: getattr(args, field.name) for field in fields(Settings)})
    if is_table and args.data is not None:
        raise DataError(f"--data holds images, of the task {_DIGITS}, got the task {args.task}")
    if not is_table:
        _refuse(args, _OF_TABLES, f"for tables, got the task {_DIGITS}")
        return 0 if images.train(settings, args.data) else _INTERRUPTED
    if args.target is None:
        raise DataError(
            f"{args.task}: a table needs --target COLUMN; the images are called {_DIGITS}"
        )
    table = Table(Path(args.task), args.separator, args.encoding)
    words = [word.lower() for word in args.missing or ()]
    cells = Cells(args.decimal or ".", (*Cells.missing, *words))
    asked = Asked(args.target, args.kind or "auto", args.categories or [], args.drop or [])
    hidden = [32] if args.hidden is None else args.hidden
    done = tables.train(settings, table, cells, asked, hidden, args.patience or 50)
    return 0 if done else _INTERRUPTED


def _predict(args: argparse.Namespace) -> int:
    # Opened once, so that the parameters are those of the model that the metadata describe.
    model = load(args.model)
    task = model.metadata.get("task")
    if task == tables.TASK:
        if args.table is None:
            raise DataError(f"{args.model}: the model expects a table, got none")
        _refuse(args, ("data", "show"), "for images, got a model of tables")
        predictions.predict(
            args.model, model, args.table, args.output, args.separator, args.encoding
        )
    elif task != images.TASK:
        raise ModelFileError(f"{args.model}: holds a graph, but not a model of cgraph train")
    elif args.table is not None:
        raise DataError(f"{args.model}: the model expects images, in --data FOLDER, got a table")
    else:
        _refuse(args, ("output", "separator", "encoding"), "for tables, got a model of images")
        show = 4 if args.show is None else args.show
        images.predict(args.model, model, show=show, folder=args.data)
    return 0


def _info(args: argparse.Namespace) -> int:
    info(args.model)
    return 0


def _positive(text: str) -> int:
    return _number(text, int, lambda value: value >= 1, "a whole number of at least 1")


def _natural(text: str) -> int:
    return _number(text, int, lambda value: value >= 0, "a whole number of at least 0")


def _rate(text: str) -> float:
    return _number(text, float, lambda value: 0 < value < math.inf, "a number above 0")


def _sizes(text: str) -> list[int]:
    """Converts sizes of layers, separated by commas; 0 stands for none."""
    return [] if text == "0" else [_positive(part) for part in text.split(",")]


def _separator(text: str) -> str:
    found = {"tab": "\t", "\\t": "\t"}.get(text, text)
    if len(found) != 1 or found.isalnum() or found in '"\r\n.-+':
        raise argparse.ArgumentTypeError(f"expected one character or tab, got {text!r}")
    return found


def _number(
    text: str, kind: Callable[[str], Number], is_valid: Callable[[Number], bool], expected: str
) -> Number:
    """Converts the text of an option; argparse reports text that is not a valid number in one line."""
    try:
        value = kind(text)
    except ValueError:
        pass
    else:
        if is_valid(value):
            return value
    raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
