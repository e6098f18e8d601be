"""Recurrent cells in plain NumPy, as in reference.py: gates one by one, with the gradient of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from reference import wide
from reference_losses import sigmoid


def products(x, h, params):
    w_ih, w_hh, b_ih, b_hh = params
    return w_ih @ x + b_ih, w_hh @ h + b_hh


def shares(x, h, params, da, db):
    """Returns the gradients of x and h through the products, and those of the parameters."""
    w_ih, w_hh = params[:2]
    return w_ih.T @ da, w_hh.T @ db, [np.outer(da, x), np.outer(db, h), da, db]


def split(inputs, params):
    x, state = (np.ravel(each) for each in wide(inputs))
    return x, state, wide(params)


@dataclass(frozen=True)
class GRUCell:
    def gates(self, x, h, params):
        a, b = products(x, h, params)
        (ar, az, an), (br, bz, bn) = np.split(a, 3), np.split(b, 3)
        r, z = sigmoid(ar + br), sigmoid(az + bz)
        return r, z, np.tanh(an + r * bn), bn

    def forward(self, xs, params):
        x, h, params = split(xs, params)
        _, z, n, _ = self.gates(x, h, params)
        return ((1 - z) * n + z * h).reshape(-1, 1)

    def backward(self, xs, params, g):
        (x, h, params), g = split(xs, params), np.ravel(g)
        r, z, n, bn = self.gates(x, h, params)
        dan = g * (1 - z) * (1 - n**2)
        dr, dz = dan * bn * r * (1 - r), g * (h - n) * z * (1 - z)
        da, db = np.concatenate([dr, dz, dan]), np.concatenate([dr, dz, r * dan])
        dx, dh, grads = shares(x, h, params, da, db)
        return [dx.reshape(xs[0].shape), (dh + z * g).reshape(xs[1].shape)], grads


@dataclass(frozen=True)
class LSTMCell:
    def gates(self, x, h, params):
        i, f, u, o = np.split(np.add(*products(x, h, params)), 4)
        return sigmoid(i), sigmoid(f), np.tanh(u), sigmoid(o)

    def forward(self, xs, params):
        x, state, params = split(xs, params)
        h, c = np.split(state, 2)
        i, f, u, o = self.gates(x, h, params)
        c = f * c + i * u
        return np.concatenate([o * np.tanh(c), c]).reshape(-1, 1)

    def backward(self, xs, params, g):
        x, state, params = split(xs, params)
        (h, c), (gh, gc) = np.split(state, 2), np.split(np.ravel(g), 2)
        i, f, u, o = self.gates(x, h, params)
        s = np.tanh(f * c + i * u)
        dc = gc + gh * o * (1 - s**2)
        da = np.concatenate(
            [dc * u * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - u**2), gh * s * o * (1 - o)]
        )
        dx, dh, grads = shares(x, h, params, da, da)
        dstate = np.concatenate([dh, f * dc])
        return [dx.reshape(xs[0].shape), dstate.reshape(xs[1].shape)], grads
