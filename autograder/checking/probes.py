"""Probes that the checks of several lessons send beside a submission's objects.

A probe does and reports; it holds no expected value, and what it reports can be forged. Each is
pickled by value, so it imports what it needs inside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


def hold(thing: Any) -> Any:
    """Keep an object beside the submission; what comes back is a handle on it."""
    return thing


def deep_copy(thing: Any) -> Any:
    """Return a deepcopy, as a handle."""
    import copy

    return copy.deepcopy(thing)


def chain(*layers: nn.Module) -> nn.Module:
    """Put layers one behind the other."""
    from torch import nn

    return nn.Sequential(*layers)


def item(thing: Any, key: Any) -> Any:
    """Return what stands under a key of a container that is held."""
    return thing[key]


def set_parameters(module: nn.Module, **values: Tensor) -> str:
    """Give parameters of one module new values; return the name of one that cannot have its, or "".

    It is no tensor, or has another shape.
    """
    import torch

    with torch.no_grad():
        for name, value in values.items():
            parameter = getattr(module, name)
            if not isinstance(parameter, torch.Tensor) or parameter.shape != value.shape:
                return name
            parameter.copy_(value)
    return ""


def kept(module: nn.Module, where: str) -> list[Tensor]:
    """Return the "_parameters" or "_buffers" of a module, each once, as its forward finds them."""
    found = [tensor for part in module.modules() for tensor in getattr(part, where).values()]
    return list({id(tensor): tensor for tensor in found if tensor is not None}.values())


def shift_everything(module: nn.Module) -> None:
    """Add one to every parameter and every floating-point buffer."""
    import torch

    with torch.no_grad():
        for tensor in [*kept(module, "_parameters"), *kept(module, "_buffers")]:
            if tensor.is_floating_point():
                tensor.add_(1.0)


def set_trainable(module: nn.Module, flag: bool) -> None:
    """Make all parameters trainable, or none."""
    module.requires_grad_(flag)


def trainable(module: nn.Module) -> list[str]:
    """Report the names of the trainable parameters."""
    return [name for name, parameter in module.named_parameters() if parameter.requires_grad]


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """Report the parameters and buffers."""
    return dict(module.state_dict())


def set_mode(module: nn.Module, training: bool) -> None:
    """Put a module into train or eval mode."""
    module.train(training)


def modes_of(module: nn.Module) -> dict[str, bool]:
    """Report the training mode of each submodule, by its dotted name."""
    return {name: child.training for name, child in module.named_modules()}


def made_from_meta(
    make: Callable[..., nn.Module], module: nn.Module, *args: Any
) -> list[tuple[bool, tuple[int, ...]]]:
    """Make a module of one on the device "meta"; report of each of its parameters whether it adds
    up with one that lies there, and its shape.
    """
    made = kept(make(module.to("meta"), *args), "_parameters")
    return [(adds_to_meta(p), tuple(p.shape)) for p in made]


def adds_to_meta(tensor: Tensor) -> bool:
    """Report whether a tensor lies on "meta": torch adds up no others with one that does."""
    import torch

    try:
        inside = torch.Tensor.detach(tensor)  # whatever its class says of itself
        return torch.add(inside, torch.empty(inside.shape, device="meta")).is_meta
    except RuntimeError:
        return False


def fill_gradients(module: nn.Module, value: float) -> None:
    """Leave gradients behind, as an earlier backward would."""
    import torch

    for parameter in module.parameters():
        parameter.grad = torch.full_like(parameter, value)


def gradients_of(module: nn.Module) -> dict[str, Tensor | None]:
    """Report what stands in .grad of each parameter."""
    return {name: parameter.grad for name, parameter in module.named_parameters()}


def make_sgd(module: nn.Module, lr: float) -> Any:
    """Return plain SGD over the parameters of a module."""
    import torch

    return torch.optim.SGD(module.parameters(), lr=lr)


def make_momentum_sgd(module: nn.Module, rates: tuple[float, float]) -> Any:
    """Return SGD with momentum: the first parameter's rate is the first, the others' the second."""
    import torch

    first, *others = module.parameters()
    groups = [{"params": [first], "lr": rates[0]}, {"params": others, "lr": rates[1]}]
    return torch.optim.SGD(groups, momentum=0.9)


def step_of(optimizer: Any, module: nn.Module, value: float) -> None:
    """Let an optimizer that was made earlier step, with all gradients of a module at a value."""
    fill_gradients(module, value)
    optimizer.step()


def sgd_step(module: nn.Module, x: Tensor, upstream: Tensor, lr: float) -> None:
    """One step of plain SGD on all parameters, in the mode that the module is in.

    No parameter is asked whether it is trainable, and nothing of its class: what has no gradient
    does not move, and one that was left from before counts. torch's own SGD could be another now.
    """
    import torch

    y = module(x)
    if y.requires_grad:
        y.backward(upstream)
    gradient: Any = torch._C.TensorBase.grad
    with torch.no_grad(), torch._C.DisableTorchFunctionSubclass():
        for parameter in kept(module, "_parameters"):
            if (found := gradient.__get__(parameter)) is not None:
                torch.Tensor.detach(parameter).sub_(lr * found)
            gradient.__set__(parameter, None)


def load_and_go_on(
    load: Callable[[nn.Module, dict[str, Tensor]], Any], model: nn.Module, state: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Report a state that was loaded, as it is after the model has changed."""
    load(model, state)
    shift_everything(model)
    return state


def call_and_return_arguments(
    function: Callable[..., Any], *args: Any, **kwargs: Any
) -> tuple[Any, list[Any]]:
    """Call a function; report what it returned, and its arguments as they are afterwards."""
    result = function(*args, **kwargs)
    return result, [*args, *kwargs.values()]


def seed_global(seed: int) -> None:
    """Seed torch's global generator."""
    import torch

    torch.manual_seed(seed)


def draw_global(count: int, kind: str) -> Any:
    """Report what torch's global generator gives next, by a method of tensors such as uniform_."""
    import torch

    return getattr(torch.empty(count), kind)()
