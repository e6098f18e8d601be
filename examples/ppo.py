"""Proximal policy optimisation (Schulman et al., 2017) on eight cart-poles: the objective out of nodes, GAE, Adam.

python examples/ppo.py --seed 1 --steps 50000

It takes 3 s of processor time on one core of an AMD EPYC (Zen 3, AVX2), with one thread, and prints:

    step   4,608: mean return  96.8   0.2 s
    step   9,216: mean return 232.8   0.4 s
    step  13,824: mean return 346.3   0.5 s
    step  18,432: mean return 442.1   0.7 s
    step  23,040: mean return 479.8   0.8 s
    step  27,648: mean return 495.0   1.0 s
    step  32,256: mean return 500.0   1.1 s
    step  36,864: mean return 500.0   1.3 s
    step  41,472: mean return 500.0   1.5 s
    step  46,080: mean return 500.0   1.8 s
    20 episodes of the likelier action: mean return 500.0
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


def affine(node, units, scale, rng):
    """A layer with orthogonal initial weights, and biases of 0 in the last row."""
    q, r = np.linalg.qr(rng.normal(size=(max(node.size, units), min(node.size, units))))
    q *= np.sign(np.diag(r))
    weight = scale * (q if node.size >= units else q.T)
    return CG.Affine(node, np.vstack([weight, np.zeros(units)]))


def actor_critic(observation, rng):
    """Returns the nodes of the policy's logits and of the value of an observation."""
    bodies = []
    for _ in range(2):
        hidden = CG.Tanh(affine(observation, 64, np.sqrt(2), rng))
        bodies.append(CG.Tanh(affine(hidden, 64, np.sqrt(2), rng)))
    return affine(bodies[0], 2, 0.01, rng), affine(bodies[1], 1, 1, rng)


def advantages(values, ended, next_values, gamma, lam):
    """Generalised advantage estimation (Schulman et al., 2016); arrays of shape (steps, environments)."""
    # Rewards are 1. What follows the last step of an episode says nothing about the step.
    deltas = 1 + gamma * next_values - values
    result, later = np.zeros_like(deltas), 0
    for t in reversed(range(len(deltas))):
        result[t] = later = deltas[t] + gamma * lam * (1 - ended[t]) * later
    return result


def evaluate(graph, observation, logits, rng, episodes=20):
    """Returns the mean return of the policy that takes the likelier action."""
    returns = []
    for _ in range(episodes):
        env, ended = CartPole(rng), False
        state = env.reset()
        while not ended:
            state, fell, cut = env.step(graph.predict({observation: state[None]}, logits).argmax())
            ended = fell or cut
        returns.append(env.steps)
    return float(np.mean(returns))


def main(
    seed=1,
    steps=50_000,
    environments=8,
    horizon=64,  # steps of each environment between two rounds of updates
    epochs=10,
    batch=64,
    gamma=0.99,
    lam=0.95,
    clip=0.2,
    entropy_bonus=0.01,
):
    rng = np.random.default_rng(seed)

    # The loss of one sample: the clipped objective, the error of the value, a bonus for the entropy.
    observation, action = CG.Leaf1(4, dtype="float32"), CG.Leaf1(2, dtype="float32")
    old_log_p, advantage, wanted = (CG.Leaf1(1, dtype="float32") for _ in range(3))
    logits, value = actor_critic(observation, rng)
    log_p = CG.LogSoftmax(logits)
    ratio = CG.Exp(CG.Dots(log_p, action) - old_log_p)
    gain = CG.Minimum(ratio * advantage, CG.Clip(ratio, 1 - clip, 1 + clip) * advantage)
    entropy = -CG.Dots(CG.Exp(log_p), log_p)
    graph = CG.Graph(-gain - entropy_bonus * entropy + 0.5 * CG.MSE(value, wanted))

    rollout = environments * horizon
    rounds = max(1, steps // rollout)
    updates = rounds * epochs * (rollout // batch)
    adam = CG.Adam(CG.schedules.linear(1e-3, 0, updates), eps=1e-5, max_grad_norm=0.5)

    states, next_states = np.zeros((2, horizon, environments, 4), np.float32)
    actions = np.zeros((horizon, environments, 2), np.float32)
    log_ps = np.zeros((horizon, environments), np.float32)
    fell, ended = np.zeros((2, horizon, environments), np.float32)

    envs = [CartPole(rng) for _ in range(environments)]
    now, returns, began = np.array([env.reset() for env in envs]), [], time.process_time()
    for number in range(rounds):
        # Experience with the present policy.
        actions[...] = 0
        for t in range(horizon):
            states[t] = now
            log_policy = graph.predict({observation: now}, log_p)
            chosen = (rng.random(environments) < np.exp(log_policy[:, 1])).astype(int)
            for i, (env, push) in enumerate(zip(envs, chosen.tolist(), strict=True)):
                next_states[t, i], fell[t, i], cut = env.step(push)
                actions[t, i, push], log_ps[t, i] = 1, log_policy[i, push]
                ended[t, i] = fell[t, i] or cut
                if ended[t, i]:
                    returns.append(env.steps)
                now[i] = env.reset() if ended[t, i] else next_states[t, i]

        # Its values, that of a state after a fall being 0, and advantages.
        shape = horizon, environments
        values = graph.predict({observation: states.reshape(-1, 4)}, value).reshape(shape)
        after = graph.predict({observation: next_states.reshape(-1, 4)}, value).reshape(shape)
        gains = advantages(values, ended, after * (1 - fell), gamma, lam)
        samples = {
            observation: states.reshape(-1, 4),
            action: actions.reshape(-1, 2),
            old_log_p: log_ps.reshape(-1, 1),
            advantage: ((gains - gains.mean()) / (gains.std() + 1e-8)).reshape(-1, 1),
            wanted: (values + gains).reshape(-1, 1),
        }

        # Some epochs of it, in batches that are shuffled.
        for _ in range(epochs):
            rows = rng.permutation(rollout)
            graph.train({leaf: array[rows] for leaf, array in samples.items()}, adam, batch)
        if (number + 1) % max(1, rounds // 10) == 0:
            mean, seconds = np.mean(returns[-20:] or [0]), time.process_time() - began
            print(f"step {(number + 1) * rollout:7,d}: mean return {mean:5.1f}   {seconds:.1f} s")

    result = evaluate(graph, observation, logits, rng)
    print(f"20 episodes of the likelier action: mean return {result:.1f}")
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=50_000)
    main(**vars(parser.parse_args()))
