"""D.Va in thirty lines: a policy of images, taught by the gradient of the physics.

    python dva_in_30_lines.py

The library's own (`dva/learning/first_order/dva.py`) adds what makes it fast and steady: stored
bytes instead of stacks, micro-batches, normalisation, ends of episodes, schedules, CUDA graphs.
"""

import sys
from collections.abc import Iterator

import torch
from torch import Tensor, nn

import dva


def improve(network: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Makes one step down the gradient of a loss."""
    network.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()


def train(n: int = 16, horizon: int = 16, size: int = 32) -> Iterator[float]:
    """Trains on Cartpole from pixels; yields each iteration's mean reward of a step."""
    env = dva.make("cartpole", n, "cpu", image_size=size, final_observations=False, threads=1)
    convolutions = nn.Conv2d(9, 16, 3, 2), nn.ReLU(), nn.Conv2d(16, 16, 3, 2), nn.ReLU()
    head = nn.LazyLinear(64), nn.LayerNorm(64), nn.Tanh(), nn.Linear(64, env.action_size)
    actor = nn.Sequential(*convolutions, nn.Flatten(), *head)
    critic = nn.Sequential(nn.Linear(5, 128), nn.ELU(), nn.Linear(128, 1))
    observation = env.reset()
    actor(observation["pixels"] / 255.0)  # sizes the lazy layer
    actor_optimizer = torch.optim.Adam(actor.parameters(), 2e-3, betas=(0.7, 0.95))
    critic_optimizer = torch.optim.Adam(critic.parameters(), 2e-3)
    while True:
        pixels, states, actions, rewards = [], [], [], []
        for _ in range(horizon):  # 1. rollout: the physics keeps its graph, the policy has none
            pixels.append(observation["pixels"] / 255.0 - 0.5)
            states.append(observation["state"].detach())
            action = (actor(pixels[-1]) + 0.3 * torch.randn(n, env.action_size)).detach()
            actions.append(action.requires_grad_())
            observation, reward, *_ = env.step(action.tanh())
            rewards.append(reward)
        value = 100 * critic(observation["state"])[:, 0]  # 2. action gradient: no images
        returns = sum(0.99**t * r for t, r in enumerate(rewards)) + 0.99**horizon * value
        gradients = torch.autograd.grad(-returns.mean() / horizon, actions)
        # 3. regression: one big batch, no physics
        improve(actor, actor_optimizer, (actor(torch.cat(pixels)) * torch.cat(gradients)).sum())
        targets = [value.detach()]  # 4. critic: returns along the rollout
        for reward in reversed(rewards):
            targets.insert(0, reward.detach() + 0.99 * targets[0])
        for _ in range(16):
            error = critic(torch.cat(states))[:, 0] - torch.cat(targets[:-1]) / 100
            improve(critic, critic_optimizer, error.square().mean())
        env.detach()
        yield torch.stack(rewards).mean().item()


if __name__ == "__main__":
    torch.manual_seed(0)
    history: list[float] = []
    for reward in train():
        history.append(reward)
        if len(history) % 20 == 0:
            mean = sum(history[-20:]) / 20
            print(f"iteration {len(history):3d}: reward a step {mean:5.2f} of 10", flush=True)
        if len(history) == (20 if "--quick" in sys.argv else 300):
            break
