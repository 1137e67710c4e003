"""Rollout buffers that keep each graph once, masks as bits, and what changes compressed; nothing is lost.

Training with them gives the very parameters that training with SB3's buffers gives. Pass one as
`rollout_buffer_class`; a policy that reads full observations of a few hundred nodes needs a twentieth of the memory.
"""

from __future__ import annotations

import hashlib
import sys
import zlib
from typing import Any

import numpy as np
from sb3_contrib.common.maskable.buffers import MaskableDictRolloutBuffer, MaskableDictRolloutBufferSamples
from stable_baselines3.common.buffers import DictRolloutBuffer
from stable_baselines3.common.type_aliases import DictRolloutBufferSamples

from sysgym.core.observation import mask_size
from sysgym.core.problem import Array

STATIC = ("node_mask", "edges", "edge_index", "edge_mask")  # keys of the observation that an instance fixes
LARGE = 64  # bytes of a changing array from which it is compressed
LEVEL = 6  # of zlib: a tenth of a millisecond for the nodes of 256, little beside a policy's step


class PackedObservations:
    """Dict observations of T steps of B environments, with constant memory for each distinct graph.

    `dtypes` and `shapes` are those of the observation's keys. Masks (`action_mask`, 0 or 1) are kept as bits; large
    arrays are compressed with zlib, `nodes` as the difference (XOR) to the graph's first ones.
    """

    def __init__(self, steps: int, envs: int, shapes: dict[str, tuple[int, ...]], dtypes: dict[str, Any]) -> None:
        self.steps, self.shapes, self.dtypes = steps, shapes, dtypes
        sizes = {key: int(np.prod(shape)) * np.dtype(dtypes[key]).itemsize for key, shape in shapes.items()}
        self.static = [key for key in STATIC if key in shapes]
        self.bits = [key for key in shapes if key == "action_mask"]
        rest = [key for key in shapes if key not in self.static + self.bits]
        self.large = [key for key in rest if sizes[key] >= LARGE]
        self.based = [*self.static, *(key for key in self.large if key == "nodes")]
        self.small = {key: np.zeros((steps, envs, *shapes[key]), dtypes[key]) for key in rest if sizes[key] < LARGE}
        self.masks = {key: np.zeros((steps, envs, -(-shapes[key][0] // 8)), np.uint8) for key in self.bits}
        self.packed: list[list[bytes]] = [[b""] * envs for _ in range(steps)]
        self.ends = np.cumsum([0, *(sizes[key] for key in self.large)])
        self.graph = np.zeros((steps, envs), np.int32)
        self.graphs: list[dict[str, Array]] = []  # static arrays, and the first `nodes`
        self._known: dict[bytes, int] = {}  # by a digest of the static arrays
        self._current = [-1] * envs

    def _graph_of(self, env: int, obs: dict[str, Array]) -> int:
        current = self._current[env]
        if current >= 0 and all(np.array_equal(obs[key][env], self.graphs[current][key]) for key in self.static):
            return current
        name = hashlib.sha256(b"".join(obs[key][env].tobytes() for key in self.static)).digest()
        if name not in self._known:
            self._known[name] = len(self.graphs)
            self.graphs.append({key: obs[key][env].copy() for key in self.based})
        self._current[env] = self._known[name]
        return self._current[env]

    def put(self, step: int, obs: dict[str, Array]) -> None:
        """Keep the observations (B, ...) of one step."""
        for key, store in self.small.items():
            store[step] = obs[key].reshape(store.shape[1:])
        for key, store in self.masks.items():
            store[step] = np.packbits(obs[key].astype(bool), axis=1)
        if not (self.static or self.large):
            return
        for env in range(self.graph.shape[1]):
            graph = self._graph_of(env, obs)
            self.graph[step, env] = graph
            parts = [_bytes(obs[key][env]) for key in self.large]
            if "nodes" in self.based:
                at = self.large.index("nodes")
                parts[at] = parts[at] ^ _bytes(self.graphs[graph]["nodes"])
            self.packed[step][env] = zlib.compress(b"".join(part.tobytes() for part in parts), LEVEL)

    def get(self, indices: Array) -> dict[str, Array]:
        """Observations by flat index, environment * T + step, as SB3's buffers count; (len(indices), ...)."""
        envs, steps = np.divmod(indices, self.steps)
        found: dict[str, Array] = {key: store[steps, envs] for key, store in self.small.items()}
        for key, store in self.masks.items():
            found[key] = np.unpackbits(store[steps, envs], axis=1, count=self.shapes[key][0]).astype(self.dtypes[key])
        graphs = self.graph[steps, envs]
        for key in self.based:
            found[key] = np.stack([self.graphs[graph][key] for graph in graphs])
        if self.large:
            data = [zlib.decompress(self.packed[step][env]) for env, step in zip(envs, steps, strict=True)]
            table = np.frombuffer(b"".join(data), np.uint8).reshape(len(indices), -1)
        for i, key in enumerate(self.large):
            rows = table[:, self.ends[i] : self.ends[i + 1]].copy()
            if key in self.based:
                rows ^= _bytes(found[key]).reshape(rows.shape)
            found[key] = rows.view(self.dtypes[key]).reshape(len(indices), *self.shapes[key])
        return {key: found[key] for key in self.shapes}

    @property
    def nbytes(self) -> int:
        """Bytes of all that is kept, Python's own included."""
        arrays = [*self.small.values(), *self.masks.values(), self.graph]
        arrays += [value for graph in self.graphs for value in graph.values()]
        packed = sum(sys.getsizeof(row) + sum(map(sys.getsizeof, row)) for row in self.packed)
        known = sum(map(sys.getsizeof, self._known))
        return sum(array.nbytes for array in arrays) + packed + known


def _bytes(array: Array) -> Array:
    """A C-contiguous array as uint8, without a copy where it is one already."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


class _Packed(DictRolloutBuffer):
    """What the two buffers share: SB3 sees a buffer without observations, they are in `packed`."""

    packed: PackedObservations

    def reset(self) -> None:
        """Empty the buffer."""
        self.obs_shape: dict[str, tuple[int, ...]] = {}
        DictRolloutBuffer.reset(self)  # not the maskable one, which would fill a float for each action
        parts = self.observation_space.spaces
        shapes = {key: tuple(space.shape or (1,)) for key, space in parts.items()}
        self.packed = PackedObservations(
            self.buffer_size, self.n_envs, shapes, {key: space.dtype for key, space in parts.items()}
        )

    def add(self, obs: dict[str, Array], *args: Any, **kwargs: Any) -> None:
        """As SB3's."""
        self.packed.put(self.pos, obs)
        super().add(obs, *args, **kwargs)

    def _shown(self, batch_inds: Array) -> dict[str, Any]:
        return {key: self.to_torch(value, copy=False) for key, value in self.packed.get(batch_inds).items()}


class GraphRolloutBuffer(_Packed):
    """For PPO, A2C and TRPO."""

    def _get_samples(self, batch_inds: Array, env: Any = None) -> DictRolloutBufferSamples:
        return super()._get_samples(batch_inds, env)._replace(observations=self._shown(batch_inds))


class MaskableGraphRolloutBuffer(_Packed, MaskableDictRolloutBuffer):
    """For MaskablePPO; its action masks are bits too."""

    def reset(self) -> None:
        """Empty the buffer."""
        super().reset()
        self.mask_dims = mask_size(self.action_space)
        self.action_masks = np.full((self.buffer_size, self.n_envs, -(-self.mask_dims // 8)), 255, np.uint8)

    def add(self, *args: Any, action_masks: Array | None = None, **kwargs: Any) -> None:
        """As sb3-contrib's."""
        if action_masks is not None:
            masks = np.asarray(action_masks).reshape(self.n_envs, self.mask_dims)
            self.action_masks[self.pos] = np.packbits(masks.astype(bool), axis=1)
        super().add(*args, **kwargs)

    def _get_samples(self, batch_inds: Array, env: Any = None) -> MaskableDictRolloutBufferSamples:
        masks = np.unpackbits(self.action_masks[batch_inds], axis=1, count=self.mask_dims).astype(np.float32)
        columns = (self.values, self.log_probs, self.advantages, self.returns)
        return MaskableDictRolloutBufferSamples(
            self._shown(batch_inds),  # type: ignore[arg-type]
            self.to_torch(self.actions[batch_inds]),
            *(self.to_torch(column[batch_inds].flatten()) for column in columns),
            self.to_torch(masks, copy=False),
        )


class PerGraphRolloutBuffer(MaskableGraphRolloutBuffer):
    """The same, with advantages standardised a graph: where many are played, none outweighs the others.

    Circuit Training's rule for training on several netlists; observations are dynamic ones.
    """

    def compute_returns_and_advantage(self, last_values: Any, dones: Array) -> None:
        """As SB3's, then each graph's advantages less their mean and over their deviation."""
        super().compute_returns_and_advantage(last_values, dones)
        graphs = self.packed.small["graph_id"][:, :, 0]
        for graph in np.unique(graphs):
            own = self.advantages[graphs == graph]
            self.advantages[graphs == graph] = (own - own.mean()) / (own.std() + 1e-8)
