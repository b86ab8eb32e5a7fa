import pytest
import torch

from dva.envs.frames import FrameBuffer


def test_observations_equal_a_stack_kept_step_by_step() -> None:
    generator = torch.Generator().manual_seed(0)
    num_envs, horizon = 3, 7

    def random(*shape: int) -> torch.Tensor:
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)

    stack = random(num_envs, 9, 2, 4)
    buffer = FrameBuffer(stack, 3, horizon)
    stacks = [stack]
    for t in range(1, horizon + 1):
        frame = random(num_envs, 3, 2, 4)
        # Environment 1 starts episodes at two neighbouring steps, environment 2 at the last.
        new = torch.tensor([False, t in (2, 3), t == horizon])
        buffer.append(t, frame, new)
        stack = torch.cat([stack[:, 3:], frame], 1)
        stack = torch.where(new[:, None, None, None], frame.repeat(1, 3, 1, 1), stack)
        stacks.append(stack)
    for t, expected in enumerate(stacks):
        assert torch.equal(buffer.observation(t), expected)
    assert torch.equal(buffer.observations(2, 11), torch.cat(stacks)[2:11])


def test_wrong_channels_are_named() -> None:
    with pytest.raises(ValueError, match="6 channels; with frame_stack 3 they must have 9"):
        FrameBuffer(torch.zeros(1, 6, 4, 4, dtype=torch.uint8), 3, 2)
