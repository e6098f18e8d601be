"""Computes the coefficients of the vector mathematics in cgraph/_kernels/common, and prints them as C arrays.

python tools/coefficients.py [NAME...]     (needs mpmath; two minutes; NAME is a part of the name of a row of TABLE)

Each row is a smooth function on an interval, with a weight: how much an error of the approximation counts in the
result, relative to it. The approximation is the polynomial, or the quotient of two, whose largest weighted error is
smallest; Remez's exchange algorithm finds it in 50 digits. Its coefficients are then rounded to the dtype. Those of
float32 are rounded one after the other from the lowest, and the others are fitted anew, which makes up for most of it.
The error that is printed is that of the rounded coefficients, as a power of two.
"""

import argparse
import struct
from collections.abc import Callable
from typing import NamedTuple

import mpmath as mp

mp.mp.dps = 50
Function = Callable[[mp.mpf], mp.mpf]


class Row(NamedTuple):
    """What to approximate, and how."""

    f: Function
    weight: Function
    low: str
    high: str
    degree: int
    denominator: int = 0  # the degree of the denominator, whose constant is 1


def series_quotient(numerator: Function, power: int) -> Function:
    """Returns numerator(x) / x^power, which is continuous at 0, where it is approximated by its value nearby."""

    def f(x: mp.mpf) -> mp.mpf:
        x = x if abs(x) > mp.mpf(10) ** -25 else mp.mpf(10) ** -25
        with mp.workdps(150):
            return numerator(x) / x**power

    return f


def of_root(f: Function) -> Function:
    """Returns z ↦ f(√z), for even functions f."""
    return lambda z: f(mp.sqrt(abs(z)))


exponential = series_quotient(lambda r: mp.expm1(r) - r, 2)
half_cotangent = of_root(series_quotient(lambda h: h * mp.coth(h) - 1, 2))
logarithm = of_root(series_quotient(lambda s: 2 * mp.atanh(s) / s - 2, 2))
tangent = of_root(series_quotient(lambda x: mp.tanh(x) / x - 1, 2))
error_function = of_root(series_quotient(lambda x: mp.erf(x) / x - 1, 0))
TWO_OVER_ROOT_PI = 2 / mp.sqrt(mp.pi)


def normal_tail(x: mp.mpf) -> mp.mpf:
    """Returns e^(x²/2) Φ(-x), of the distribution function of the normal distribution."""
    return mp.erfc(x / mp.sqrt(2)) * mp.exp(x**2 / 2) / 2


def normal_weight(x: mp.mpf) -> mp.mpf:
    """Relative errors count less where that of e^(-x²/2), for which x²/2 is rounded, is larger."""
    return 1 / (normal_tail(x) * (1 + x**2 / 4))


TABLE = {
    "EXP float32": Row(exponential, lambda r: r**2 / mp.exp(r), "-0.3475", "0.3475", 4),
    "EXP float64": Row(exponential, lambda r: r**2 / mp.exp(r), "-0.3475", "0.3475", 10),
    "COTH float32": Row(half_cotangent, lambda z: z, "0", "0.0302", 1),
    "COTH float64": Row(half_cotangent, lambda z: z, "0", "0.0302", 4),
    "LOG float32": Row(logarithm, lambda z: z, "0", "0.02945", 2),
    "LOG float64": Row(logarithm, lambda z: z, "0", "0.02945", 6),
    "TANH float32": Row(tangent, lambda z: z / (1 + z / 3), "0", "0.390625", 4),
    "TANH float64": Row(tangent, lambda z: z / (1 + z / 3), "0", "0.390625", 11),
    "ERF float32": Row(error_function, lambda z: mp.mpf(1), "0", "1", 6),
    "ERF float64": Row(error_function, lambda z: mp.mpf(1), "0", "1", 12),
    "ERFC float32": Row(lambda x: -mp.log(mp.erfc(x)), mp.erfc, "0.99", "4", 7),
    "ERFC float64": Row(
        lambda x: mp.erfc(x) * mp.exp(x**2),
        lambda x: mp.exp(-(x**2)),
        "0.99",
        "6",
        6,
        7,
    ),
    "NORMAL float32": Row(normal_tail, normal_weight, "0", "14.5", 4, 5),
    "NORMAL float64": Row(normal_tail, normal_weight, "0", "39", 9, 10),
}


def rounded(value: mp.mpf, dtype: str) -> mp.mpf:
    """Returns the nearest number of a dtype."""
    if dtype == "float64":
        return mp.mpf(float(value))
    return mp.mpf(struct.unpack("f", struct.pack("f", float(value)))[0])


