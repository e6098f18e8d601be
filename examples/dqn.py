"""Double deep Q-learning (van Hasselt et al., 2016) on a cart-pole: replay, a target network, Huber's loss, Adam.

python examples/dqn.py --seed 1 --steps 80000

It takes 12 s of processor time on one core of an AMD EPYC (Zen 3, AVX2), with one thread, and prints:

    step   4,000: mean return  62.2   0.8 s
    step   8,000: mean return 227.8   1.7 s
    step  12,000: mean return 154.9   2.5 s
    step  16,000: mean return 164.3   3.2 s
    step  20,000: mean return 147.2   4.4 s
    step  24,000: mean return 231.8   5.7 s
    step  28,000: mean return 389.6   6.8 s
    step  32,000: mean return 417.9   8.0 s
    step  36,000: mean return 235.0   9.0 s
    step  40,000: mean return 317.3   9.8 s
    step  44,000: mean return 500.0   10.8 s
    20 other episodes of the action of the larger value: mean return 500.0
"""

import argparse
import math
import time

import numpy as np

import cgraph as CG


class CartPole:
    """A pole on a cart that is pushed to the left or right at each step (Barto, Sutton and Anderson, 1983).

    The observation holds position and velocity of the cart, angle and angular velocity of the pole. Each step has a
    reward of 1. An episode ends where the pole falls or the cart leaves the track, or is cut off after 500 steps.
    """

    def __init__(self, rng):
        self.rng = rng

    def reset(self):
        self.state, self.steps = self.rng.uniform(-0.05, 0.05, 4).astype(np.float32), 0
        return self.state

    def step(self, action):
        """Returns the observation after a push, whether the pole or the cart failed, whether it was cut off."""
        x, v, angle, w = self.state.tolist()
        sin, cos = math.sin(angle), math.cos(angle)
        # The cart weighs 1 kg, the pole 0.1 kg; it is 0.5 m from the hinge to the pole's middle.
        push = (10 if action else -10) + 0.05 * w * w * sin
        turn = (9.8 * sin - cos * push / 1.1) / (0.5 * (4 / 3 - 0.1 * cos * cos / 1.1))
        pull = (push - 0.05 * turn * cos) / 1.1
        x, v, angle, w = x + 0.02 * v, v + 0.02 * pull, angle + 0.02 * w, w + 0.02 * turn
        self.state, self.steps = np.array([x, v, angle, w], np.float32), self.steps + 1
        return self.state, abs(x) > 2.4 or abs(angle) > math.pi / 15, self.steps == 500


def affine(node, units, rng):
    """A layer with random weights of variance 1 / (3 inputs); the last row holds the biases."""
    weight = rng.uniform(-1, 1, (node.size + 1, units)) / np.sqrt(node.size)
    weight[-1] = 0
    return CG.Affine(node, weight)


def q_network(rng):
    """Returns the leaf of the observation, and the node of the values of both actions."""
    observation = CG.Leaf1(4, dtype="float32")
    hidden = CG.ReLU(affine(observation, 64, rng))
    hidden = CG.ReLU(affine(hidden, 64, rng))
    return observation, affine(hidden, 2, rng)


def evaluate(graph, observation, q, rng, episodes=20):
    """Returns the mean return of the policy that takes the action of the larger value."""
    returns = []
    for _ in range(episodes):
        env, ended = CartPole(rng), False
        state = env.reset()
        while not ended:
            state, fell, cut = env.step(graph.predict({observation: state[None]}, q).argmax())
            ended = fell or cut
        returns.append(env.steps)
    return float(np.mean(returns))


def main(
    seed=1,
    steps=80_000,
    gamma=0.98,
    batch=64,
    warmup=1_000,  # steps without an update
    train_every=2,  # steps between two updates
    copy_every=100,  # updates between two copies into the target network
):
    rng = np.random.default_rng(seed)
    observation, q = q_network(rng)
    target_observation, target_q = q_network(rng)

    # The loss sees the value of the action that was taken, which is one-hot.
    action, target = CG.Leaf1(2, dtype="float32"), CG.Leaf1(1, dtype="float32")
    graph = CG.Graph(CG.Huber(CG.Dots(q, action), target))
    target_graph = CG.Graph(target_q)
    adam = CG.Adam(CG.schedules.linear(1e-3, 0, steps // train_every), max_grad_norm=10)

    # The replay memory, a row for each step.
    states, next_states = np.zeros((2, steps, 4), np.float32)
    actions, goes_on = np.zeros((steps, 2), np.float32), np.zeros(steps, np.float32)

    env, began = CartPole(rng), time.process_time()
    state = env.reset()
    for step in range(steps):
        if rng.random() < max(0.04, 1 - step / (0.16 * steps)):
            chosen = int(rng.integers(2))
        else:
            chosen = int(graph.predict({observation: state[None]}, q).argmax())
        next_state, fell, cut = env.step(chosen)
        states[step], next_states[step] = state, next_state
        actions[step, chosen], goes_on[step] = 1, not fell
        state = next_state
        if fell or cut:
            state = env.reset()

        if step >= warmup and step % train_every == 0:
            if adam.updates % copy_every == 0:
                CG.copy_parameters(graph, target_graph)
            rows = rng.integers(step + 1, size=batch)
            # Double Q-learning: one network chooses the next action, the other one says what it is worth.
            best = graph.predict({observation: next_states[rows]}, q).argmax(axis=1)
            later = target_graph.predict({target_observation: next_states[rows]})
            worth = goes_on[rows] * later[np.arange(batch), best]
            # Rewards of 1 − γ instead of 1, so that values are between 0 and 1.
            wanted = (1 - gamma) + gamma * worth[:, None]
            graph.step({observation: states[rows], action: actions[rows], target: wanted}, adam)
        # It is done when 20 episodes without exploration have a mean return of 475.
        if (step + 1) % (steps // 20) == 0:
            mean, seconds = evaluate(graph, observation, q, rng), time.process_time() - began
            print(f"step {step + 1:7,d}: mean return {mean:5.1f}   {seconds:.1f} s")
            if mean >= 475:
                break

    result = evaluate(graph, observation, q, rng)
    print(f"20 other episodes of the action of the larger value: mean return {result:.1f}")
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=80_000)
    main(**vars(parser.parse_args()))
