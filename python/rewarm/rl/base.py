"""What every agent has: S seeds on a device, counters of draws, acting, saving and loading."""

from __future__ import annotations

import inspect
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from rewarm.errors import InvalidArgument, StateDictMismatch
from rewarm.rl import checkpoint, presets
from rewarm.rl.adam import Moments
from rewarm.rl.arguments import count, named_backend, seed_numbers
from rewarm.rl.networks import Network

AgentT = TypeVar("AgentT", bound="Agent")


@dataclass
class Part:
    """Something that is saved: tensors by name, and Adam's state of them where they are trained."""

    tensors: dict[str, Tensor]
    moments: Moments | None = None


class Agent(ABC):
    """S independent agents of one shape, trained as one stack.

    Attributes:
        config: The constructor's arguments, as they are saved.
        obs_dim, act_dim: Widths of an observation and an action.
        seeds: The seeds' numbers; seed s draws from Philox with its number as key, whatever its place in the stack.
        device: Where all tensors are.
        seed: The same numbers, int64 ``[S]`` on the device.
        offset: int64 ``[S]`` on the device, critic minibatches done; where the next update draws.
        acts: Sampled `act` calls done; where the next one draws.
    """

    config: dict[str, Any]

    def __init__(
        self, obs_dim: int, act_dim: int, *, seeds: Any, device: str | torch.device, backend: str | None, precision: str
    ) -> None:
        name = type(self).__name__
        self.obs_dim = count(f"{name}: obs_dim", obs_dim)
        self.act_dim = count(f"{name}: act_dim", act_dim)
        self.seeds = seed_numbers(f"{name}: seeds", seeds)
        self.device = torch.empty(0, device=device).device  # with its index, as the tensors will say
        self.backend = named_backend(name, backend, self.device, precision)
        self.precision = precision
        self.seed = torch.tensor(self.seeds, dtype=torch.int64, device=self.device)
        self.offset = torch.zeros_like(self.seed)
        self.acts = 0

    def act(self, obs: ArrayLike, *, mode: bool = False) -> NDArray[np.float32]:
        """Actions for observations, numpy in and numpy out.

        Args:
            obs: ``[O]``, ``[N, O]`` or ``[S, N, O]``, any real dtype; computed in float32. Without the S axis only where
                there is one seed.
            mode: The policy's mode, the same every time; False draws a fresh action, from a counter of its own, so that acting
                does not change what updates draw.

        Returns:
            float32 of the same shape with A for O.

        Raises:
            InvalidArgument: The shape does not fit.
        """
        given = np.asarray(obs, dtype=np.float32)
        shape = given.shape
        expected = "[O], [N, O] or [1, N, O]" if len(self.seeds) == 1 else "[S, N, O]"
        fits = shape[0] == len(self.seeds) if given.ndim == 3 else given.ndim in (1, 2) and len(self.seeds) == 1
        if not fits or shape[-1] != self.obs_dim:
            raise InvalidArgument(
                f"{type(self).__name__}.act: obs: expected {expected} with S = {len(self.seeds)}, O = {self.obs_dim}, "
                f"got {list(shape)}"
            )
        rows = torch.from_numpy(np.ascontiguousarray(given).reshape(len(self.seeds), -1, self.obs_dim)).to(self.device)
        if rows.numel() == 0:
            return np.empty((*shape[:-1], self.act_dim), np.float32)
        with torch.no_grad():
            action = self._action(rows, None if mode else self.acts)
        self.acts += not mode
        return action.cpu().numpy().reshape(*shape[:-1], self.act_dim)

    @abstractmethod
    def _action(self, obs: Tensor, draw: int | None) -> Tensor:
        """Actions ``[S, N, A]`` for ``[S, N, O]``: the mode, or a sample drawn at `draw`."""

    @abstractmethod
    def _parts(self) -> dict[str, Part]:
        """All tensors that training changes, by part."""

    def state_dict(self) -> dict[str, Tensor | int]:
        """Everything that a continued run needs beside `config`: parameters, moments, counters.

        Returns:
            Tensors (the agent's own memory, not copies) and whole numbers by name, as ``critics.layers.0.weight``,
            ``critics.exp_avg.layers.0.weight``, ``critics.step``, ``offset``, ``acts``.
        """
        state: dict[str, Tensor | int] = {"offset": self.offset, "acts": self.acts}
        for name, part in self._parts().items():
            state |= {f"{name}.{key}": tensor for key, tensor in part.tensors.items()}
            if part.moments is not None:
                for moment in ("exp_avg", "exp_avg_sq"):
                    tensors = zip(part.tensors, getattr(part.moments, moment), strict=True)
                    state |= {f"{name}.{moment}.{key}": tensor for key, tensor in tensors}
                state[f"{name}.step"] = part.moments.step
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a `state_dict` of an agent of the same shape; in place, nothing is changed if anything does not fit.

        Args:
            state: As `state_dict` returns it, on any device.

        Raises:
            StateDictMismatch: Names, shapes or dtypes differ.
        """
        own, where = self.state_dict(), f"{type(self).__name__}.load_state_dict"
        if set(own) != set(state):
            missing, foreign = sorted(set(own) - set(state)), sorted(set(state) - set(own))
            raise StateDictMismatch(f"{where}: missing {missing[:4] or 'nothing'}, not expected {foreign[:4] or 'nothing'}")
        for name, value in own.items():
            given = state[name]
            if isinstance(value, Tensor):
                if not isinstance(given, Tensor) or given.shape != value.shape or given.dtype != value.dtype:
                    got = f"{given.dtype} {list(given.shape)}" if isinstance(given, Tensor) else repr(given)
                    raise StateDictMismatch(f"{where}: {name}: expected {value.dtype} {list(value.shape)}, got {got}")
            elif isinstance(given, bool) or not isinstance(given, int) or given < 0:
                raise StateDictMismatch(f"{where}: {name}: expected a whole number >= 0, got {given!r}")
        for name, value in own.items():
            if isinstance(value, Tensor):
                value.copy_(state[name])
        for name, part in self._parts().items():
            if part.moments is not None:
                part.moments.step = state[f"{name}.step"]
        self.acts = state["acts"]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write configuration and state to one file, atomically; `load` continues bit for bit.

        Args:
            path: The file; an existing one is replaced once the new one is complete.

        Raises:
            InvalidArgument: The folder does not exist.
        """
        checkpoint.write(path, type(self).__name__, self.config, self.state_dict())

    @classmethod
    def load(
        cls: type[AgentT], path: str | os.PathLike[str], *, device: str | torch.device = "cpu", backend: str | None = None
    ) -> AgentT:
        """An agent as `save` left it. The same backend, ISA level and device continue bit for bit what was stopped.

        Args:
            path: The file. It is data only: no code in it is run.
            device: Where to continue.
            backend: See the class.

        Returns:
            A new agent of this class.

        Raises:
            StateDictMismatch: Not a file of `save`, or one of another class.
        """
        agent, config, state = checkpoint.read(path)
        if agent != cls.__name__:
            raise StateDictMismatch(f"{cls.__name__}.load: {os.fspath(path)}: expected a {cls.__name__}, got a {agent}")
        loaded = cls(**(config | {"device": device, "backend": backend}))
        loaded.load_state_dict(state)
        return loaded

    @classmethod
    def from_preset(cls: type[AgentT], name: str, obs_dim: int, act_dim: int, **override: Any) -> AgentT:
        """An agent with the published settings of a benchmark.

        Args:
            name: See `rewarm.rl.presets.names`; must be a preset of this class.
            obs_dim: Width of an observation.
            act_dim: Width of an action.
            **override: Constructor arguments that differ.

        Returns:
            The agent. What the preset says about data and training (reward_scale, utd, ...) is read by
            ``presets.get(name)``; the agent does not know it.

        Raises:
            InvalidArgument: No such preset, or one of another class.
        """
        preset = presets.get(name)
        if preset["agent"] != cls.__name__:
            raise InvalidArgument(f"{cls.__name__}.from_preset: {name!r} is a preset of {preset['agent']}")
        accepted = _parameters(cls)
        return cls(obs_dim, act_dim, **({key: value for key, value in preset.items() if key in accepted} | override))

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}={value!r}" for name, value in self.config.items() if name not in ("obs_dim", "act_dim"))
        return f"{type(self).__name__}({self.obs_dim}, {self.act_dim}, {inner}, device={str(self.device)!r})"


def network_part(network: Network, moments: Moments | None = None) -> Part:
    """A network as something that is saved."""
    return Part(dict(network.named_tensors()), moments)


def _parameters(cls: type) -> set[str]:
    """Names of all constructor arguments, those passed on to a parent class included."""
    names: set[str] = set()
    for parent in cls.__mro__:
        if "__init__" in parent.__dict__ and parent not in (object, Agent):
            parameters = inspect.signature(parent.__dict__["__init__"]).parameters.values()
            names |= {parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD}
    return names - {"self"}