class Fit:
    """A quotient of polynomials, some of whose coefficients are fixed, and its weighted error on a grid."""

    def __init__(self, row: Row) -> None:
        self.row = row
        count, low, high = 600, mp.mpf(row.low), mp.mpf(row.high)
        self.x = [
            (low + high) / 2 - (high - low) / 2 * mp.cos(mp.pi * i / count)
            for i in range(count + 1)
        ]
        self.f = [row.f(x) for x in self.x]
        weight = [row.weight(x) for x in self.x]
        # A weight of 0 would leave the equations without a solution.
        self.weight = [max(w, max(weight) / 1000) for w in weight]
        self.size = row.degree + 1 + row.denominator
        self.fixed: dict[int, mp.mpf] = {}

    def term(self, k: int, i: int) -> mp.mpf:
        """Returns what coefficient k is multiplied by in P(x) - f Q(x), at point i."""
        if k <= self.row.degree:
            return self.x[i] ** k
        return -self.f[i] * self.x[i] ** (k - self.row.degree)

    def errors(self, c: list[mp.mpf]) -> list[mp.mpf]:
        """Returns the weighted errors on the grid."""
        degree = self.row.degree
        p, q = c[degree::-1], [*c[:degree:-1], mp.mpf(1)]
        return [
            (mp.polyval(p, x) / mp.polyval(q, x) - f) * w
            for x, f, w in zip(self.x, self.f, self.weight, strict=True)
        ]

    def solve(self, points: list[int], c: list[mp.mpf]) -> list[mp.mpf]:
        """Returns the free coefficients that make the error equal and alternating in the points."""
        free = [k for k in range(self.size) if k not in self.fixed]
        denominator = [mp.mpf(1)] * len(points)
        for _ in range(12 if self.row.denominator else 1):
            a = mp.matrix(len(points), len(free) + 1)
            b = mp.matrix(len(points), 1)
            for j, i in enumerate(points):
                for n, k in enumerate(free):
                    a[j, n] = self.term(k, i)
                a[j, len(free)] = (-1) ** j * denominator[j] / self.weight[i]
                b[j] = self.f[i] - sum(v * self.term(k, i) for k, v in self.fixed.items())
            solution = mp.lu_solve(a, b)
            c = [self.fixed.get(k, mp.mpf(0)) for k in range(self.size)]
            for n, k in enumerate(free):
                c[k] = solution[n]
            q = [*c[: self.row.degree : -1], mp.mpf(1)]
            denominator = [mp.polyval(q, self.x[i]) for i in points]
        return c

    def extrema(self, errors: list[mp.mpf], count: int) -> list[int]:
        """Returns `count` points at which the error is extreme, with alternating signs."""
        runs: list[int] = []
        for i, error in enumerate(errors):
            if runs and (error > 0) == (errors[runs[-1]] > 0):
                if abs(error) > abs(errors[runs[-1]]):
                    runs[-1] = i
            else:
                runs.append(i)
        while len(runs) > count:
            runs.pop(0 if abs(errors[runs[0]]) < abs(errors[runs[-1]]) else -1)
        return runs

    def best(self) -> list[mp.mpf]:
        """Returns the coefficients of the smallest largest error."""
        free = self.size - len(self.fixed)
        points = [(len(self.x) - 1) * j // free for j in range(free + 1)]
        best, smallest = [mp.mpf(0)] * self.size, mp.inf
        c = best
        for _ in range(25):
            c = self.solve(points, c)
            errors = self.errors(c)
            largest = max(map(abs, errors))
            if largest < smallest:
                best, smallest = c, largest
            points = self.extrema(errors, free + 1)
            if len(points) <= free:
                break
        return best


def coefficients(row: Row, dtype: str) -> tuple[list[mp.mpf], mp.mpf]:
    """Returns the rounded coefficients of a row, numerator first, and their largest weighted error."""
    fit = Fit(row)
    c = fit.best()
    if dtype == "float32":
        for k in range(fit.size - 1):
            fit.fixed[k] = rounded(c[k], dtype)
            c = fit.best()
    c = [rounded(value, dtype) for value in c]
    return c, max(map(abs, fit.errors(c)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    chosen = parser.parse_args().names
    for name, row in TABLE.items():
        if chosen and not any(word in name for word in chosen):
            continue
        c, error = coefficients(row, name.split()[1])
        print(f"{name}: largest weighted error 2^{mp.nstr(mp.log(error, 2), 4)}")
        for part in (c[: row.degree + 1], c[row.degree + 1 :]):
            if part:
                digits = 9 if name.endswith("32") else 17
                print("    {" + ", ".join(mp.nstr(value, digits) for value in part) + "}")


if __name__ == "__main__":
    main()
