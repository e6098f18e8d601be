"""Stream AC(λ) (Elsayed, Vasan and Mahmood, 2024) on a cart-pole: each step is learnt from once, and forgotten.

No replay, no batches, no target network: eligibility traces, an optimiser of one's own that bounds its steps (ObGD),
LayerNorm, sparse initial weights, observations and rewards in units of their running deviations.

python examples/stream_ac.py --seed 1 --steps 40000

It takes 22 s of processor time on one core of an AMD EPYC (Zen 3, AVX2), with one thread, and prints:

    step   4,000: mean return 191.7   1.8 s
    step   8,000: mean return 373.1   4.1 s
    step  12,000: mean return 496.9   6.4 s
    step  16,000: mean return 473.0   8.5 s
    step  20,000: mean return 451.9   10.5 s
    step  24,000: mean return 475.8   12.6 s
    step  28,000: mean return 475.8   15.0 s
    step  32,000: mean return 500.0   17.0 s
    step  36,000: mean return 500.0   18.7 s
    step  40,000: mean return 500.0   20.9 s
    the last 20 episodes, learning: mean return 500.0
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


class ObGD(CG.Optimizer):
    """Overshooting-bounded gradient descent with eligibility traces.

    The node of the Graph is what is to rise where `error` is positive: a value, or the logarithm of a probability.
    """

    def __init__(self, lr=1.0, trace_decay=0.8, kappa=2.0):
        super().__init__(lr)
        self.trace_decay, self.kappa = trace_decay, kappa
        self.error, self.ended = 0.0, False  # set before each update

    def apply(self, values, gradients, samples):
        trace = self.state("trace")
        trace *= self.trace_decay
        trace += gradients
        bound = self.rate * self.kappa * max(abs(self.error), 1) * float(np.abs(trace).sum())
        values += self.error * self.rate / max(bound, 1) * trace
        if self.ended:
            trace[...] = 0


class RunningDeviation:
    """Mean and variance of all numbers so far (Welford, 1962)."""

    def __init__(self, size):
        self.count, self.mean, self.squares = 0, np.zeros(size), np.zeros(size)

    def add(self, value):
        self.count += 1
        change = value - self.mean
        self.mean = self.mean + change / self.count
        self.squares = self.squares + change * (value - self.mean)

    def deviation(self):
        return np.sqrt(self.squares / (self.count - 1) + 1e-8) if self.count > 1 else 1.0


def sparse(node, units, rng):
    """A layer with uniform weights by LeCun, of which each output has 9 of 10 set to 0; biases of 0 in the last row."""
    weight = rng.uniform(-1, 1, (node.size + 1, units)) / np.sqrt(node.size)
    for column in weight.T:
        column[rng.permutation(node.size)[: math.ceil(0.9 * node.size)]] = 0
    weight[-1] = 0
    return CG.Affine(node, weight)


def body(node, units, rng):
    """Two hidden layers, normalised; gain and bias of the normalisation do not learn."""
    for _ in range(2):
        normalised = CG.LayerNorm(sparse(node, units, rng))
        for parameter in CG.parameters(normalised):
            if parameter.node is normalised:
                parameter.trainable = False
        node = CG.LeakyReLU(normalised)
    return node


def main(seed=1, steps=40_000, units=64, gamma=0.99, trace_decay=0.8, entropy_bonus=0.01):
    rng = np.random.default_rng(seed)

    # The actor: ln π(a) + bonus · H, where the bonus has the sign of the error.
    observation, action, bonus = CG.Leaf1(5), CG.Leaf1(2), CG.Leaf1(1)
    log_p = CG.LogSoftmax(sparse(body(observation, units, rng), 2, rng))
    entropy = -CG.Dots(CG.Exp(log_p), log_p)
    actor = CG.Graph(CG.Dots(log_p, action) + bonus * entropy)
    # The critic: the value.
    seen = CG.Leaf1(5)
    critic = CG.Graph(sparse(body(seen, units, rng), 1, rng))

    decay = gamma * trace_decay
    actor_rule, critic_rule = ObGD(1.0, decay, kappa=3), ObGD(1.0, decay, kappa=2)
    observations, rewards, reward_trace = RunningDeviation(5), RunningDeviation(1), 0.0

    env, returns, began = CartPole(rng), [], time.process_time()

    def observe(state):
        """The observation with the time in the episode, in units of deviations."""
        extended = np.append(state, env.steps / 500 - 0.5)
        observations.add(extended)
        return (extended - observations.mean) / observations.deviation()

    state = observe(env.reset())
    for step in range(steps):
        chosen = int(
            rng.random() < math.exp(actor.predict({observation: state[None]}, log_p)[0, 1])
        )
        raw, fell, cut = env.step(chosen)
        ended = fell or cut
        next_state = observe(raw)
        reward_trace = 1 + gamma * reward_trace * (not ended)
        rewards.add(reward_trace)
        reward = 1 / float(np.max(rewards.deviation()))

        # A forward and backward pass of the critic, whose gradient the trace takes when the error is known.
        now = critic.accumulate({seen: state[None]})[0]
        later = 0.0 if fell else critic.predict({seen: next_state[None]})[0, 0]
        error = reward + gamma * later - now
        for rule in (actor_rule, critic_rule):
            rule.error, rule.ended = error, ended
        critic.update(critic_rule)
        one_hot = np.eye(2)[[chosen]]
        sign = np.array([[entropy_bonus * np.sign(error)]])
        actor.step({observation: state[None], action: one_hot, bonus: sign}, actor_rule)

        state = next_state
        if ended:
            returns.append(env.steps)
            reward_trace = 0.0
            state = observe(env.reset())
        if (step + 1) % (steps // 10) == 0:
            mean, seconds = np.mean(returns[-20:] or [0]), time.process_time() - began
            print(f"step {step + 1:7,d}: mean return {mean:5.1f}   {seconds:.1f} s")

    result = float(np.mean(returns[-20:] or [0]))
    print(f"the last 20 episodes, learning: mean return {result:.1f}")
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=40_000)
    main(**vars(parser.parse_args()))
