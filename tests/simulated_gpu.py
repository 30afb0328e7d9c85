"""A GPU simulated on the CPU, to find operations that wait for it.

Within `SimulatedGPU()`, tensors of `on_gpu` are on another device, and operations on them are
computed on the CPU. Those that would make the host wait for a GPU are recorded: numbers that Python
reads, and copies between host and device, except asynchronous ones from or to pinned memory. The
device says that it is torch's `meta`, since torch knows no other one without its hardware.
"""

import traceback
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

import hqdm
from hqdm.utils import memory

GPU = torch.device("meta")
PACKAGE = Path(hqdm.__file__).parent
aten = torch.ops.aten
NUMBER = aten._local_scalar_dense.default
SHAPES = {aten.nonzero.default, aten.masked_select.default}
# Conjugates that are marked and not computed are unknown to operations below a dispatch mode.
COMPUTED = {
    aten._conj.default: aten.conj_physical.default,
    aten._neg_view.default: aten.neg.default,
}
COPIES = {aten._to_copy.default, aten.copy_.default}


class OnGPU(Tensor):
    """A tensor on the simulated GPU.

    Args:
        held: Its numbers, on the CPU.
    """

    @staticmethod
    def __new__(cls, held):
        return Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), dtype=held.dtype, device=GPU
        )

    def __init__(self, held):
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        with SimulatedGPU():
            return function(*args, **(kwargs or {}))


class SimulatedGPU(TorchDispatchMode):
    """Runs operations on the simulated GPU; see the module docstring.

    Attributes:
        waits: For each operation that waited, the line of the package that called it.
    """

    def __init__(self):
        super().__init__()
        self.waits = []
        self._patches = ExitStack()

    def __enter__(self):
        patch = mock.patch.object
        make, make_like = torch.tensor, Tensor.new_tensor
        for patched in (
            patch(memory, "QUEUED", (GPU.type,)),
            patch(memory, "_event", lambda device: mock.Mock()),
            patch(Tensor, "pin_memory", _pinned),
            patch(torch, "tensor", lambda *x, device=None, **y: self._put(make(*x, **y), device)),
            patch(
                Tensor,
                "new_tensor",
                lambda like, data, **y: self._put(make_like(_held(like), data, **y), like.device),
            ),
        ):
            self._patches.enter_context(patched)
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._patches.close()

    def _put(self, made, device):
        """A tensor that Python's numbers were copied into."""
        if device is None or torch.device(device) != GPU:
            return made
        self._wait()
        return OnGPU(made)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        inside = [x for x in tensors if isinstance(x, OnGPU)]
        to_gpu = kwargs.get("device") == GPU
        if not inside and not to_gpu:
            return function(*args, **kwargs)
        if any(x.device == GPU and not isinstance(x, OnGPU) for x in tensors):
            raise RuntimeError("torch copied a list of indices to the GPU, which waits")
        if self._waits(function, args, kwargs, to_gpu):
            self._wait()
        if to_gpu:
            kwargs["device"] = torch.device("cpu")
        held_args, held_kwargs = tree_map_only(OnGPU, _held, (args, kwargs))
        out = COMPUTED.get(function, function)(*held_args, **held_kwargs)
        to_cpu = kwargs.get("device") is not None and not to_gpu
        if function is NUMBER or (function is aten._to_copy.default and to_cpu):
            return out
        same = {id(x.held): x for x in inside}  # operations in place return their argument
        return tree_map_only(Tensor, lambda x: same[id(x)] if id(x) in same else OnGPU(x), out)

    def _waits(self, function, args, kwargs, to_gpu):
        if function is NUMBER or function in SHAPES:
            return isinstance(args[0], OnGPU)
        if function is aten.index.Tensor:  # the number of chosen elements is read
            return any(i is not None and i.dtype == torch.bool for i in args[1])
        if function not in COPIES:
            return False
        into = isinstance(args[0], OnGPU)
        source = args[1] if function is aten.copy_.default else args[0]
        if function is aten._to_copy.default:
            into = to_gpu if kwargs.get("device") is not None else into
        asynchronous = kwargs.get("non_blocking") and (not into or hasattr(source, "is_in_pinned"))
        return into != isinstance(source, OnGPU) and not asynchronous

    def _wait(self):
        stack = [frame for frame in traceback.extract_stack() if str(PACKAGE) in frame.filename]
        lines = [f"{Path(frame.filename).relative_to(PACKAGE)}: {frame.line}" for frame in stack]
        self.waits.append(lines[-1] if lines else "outside of the package")


def _held(tensor):
    return tensor.held if isinstance(tensor, OnGPU) else tensor


def _pinned(tensor):
    copy = tensor.clone()
    copy.is_in_pinned = True
    return copy


def on_gpu(value):
    """A tensor, or a module with its parameters and buffers, on the simulated GPU."""
    if isinstance(value, Tensor):
        return OnGPU(value.detach().clone())
    for module in value.modules():
        for name, p in module._parameters.items():
            if p is not None:
                module._parameters[name] = nn.Parameter(on_gpu(p), p.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = on_gpu(buffer)
    return value
