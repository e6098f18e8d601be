"""The rows of the functions of elements, which op_table.py joins to the others."""

import numpy as np
import reference_functions as ref
from op_row import Row, apart, binary, normal, positive, unary
from reference_dropout import Dropout as DropoutReference

import cgraph as CG


def with_options(op, reference, *options):
    """Returns the shapes of `unary` with the last arguments of the constructor, and of its reference, in turn."""
    return {
        f"{name}-{','.join(map(str, args))}": case
        for args in options
        for name, case in unary(
            lambda x, args=args: op(x, *args), reference(*args), ((7, 1), (3, 5), (130, 1))
        ).items()
    }


def both(op, reference, *options):
    """Returns all shapes with the first options, and some with each of the others."""
    return unary(op, reference(*options[0])) | with_options(op, reference, *options[1:])


def dropouts():
    """Some rates and seeds, among them those of many words, and the rate 0, at which nothing is dropped."""
    options = (0.5, 1), (0.1, 2**64 - 1), (0.9, 2**40 + 3), (0.0, 0)
    return {
        f"{name}-{rate}": case
        for rate, seed in options
        for name, case in unary(
            lambda x, rate=rate, seed=seed: CG.Dropout(x, rate, seed), DropoutReference(rate, seed)
        ).items()
    }


FUNCTION_ROWS = [
    Row(CG.Mul, binary(CG.Mul, ref.Mul())),
    Row(CG.Div, binary(CG.Div, ref.Div()), draws=(normal, positive)),
    Row(CG.Maximum, binary(CG.Maximum, ref.Maximum())),
    Row(CG.Minimum, binary(CG.Minimum, ref.Minimum())),
    Row(CG.Exp, unary(CG.Exp, ref.Exp())),
    Row(CG.Log, unary(CG.Log, ref.Log()), draws=(positive,)),
    Row(CG.Square, unary(CG.Square, ref.Square())),
    Row(CG.Sqrt, unary(CG.Sqrt, ref.Sqrt()), draws=(positive,)),
    Row(CG.Reciprocal, both(CG.Reciprocal, ref.Reciprocal, (), (-2.5,)), draws=(positive,)),
    Row(CG.Scale, with_options(CG.Scale, ref.Scale, (3.0,), (-1.0, 0.5), (0.0, 2.0))),
    Row(CG.Abs, unary(CG.Abs, ref.Abs()), draws=(apart,)),
    Row(
        CG.Clip,
        with_options(CG.Clip, ref.Clip, (-1.01, 1.02), (0.26, np.inf), (-np.inf, -0.27)),
        draws=(apart,),
    ),
    Row(CG.LeakyReLU, both(CG.LeakyReLU, ref.LeakyReLU, (), (0.3,)), draws=(apart,)),
    Row(CG.ELU, both(CG.ELU, ref.ELU, (), (0.5,)), draws=(apart,)),
    Row(CG.Softplus, unary(CG.Softplus, ref.Softplus())),
    Row(CG.SiLU, unary(CG.SiLU, ref.SiLU())),
    Row(CG.Dropout, dropouts()),
    Row(CG.GELU, both(CG.GELU, ref.GELU, (), (True,))),
]
