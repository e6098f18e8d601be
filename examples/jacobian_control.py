"""A pendulum follows a trajectory by the Jacobian of a learnt model: a time-varying linear-quadratic regulator.

A network learns what the pendulum does within a time step, from random states and torques. Then the Jacobian of the
network at all points of the trajectory, one call each time, gives the torques that lead from point to point
(Gauss-Newton steps), and the gains of a feedback that brings the pendulum back (Riccati's equation).

python examples/jacobian_control.py --seed 1 --steps 10000

It takes 1.5 s of processor time on one core of an AMD EPYC (Zen 3, AVX2), with one thread, and prints:

    model, 10000 steps: error 0.0021, 0.7 s
    error of the angle without control 80.3 degrees
    with torques along the trajectory 239.2 degrees, with feedback 0.14 degrees
    total 0.7 s
"""

import argparse
import time

import numpy as np

import cgraph as CG

DT = 0.05  # seconds
LIMITS = np.array(
    [np.pi, 6.0, 6.0]
)  # of angle, angular velocity and torque, in what is learnt from


def pendulum(states, torques):
    """The states (angle from hanging down, angular velocity) after one time step with a torque: 10 steps of Euler."""
    angle, speed = states[..., 0], states[..., 1]
    for _ in range(10):
        pull = torques[..., 0] - 9.81 * np.sin(angle) - 0.1 * speed
        angle, speed = angle + DT / 10 * speed, speed + DT / 10 * pull
    return np.stack([angle, speed], -1)


def layer(node, units, rng):
    weight = rng.normal(size=(node.size + 1, units)) / np.sqrt(node.size)
    weight[-1] = 0
    return CG.Affine(node, weight)


class Model:
    """The next state as a function of a point: angle, angular velocity and torque."""

    def __init__(self, rng, units=32):
        self.point, self.target = CG.Leaf1(3), CG.Leaf1(2)
        hidden = CG.Tanh(layer(CG.Tanh(layer(self.point, units, rng)), units, rng))
        change = CG.Scale(layer(hidden, 2, rng), DT)
        self.next = CG.Slice(self.point, 0, 2) + change
        self.graph = CG.Graph(CG.MSE(self.next, self.target))

    def train(self, rng, steps, batch=64):
        """Learns from points drawn at random; returns the root of the mean squared error of the last tenth."""
        points = rng.uniform(-LIMITS, LIMITS, (steps * batch, 3))
        feed = {self.point: points, self.target: pendulum(points[:, :2], points[:, 2:])}
        losses = self.graph.train(feed, CG.Adam(CG.schedules.cosine(1e-2, steps)), batch)
        return np.sqrt(2 * losses[-len(losses) // 10 :].mean())

    def linearised(self, states, torques):
        """The next states, and their derivatives by the states (A) and by the torques (B), at all of these points."""
        feed = {self.point: np.hstack([states, torques])}
        slopes = self.graph.jacobian(feed, self.next, self.point)
        return self.graph.predict(feed, self.next), slopes[:, :, :2], slopes[:, :, 2:]


def torques_along(model, trajectory, rounds=10):
    """The torques that lead from each point of a trajectory nearest to the next one, by Gauss-Newton steps."""
    states, wanted = trajectory[:-1], trajectory[1:]
    torques = np.zeros((len(states), 1))
    for _ in range(rounds):
        reached, _, by_torque = model.linearised(states, torques)
        torques += (np.linalg.pinv(by_torque) @ (wanted - reached)[:, :, None])[:, :, 0]
    return torques


def gains_along(model, trajectory, torques, error_cost=(100.0, 1.0), torque_cost=0.1):
    """The gains of the feedback that costs least: errors and torques squared, summed over all points that follow."""
    _, by_state, by_torque = model.linearised(trajectory[:-1], torques)
    error, torque = np.diag(error_cost), np.array([[torque_cost]])
    later, gains = error, []
    for a, b in zip(by_state[::-1], by_torque[::-1], strict=True):
        gain = np.linalg.solve(torque + b.T @ later @ b, b.T @ later @ a)
        later = error + a.T @ later @ (a - b @ gain)
        gains.append(gain)
    return np.array(gains[::-1])


def follow(trajectory, start, torques, gains):
    """The root of the mean squared error of the pendulum's angle, in degrees, when two seconds have passed."""
    state, errors = np.array(start), []
    for wanted, torque, gain in zip(trajectory[:-1], torques, gains, strict=True):
        errors.append(state[0] - wanted[0])
        state = pendulum(state, np.clip(torque - gain @ (state - wanted), -12, 12))
    return np.rad2deg(np.sqrt(np.mean(np.square(errors[round(2 / DT) :]))))


def main(seed=1, steps=10_000):
    rng, began = np.random.default_rng(seed), time.process_time()
    model = Model(rng)
    error = model.train(rng, steps)
    print(f"model, {steps} steps: error {error:.4f}, {time.process_time() - began:.1f} s")

    # Up to a steady swing of 115 degrees, within 8 seconds; it begins 20 degrees beside it.
    t = np.arange(0, 8, DT)
    swing = np.deg2rad(115) * np.sin(1.5 * t) * (1 - np.exp(-t))
    trajectory = np.stack([swing, np.gradient(swing, DT)], 1)
    start = np.deg2rad([20.0, 0.0])
    torques = torques_along(model, trajectory)
    gains = gains_along(model, trajectory, torques)
    nothing, still = np.zeros_like(torques), np.zeros_like(gains)
    free = follow(trajectory, start, nothing, still)
    ahead = follow(trajectory, start, torques, still)
    controlled = follow(trajectory, start, torques, gains)
    print(f"error of the angle without control {free:.1f} degrees")
    print(
        f"with torques along the trajectory {ahead:.1f} degrees, with feedback {controlled:.2f} degrees"
    )
    print(f"total {time.process_time() - began:.1f} s")
    return free, ahead, controlled


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=10_000)
    main(**vars(parser.parse_args()))
