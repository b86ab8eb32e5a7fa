"""SHAC through images, and D.Va with the same camera."""

import pytest
import torch
from small import small_dva, small_shac

import dva
from dva.envs import VectorEnv


def make_env(num_envs: int = 3, image_gradient: bool = False) -> VectorEnv:
    return dva.make(
        "cartpole", num_envs, device="cpu", image_size=24, threads=1, final_observations=False,
        camera="differentiable", image_gradient=image_gradient,
    )  # fmt: skip


def test_the_gradient_passes_images_over_several_steps() -> None:
    env = make_env(2, image_gradient=True)
    assert env.image_gradient
    start_q = torch.tensor([[0.0, 2.5], [0.3, -1.0]])
    weights = torch.randn(9, 24, 24, generator=torch.Generator().manual_seed(0)) / 50

    def total_reward(bias: torch.Tensor, blind: bool = False) -> torch.Tensor:
        observation = env.set_state(start_q, torch.ones(2, 2))
        first = observation["pixels"].detach()
        total = torch.zeros(())
        for _ in range(6):
            pixels = observation["pixels"].detach() if blind else observation["pixels"]
            action = torch.tanh(((pixels - first) * weights).sum(dim=(1, 2, 3)) + bias)
            observation, reward, *_ = env.step(action[:, None])
            total = total + reward.sum()
        return total

    bias = torch.tensor(0.2, requires_grad=True)
    (gradient,) = torch.autograd.grad(total_reward(bias), bias)
    eps = 1e-2
    with torch.no_grad():
        difference = (total_reward(bias + eps) - total_reward(bias - eps)) / (2 * eps)
    assert gradient.item() == pytest.approx(difference.item(), rel=0.002)
    # the images have a part in it: the same actions taken blindly have another gradient
    (blind,) = torch.autograd.grad(total_reward(bias, blind=True), bias)
    assert abs(blind.item() - gradient.item()) > 0.05 * abs(gradient.item())


def test_shac_trains_from_images() -> None:
    env = make_env(image_gradient=True)
    algorithm = small_shac(env, horizon=4)
    before = [parameter.clone() for parameter in algorithm.actor.parameters()]
    metrics = [algorithm.iterate() for _ in range(2)][-1]
    assert metrics["nonfinite_count"] == 0
    moved = zip(before, algorithm.actor.parameters(), strict=True)
    assert all(not torch.equal(old, new) for old, new in moved)
    action = algorithm.policy.act(env.reset(), {})[0]
    assert action.shape == (3, 1) and not action.requires_grad


def test_dva_sees_the_same_camera_as_bytes() -> None:
    env = make_env()
    assert env.reset()["pixels"].dtype == torch.uint8 and not env.image_gradient
    assert small_dva(env, horizon=4, precision="auto").iterate()["nonfinite_count"] == 0


def test_a_hard_camera_with_a_gradient_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match='jump.*camera="differentiable"'):
        dva.make("cartpole", 1, device="cpu", image_gradient=True)
    with pytest.raises(ValueError, match="'soft'.*hard, differentiable"):
        dva.make("cartpole", 1, device="cpu", camera="soft")  # type: ignore[arg-type]
