"""Philox 4x32 and Dropout in plain NumPy, written from the paper of Salmon, Moraes, Dror and Shaw (2011)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from reference import wide

LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)
MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
INCREMENTS = 0x9E3779B9, 0xBB67AE85


def philox4x32(counters, key, rounds=7):
    """Returns the blocks of counters, uint64 arrays of shape (4, …) with numbers below 2**32, like the blocks."""
    a, b, c, d = np.asarray(counters, np.uint64)
    keys = list(key)
    for _ in range(rounds):
        first, second = a * MULTIPLIERS[0], c * MULTIPLIERS[1]
        a, c = (second >> HALF) ^ b ^ np.uint64(keys[0]), (first >> HALF) ^ d ^ np.uint64(keys[1])
        b, d = second & LOW, first & LOW
        keys = [(k + w) % 2**32 for k, w in zip(keys, INCREMENTS, strict=True)]
    return np.array([a, b, c, d])


def halves(size, seed, sample):
    """Returns the half word that decides about each element of a sample."""
    blocks = np.arange(-(-size // 8), dtype=np.uint64)
    counters = [blocks, 0 * blocks, 0 * blocks + sample % 2**32, 0 * blocks + (sample >> 32)]
    words = philox4x32(counters, (seed % 2**32, seed >> 32))
    return np.concatenate([words % 2**16, words >> np.uint64(16)]).T.ravel()[:size]


def rounded(rate):
    """Returns the rate as a multiple of 2**-16."""
    return min(round(rate * 2**16), 2**16 - 1) / 2**16


def mask_of(size, rate, seed, sample):
    """Returns which elements of a sample are kept."""
    return halves(size, seed, sample) >= rounded(rate) * 2**16


@dataclass(frozen=True)
class Dropout:
    """One sample of a Dropout, by default the first."""

    rate: float
    seed: int
    sample: int = 0

    def dropped(self, values):
        mask = mask_of(values.size, self.rate, self.seed, self.sample).reshape(values.shape)
        return np.where(mask, values / (1 - rounded(self.rate)), 0)

    def forward(self, xs, params):
        return self.dropped(*wide(xs))

    def backward(self, xs, params, g):
        return [self.dropped(g)], []
