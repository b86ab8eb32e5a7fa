import pytest
import torch

from dva.envs.frames import FrameBuffer, first_stack, newest, push, restart
from dva.spec import Entry

ENTRY = Entry("pixels", "image", (3, 2, 4), "uint8", 3, "", 0.0, 255.0)


def test_observations_equal_a_stack_kept_step_by_step() -> None:
    generator = torch.Generator().manual_seed(0)
    num_envs, horizon = 3, 7

    def random(*shape: int) -> torch.Tensor:
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)

    stack = random(num_envs, 9, 2, 4)
    buffer = FrameBuffer(ENTRY, stack, horizon)
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
    mixed = torch.tensor([7, 0, 7, 10])
    assert torch.equal(buffer.gather(mixed), torch.cat(stacks)[mixed])


def test_wrong_channels_are_named() -> None:
    with pytest.raises(ValueError, match=r"'pixels' is \(6, 2, 4\), .* says \(9, 2, 4\)"):
        FrameBuffer(ENTRY, torch.zeros(1, 6, 2, 4, dtype=torch.uint8), 2)


@pytest.mark.parametrize("shape", [(2, 3, 4), (3,)])
def test_stacks_join_the_newest_readings_oldest_first(shape: tuple[int, ...]) -> None:
    entry = Entry("x", "image" if len(shape) == 3 else "vector", shape, frame_stack=3)
    width = shape[0]

    def reading(value: float) -> torch.Tensor:
        return torch.full((2, *shape), value)

    def values(stack: torch.Tensor, row: int = 0) -> list[float]:
        parts = stack[row].split(width)
        assert all((part == part.flatten()[0]).all() for part in parts)
        return [part.flatten()[0].item() for part in parts]

    stack = first_stack(reading(1.0), 3)
    assert stack.shape[1:] == entry.stacked_shape and values(stack) == [1.0, 1.0, 1.0]
    pushed = push(push(stack, reading(2.0)), reading(3.0))
    assert values(pushed) == [1.0, 2.0, 3.0]
    assert values(stack) == [1.0, 1.0, 1.0]  # as it was
    assert torch.equal(newest(pushed, entry), reading(3.0))
    begun = restart(pushed, reading(9.0), torch.tensor([False, True]))
    assert values(begun, 0) == [1.0, 2.0, 3.0] and values(begun, 1) == [9.0, 9.0, 9.0]


def test_stacks_of_one_reading_are_that_reading() -> None:
    reading, next_reading = torch.zeros(2, 3), torch.ones(2, 3)
    stack = first_stack(reading, 1)
    assert torch.equal(stack, reading)
    assert torch.equal(push(stack, next_reading), next_reading)
    vector = Entry("x", "vector", (3,))
    assert torch.equal(FrameBuffer(vector, stack, 1).observation(0), reading)


def test_stacks_pass_gradients_to_readings() -> None:
    first, second = (torch.ones(2, 3, requires_grad=True) for _ in range(2))
    stack = restart(push(first_stack(first, 2), second), second, torch.tensor([False, True]))
    (stack * torch.arange(1.0, 7.0)).sum().backward()
    assert first.grad is not None and second.grad is not None
    assert first.grad.tolist() == [[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]
    assert second.grad.tolist() == [[4.0, 5.0, 6.0], [5.0, 7.0, 9.0]]
