"""Fit the functions of simd.h, print coefficients and relative errors, and fail where simd.h has others.

Each is P(t) / Q(t) of least greatest relative error, nearly: linear least squares for P and Q, weighted by the last Q
(Sanathanan and Koerner 1963) and, as Lawson (1961) does, by the errors so far. 2^t takes t itself; tanh(x) and erf(x)
are x P(t) / Q(t) with t = x^2, up to where float32 rounds them to 1. Needs scipy, no compiler.
Run with: python benchmarks/engine/approximations.py
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import erf

from paribus.engines.native import build

Doubles = npt.NDArray[np.float64]
POINTS = 4000
TURNS = 60
CLOSE = 1e-4
"""How far, relatively, a coefficient may lie from the fit: least squares end elsewhere with another LAPACK."""


@dataclass(frozen=True)
class Function:
    """What is fitted: from `low` to `high`, numerator and denominator of these degrees, under a name of simd.h."""

    name: str
    target: Callable[[Doubles], Doubles]
    low: float
    high: float
    numerator: int
    denominator: int


@dataclass(frozen=True)
class Fit:
    """Coefficients from the lowest power, and the greatest relative error once they are float32."""

    numerator: Doubles
    denominator: Doubles
    error: float


def tanh_by_x(t: Doubles) -> Doubles:
    """Return tanh(x) / x for t = x^2, above 0."""
    x = np.sqrt(t)
    return np.asarray(np.tanh(x) / x)


def erf_by_x(t: Doubles) -> Doubles:
    """Return erf(x) / x for t = x^2, above 0."""
    x = np.sqrt(t)
    return np.asarray(erf(x) / x)


def points(function: Function) -> Doubles:
    """Return Chebyshev points, which lie closer towards the ends and never on them."""
    angles = np.pi * (np.arange(POINTS) + 0.5) / POINTS
    return (function.low + function.high) / 2 + (function.high - function.low) / 2 * np.cos(angles)


def fitted(function: Function) -> Fit:
    """Return the best of `TURNS` reweighted fits."""
    t, degree = points(function), function.numerator
    y = function.target(t)
    weights, q = np.ones_like(t), np.ones_like(t)
    powers = [t[:, None] ** np.arange(degree + 1), -y[:, None] * t[:, None] ** np.arange(1, function.denominator + 1)]
    system = np.hstack(powers)
    best, least = system[0], math.inf
    for _ in range(TURNS):
        scale = np.sqrt(weights) / np.abs(y * q)
        found = np.linalg.lstsq(system * scale[:, None], y * scale, rcond=1e-18)[0]
        q = np.polyval([*found[degree + 1 :][::-1], 1.0], t)
        errors = np.abs(np.polyval(found[: degree + 1][::-1], t) / q / y - 1)
        if errors.max() < least:
            best, least = found, float(errors.max())
        weights *= errors / errors.max() + 1e-3
        weights /= weights.mean()
    numerator = best[: degree + 1].astype(np.float32).astype(np.float64)
    denominator = np.append(1.0, best[degree + 1 :]).astype(np.float32).astype(np.float64)
    return Fit(numerator, denominator, greatest_error(function, numerator, denominator))


def greatest_error(function: Function, numerator: Doubles, denominator: Doubles) -> float:
    """Return the greatest relative error of P / Q, computed in float64."""
    t = points(function)
    quotient = np.polyval(numerator[::-1], t) / np.polyval(denominator[::-1], t)
    return float(np.abs(quotient / function.target(t) - 1).max())


def written(source: str, name: str) -> tuple[Doubles, Doubles]:
    """Read a function's coefficients out of the text of simd.h, from the lowest power; no denominator is 1.

    Raises:
        ValueError: If the text has no such function.
    """
    body = re.search(rf"ALWAYS_INLINE V {name}\(V x\) \{{(.*?)\n\}}", source, re.DOTALL)
    if body is None:
        raise ValueError(f"simd.h has no function `{name}`.")
    lists = re.findall(r"constexpr float \w+\[\] = \{([^}]+)\};", body[1])
    found = [np.array([float(each.strip().removesuffix("f")) for each in one.split(",")][::-1]) for one in lists]
    found.append(np.array([1.0]))
    return found[0], found[1]


def differences(source: str, function: Function, fit: Fit) -> list[str]:
    """Return how simd.h departs from the fit; empty where it does not."""
    faults = []
    for part, ours, theirs in zip("PQ", (fit.numerator, fit.denominator), written(source, function.name), strict=True):
        if len(ours) != len(theirs):
            faults.append(f"{function.name}: {part} has {len(theirs)} coefficients in simd.h, {len(ours)} in the fit")
        elif not np.allclose(ours, theirs, rtol=CLOSE, atol=0):
            faults.append(f"{function.name}: {part} is {theirs.tolist()} in simd.h, {ours.tolist()} in the fit")
    return faults


def main() -> None:
    """Print every fit, and exit with 1 where simd.h has other coefficients."""
    source = (build.HERE / "kernels" / "simd.h").read_text(encoding="utf-8")
    faults = []
    for function in FUNCTIONS:
        fit = fitted(function)
        print(f"{function.name}: relative error {fit.error:.2e}")
        print("  P", [float(each) for each in fit.numerator])
        print("  Q", [float(each) for each in fit.denominator])
        faults += differences(source, function, fit)
    if faults:
        sys.exit("\n".join(faults))


FUNCTIONS = (
    Function("exponential", np.exp2, -0.5, 0.5, 6, 0),
    Function("hyperbolic_tangent", tanh_by_x, 0.0, 9.02**2, 4, 4),
    Function("error_function", erf_by_x, 0.0, 3.93**2, 5, 5),
)

if __name__ == "__main__":
    main()
