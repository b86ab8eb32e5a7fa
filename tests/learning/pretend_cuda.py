"""A CUDA device that is none: tensors that say "cuda:0" and compute on the CPU.

What a program does between its tensors is then checked as on a GPU, where there is none: an
operation on tensors of two devices fails, and a transfer between host and device is counted. Warp's
kernels run on the CPU, on the memory of the tensors; CUDA graphs are tapes.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import warp as wp
from tape import Tape
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

from dva.compute.warp_runtime import start_warp
from dva.learning import learner

CUDA = torch.device("cuda", 0)
CPU = torch.device("cpu")
META = torch.device("meta")
"""What torch's compiled part takes a pretended tensor for."""


HOST = {
    "_local_scalar_dense", "nonzero", "equal", "allclose", "masked_select", "masked_scatter",
    "bincount", "_unique2", "unique_dim", "unique_consecutive",
}  # fmt: skip
"""Operations that make the host wait for a device."""
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
JOINING = {"cat", "stack"}


class PretendTensor(Tensor):
    """Says that it is on a CUDA device; its values are in `host`."""

    host: Tensor

    @staticmethod
    def __new__(cls, host: Tensor) -> "PretendTensor":
        tensor = Tensor._make_wrapper_subclass(
            cls,
            host.shape,
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            device=META,
        )
        tensor.host = host
        return tensor

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return CUDA

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @property
    def is_cpu(self) -> bool:  # type: ignore[override]
        return False

    @property
    def is_meta(self) -> bool:  # type: ignore[override]
        return False

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def new_tensor(self, data: Any, **kwargs: Any) -> Tensor:
        return torch.tensor(data, device=CUDA, **{"dtype": self.dtype, **kwargs})

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        raise AssertionError(f"{func.name()} runs outside the pretence")

    def __repr__(self) -> str:  # type: ignore[override]
        return f"PretendTensor({self.host})"


class PretendCuda(TorchDispatchMode):
    """Runs operations on pretended tensors.

    Attributes:
        transfers: names of the operations that moved values between host and device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.transfers: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        pretended = [isinstance(x, PretendTensor) for x in tensors]
        asked = kwargs.get("device")
        on_cuda = any(pretended) if asked is None else torch.device(asked).type != "cpu"
        self._check(func, args, tensors, pretended, on_cuda)
        if asked is not None:
            kwargs["device"] = CPU
        if not on_cuda and not any(pretended):
            return func(*args, **kwargs)
        host_args, host_kwargs = tree_map(_host, (args, kwargs))
        out = func(*host_args, **host_kwargs)
        if not on_cuda:
            return tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, out)
        given = {id(x.host): x for x in tensors if isinstance(x, PretendTensor)}
        wrapped = tree_map(lambda x: _pretend(x, given), out)
        return return_and_correct_aliasing(func, args, kwargs, wrapped) if given else wrapped

    def _check(
        self, func: Any, args: Any, tensors: Any, pretended: list[bool], on_cuda: bool
    ) -> None:
        name = func.name()
        word = name.removeprefix("aten::").partition(".")[0]
        moves = word in ("_to_copy", "copy_")
        # A mask says only on the device how many it chooses.
        indices = tree_leaves(args[1]) if word in INDEXING else []
        masked = any(isinstance(x, Tensor) and x.dtype == torch.bool for x in indices)
        if moves and any(on_cuda != one for one in pretended):
            self.transfers.append(name)
        elif any(pretended) and (masked or word in HOST):
            self.transfers.append(name)
        elif any(pretended) and not moves:
            # As on a GPU, numbers may be on the host, but not become parts of a tensor.
            strangers = [
                x
                for x, one in zip(tensors, pretended, strict=True)
                if not one and (x.dim() > 0 or word in JOINING)
            ]
            if strangers:
                raise RuntimeError(f"{name} has tensors on cuda:0 and on the cpu: {strangers}")


def _host(value: Any) -> Any:
    return value.host if isinstance(value, PretendTensor) else value


def _pretend(value: Any, given: dict[int, PretendTensor]) -> Any:
    if not isinstance(value, Tensor):
        return value
    return given[id(value)] if id(value) in given else PretendTensor(value)


class PretendGenerator(torch.Generator):
    """Is on the CPU wherever it is asked to be."""

    def __new__(cls, device: Any = None) -> "PretendGenerator":
        return super().__new__(cls, CPU)  # type: ignore[call-arg]


class PretendEvent:
    """Tells the time."""

    def __init__(self, enable_timing: bool = False) -> None:
        self.when = 0.0

    def record(self, stream: Any) -> None:
        self.when = time.perf_counter()

    def elapsed_time(self, end: "PretendEvent") -> float:
        return (end.when - self.when) * 1e3


@contextmanager
def pretended_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendCuda]:
    """Lets torch and Warp take "cuda" for a device of this machine."""
    start_warp()
    cpu = wp.get_device("cpu")
    tensor, from_torch = torch.tensor, wp.from_torch
    with monkeypatch.context() as patch:
        for name, value in {
            "_lazy_init": lambda: None,
            "is_available": lambda: True,
            "device_count": lambda: 1,
            "current_device": lambda: 0,
            "current_stream": lambda device=None: None,
            "get_device_name": lambda device=None: "pretended",
            "max_memory_allocated": lambda device=None: 2**20,
            "get_device_capability": lambda device=None: (9, 0),
            "synchronize": lambda device=None: None,
            "Event": PretendEvent,
            "get_rng_state": lambda device=None: torch.zeros(16, dtype=torch.uint8),
            "set_rng_state": lambda state, device=None: None,
        }.items():
            patch.setattr(torch.cuda, name, value)
        patch.setattr(learner, "CudaRecorder", lambda device, generators: Tape())
        patch.setattr(torch, "Generator", PretendGenerator)
        patch.setattr(torch, "tensor", lambda data, **kw: _tensor(tensor, data, **kw))
        patch.setattr(wp, "device_from_torch", lambda device: cpu)
        patch.setattr(wp, "stream_from_torch", lambda stream: None)
        patch.setattr(wp, "from_torch", lambda x, **kw: from_torch(_host(x), **kw))
        with PretendCuda() as mode:
            yield mode


def _tensor(make: Callable[..., Tensor], data: Any, device: Any = None, **kwargs: Any) -> Tensor:
    on_host = make(data, **kwargs)
    on_cuda = device is not None and torch.device(device).type == "cuda"
    return on_host.to(CUDA) if on_cuda else on_host
