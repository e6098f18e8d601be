"""The command line of `cgraph`: its options, its exit codes and its errors, each in one line."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from cgraph import __version__
from cgraph._streams import note
from cgraph.cli import images
from cgraph.cli.info import info
from cgraph.cli.training import RATES, Settings
from cgraph.data.idx import DataError
from cgraph.io.graphs import load
from cgraph.io.header import ModelFileError

_FAILED = 1
_USER_ERROR = 2
_INTERRUPTED = 130  # the exit code of a shell for a command that Ctrl-C has ended
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
        description="Train a small convolutional network, and try it out.",
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
        help="train on handwritten digits and save the parameters",
        description="Train a small convolutional network, built of cgraph's nodes, on 1,797 "
        "handwritten digits of 8 x 8 pixels that come with the package. Writes the model "
        "(model.npz) and the curves of loss and accuracy (loss.png).",
        epilog="example: cgraph train digits --epochs 10 --output trained. "
        "Ctrl-C stops early and keeps what has been trained so far. A training whose loss is no longer "
        "finite ends with exit status 1 and writes nothing.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    # None is not set as the default of an option, since the help would show it.
    parser.set_defaults(run=_train, data=None, lr=None, checkpoint=None)
    option = parser.add_argument
    option("task", choices=["digits"], help="what to train on")
    option("--epochs", type=_positive, default=20, metavar="N", help="passes over the images")
    option("--batch", type=_positive, default=16, metavar="N", help="images for one step")
    option("--optimizer", choices=[*RATES], default="adam", help="how parameters are updated")
    option(
        "--lr",
        "--learning-rate",
        type=_rate,
        default=argparse.SUPPRESS,
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
        default=argparse.SUPPRESS,
        metavar="FILE",
        help="a file from which the same command, started again after it was interrupted or killed, goes on",
    )
    option("--dtype", choices=["float32", "float64"], default="float32", help="precision")
    option("--output", type=Path, default=Path(), metavar="FOLDER", help="where to write")
    _add_data(parser, f"train on other images: {_IDX_HELP}")


def _add_predict(commands: Any) -> None:
    parser = commands.add_parser(
        "predict",
        help="classify the held-out images with saved parameters",
        description="Classify the images that were held out in training, show some of them with "
        "their predictions, and print the accuracy.",
        epilog="example: cgraph predict model.npz --show 8",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.set_defaults(run=_predict, data=None)
    option = parser.add_argument
    option("model", type=Path, metavar="model.npz", help="a file that cgraph train wrote")
    option(
        "--show",
        type=_natural,
        default=4,
        metavar="N",
        help="how many images to show, and how many mistakes at most",
    )
    _add_data(
        parser,
        f"classify the test images of another {_IDX_HELP}; "
        "without it, the data that the model was trained on",
    )


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


def _add_data(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--data", type=Path, default=argparse.SUPPRESS, metavar="FOLDER", help=text)


def _train(args: argparse.Namespace) -> int:
    settings = Settings(**{field.name: getattr(args, field.name) for field in fields(Settings)})
    return 0 if images.train(settings, args.data) else _INTERRUPTED


def _predict(args: argparse.Namespace) -> int:
    # Opened once, so that the parameters are those of the model that the metadata describe.
    model = load(args.model)
    if model.metadata.get("task") != images.TASK:
        raise ModelFileError(f"{args.model}: holds a graph, but not a model of cgraph train")
    images.predict(args.model, model, show=args.show, folder=args.data)
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
