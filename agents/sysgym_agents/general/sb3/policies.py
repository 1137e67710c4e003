"""`GraphPolicy` for every SB3 and sb3-contrib algorithm: one network, one base class of each library.

The action mask is part of the observation, so every algorithm masks, with or without masks of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from sb3_contrib.qrdqn.policies import QRDQNPolicy
from stable_baselines3.common.distributions import CategoricalDistribution, Distribution, MultiCategoricalDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.dqn.policies import DQNPolicy
from torch import Tensor, nn
from torch.distributions import Categorical, Independent

from sysgym_agents.general.sb3.network import FURTHER, Encoded, GraphNet, StoredGraphs
from sysgym_agents.learning.devices import drawn


class NoFeatures(BaseFeaturesExtractor):
    """Stands where SB3 wants a features extractor; GraphNet reads the observation itself."""

    def __init__(self, observation_space: spaces.Space, features_dim: int = 1) -> None:
        super().__init__(observation_space, features_dim)

    def forward(self, observations: Any) -> Tensor:
        """Never called."""
        raise RuntimeError("GraphPolicy reads observations without a features extractor")


class ManyCategorical(Distribution):
    """Equal choices side by side, (B, M, K) logits as one batched softmax; actions (B, M)."""

    def __init__(self, choices: int, options: int) -> None:
        super().__init__()
        self.choices, self.options = choices, options

    def proba_distribution_net(self, *args: Any, **kwargs: Any) -> nn.Module:
        """Not used: GraphNet makes the logits."""
        raise RuntimeError("GraphNet makes the logits")

    def proba_distribution(self, action_logits: Tensor) -> ManyCategorical:
        """Set the logits, (B, M * K)."""
        table = action_logits.reshape(-1, self.choices, self.options)
        self.distribution = Independent(Categorical(logits=table, validate_args=False), 1, validate_args=False)
        self.logs = self.distribution.base_dist.logits  # normalised, (B, M, K)
        return self

    def log_prob(self, actions: Tensor) -> Tensor:
        """Joint log-probability, (B,)."""
        return self.logs.gather(2, actions.long()[:, :, None]).sum(dim=(1, 2))

    def entropy(self) -> Tensor:
        """Joint entropy, (B,)."""
        return -(self.logs * self.logs.exp()).sum(dim=(1, 2))

    def sample(self) -> Tensor:
        """Random actions, (B, M)."""
        rows = self.logs.detach().reshape(-1, self.options).exp()
        return drawn(rows, 1).reshape(-1, self.choices)

    def mode(self) -> Tensor:
        """Most likely actions, (B, M)."""
        return self.logs.argmax(dim=2)

    def actions_from_params(self, action_logits: Tensor, deterministic: bool = False) -> Tensor:
        """Actions for given logits."""
        return self.proba_distribution(action_logits).get_actions(deterministic=deterministic)

    def log_prob_from_params(self, action_logits: Tensor) -> tuple[Tensor, Tensor]:
        """Sampled actions and their log-probability."""
        actions = self.actions_from_params(action_logits)
        return actions, self.log_prob(actions)


def _sample(choice: Categorical) -> Tensor:
    """As its own, but drawn on the CPU."""
    return drawn(choice.probs.detach().reshape(-1, choice.probs.shape[-1]), 1, again=True)[:, 0]


class OneCategorical(CategoricalDistribution):
    """One of so many choices, (B, K) logits; actions (B,), drawn on the CPU."""

    def sample(self) -> Tensor:
        """Random actions, (B,)."""
        return _sample(self.distribution)


class SomeCategorical(MultiCategoricalDistribution):
    """Choices of different sizes side by side; actions (B, M), drawn on the CPU."""

    def sample(self) -> Tensor:
        """Random actions, (B, M)."""
        return torch.stack([_sample(choice) for choice in self.distribution], dim=1)


def distribution_for(space: spaces.Space) -> Distribution:
    """The action distribution of an action space."""
    if isinstance(space, spaces.Discrete):
        return OneCategorical(int(space.n))
    assert isinstance(space, spaces.MultiDiscrete)
    if (space.nvec == space.nvec[0]).all():
        return ManyCategorical(len(space.nvec), int(space.nvec[0]))
    return SomeCategorical(list(space.nvec))


class GraphActorCritic:
    """What the actor-critic policies share: the network and the distribution. Mixed into SB3's classes."""

    hidden: int
    layers: int
    graphs: StoredGraphs | None
    prior: Sequence[int]
    net: GraphNet
    action_space: spaces.Space
    observation_space: Any

    def _build(self, lr_schedule: Any) -> None:
        shape = self.hidden, self.layers
        self.net = GraphNet(self.observation_space, self.action_space, *shape, graphs=self.graphs, prior=self.prior)
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)  # type: ignore[attr-defined]

    def _distribution(self, obs: dict[str, Tensor], found: Encoded) -> Distribution:
        return distribution_for(self.action_space).proba_distribution(self.net.act(obs, found).squeeze(2))

    def forward(
        self, obs: dict[str, Tensor], deterministic: bool = False, action_masks: Any = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Actions, values (B, 1) and log-probabilities (B,)."""
        found = self.net.encode(obs)
        distribution = self._distribution(obs, found)
        actions = distribution.get_actions(deterministic=deterministic)
        return actions, self.net.value(found), distribution.log_prob(actions)

    def evaluate_actions(
        self, obs: dict[str, Tensor], actions: Tensor, action_masks: Any = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Values, log-probabilities and entropies of given actions.

        Large graphs are taken some rows at a time, so that what one layer writes is still near when the next reads it.
        """
        rows, batch = self.net.rows_together * (1 if actions.device.type == "cpu" else FURTHER), len(actions)
        if batch > rows:
            blocks = [slice(start, start + rows) for start in range(0, batch, rows)]
            parts = [
                self.evaluate_actions({key: value[block] for key, value in obs.items()}, actions[block])
                for block in blocks
            ]
            values, logs, entropies = (torch.cat(each) for each in zip(*parts, strict=True))
            return values, logs, entropies
        found = self.net.encode(obs)
        distribution = self._distribution(obs, found)
        return self.net.value(found), distribution.log_prob(actions), distribution.entropy()

    def get_distribution(self, obs: dict[str, Tensor], action_masks: Any = None) -> Distribution:
        """Action distribution; `action_masks` is not needed, the observation holds the mask."""
        return self._distribution(obs, self.net.encode(obs))

    def predict_values(self, obs: dict[str, Tensor]) -> Tensor:
        """State values, (B, 1)."""
        return self.net.value(self.net.encode(obs))


class GraphPolicy(GraphActorCritic, ActorCriticPolicy):
    """For PPO, A2C and TRPO."""

    def __init__(
        self, *args: Any, hidden: int = 64, layers: int = 2, graphs: StoredGraphs | None = None,
        prior: Sequence[int] = (), **kwargs: Any,
    ) -> None:  # fmt: skip
        self.hidden, self.layers, self.graphs, self.prior = hidden, layers, graphs, prior
        super().__init__(*args, **kwargs, features_extractor_class=NoFeatures)


class GraphMaskablePolicy(GraphActorCritic, MaskableActorCriticPolicy):
    """For MaskablePPO."""

    def __init__(
        self, *args: Any, hidden: int = 64, layers: int = 2, graphs: StoredGraphs | None = None,
        prior: Sequence[int] = (), **kwargs: Any,
    ) -> None:  # fmt: skip
        self.hidden, self.layers, self.graphs, self.prior = hidden, layers, graphs, prior
        super().__init__(*args, **kwargs, features_extractor_class=NoFeatures)


class GraphRecurrentPolicy(RecurrentActorCriticPolicy):
    """For RecurrentPPO: an LSTM over the context of the graph, the same heads behind it."""

    def __init__(
        self, *args: Any, hidden: int = 64, layers: int = 2, graphs: StoredGraphs | None = None, **kwargs: Any
    ) -> None:
        self.hidden, self.layers, self.graphs = hidden, layers, graphs
        super().__init__(
            *args, **kwargs, lstm_hidden_size=hidden, features_extractor_class=NoFeatures,
            features_extractor_kwargs={"features_dim": hidden},
        )  # fmt: skip
        self.net = GraphNet(self.observation_space, self.action_space, hidden, layers, graphs=graphs)
        lr_schedule = args[2] if len(args) > 2 else kwargs["lr_schedule"]
        self.action_net = self.value_net = nn.Identity()  # sized by the action space, and replaced by GraphNet
        self.mlp_extractor = nn.Identity()
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)

    def _remember(self, found: Encoded, states: Any, starts: Tensor, lstm: nn.LSTM) -> tuple[Encoded, Any]:
        latent, states = self._process_sequence(found.context, states, starts, lstm)
        return Encoded(found.nodes, latent), states

    def _distribution(self, obs: dict[str, Tensor], found: Encoded) -> Distribution:
        return distribution_for(self.action_space).proba_distribution(self.net.act(obs, found).squeeze(2))

    def forward(
        self, obs: dict[str, Tensor], lstm_states: RNNStates, episode_starts: Tensor, deterministic: bool = False
    ) -> tuple[Tensor, Tensor, Tensor, RNNStates]:
        """Actions, values, log-probabilities and the next LSTM states."""
        found = self.net.encode(obs)
        actor, pi = self._remember(found, lstm_states.pi, episode_starts, self.lstm_actor)
        critic, vf = self._remember(found, lstm_states.vf, episode_starts, self.lstm_critic)
        distribution = self._distribution(obs, actor)
        actions = distribution.get_actions(deterministic=deterministic)
        return actions, self.net.value(critic), distribution.log_prob(actions), RNNStates(pi, vf)

    def get_distribution(self, obs: dict[str, Tensor], lstm_states: Any, episode_starts: Tensor) -> Any:
        """Action distribution and the next actor state."""
        found, states = self._remember(self.net.encode(obs), lstm_states, episode_starts, self.lstm_actor)
        return self._distribution(obs, found), states

    def predict_values(self, obs: dict[str, Tensor], lstm_states: Any, episode_starts: Tensor) -> Tensor:
        """State values, (B, 1)."""
        found, _ = self._remember(self.net.encode(obs), lstm_states, episode_starts, self.lstm_critic)
        return self.net.value(found)

    def evaluate_actions(
        self, obs: dict[str, Tensor], actions: Tensor, lstm_states: RNNStates, episode_starts: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Values, log-probabilities and entropies of given actions."""
        found = self.net.encode(obs)
        actor, _ = self._remember(found, lstm_states.pi, episode_starts, self.lstm_actor)
        critic, _ = self._remember(found, lstm_states.vf, episode_starts, self.lstm_critic)
        distribution = self._distribution(obs, actor)
        return self.net.value(critic), distribution.log_prob(actions), distribution.entropy()


class GraphQNetwork(nn.Module):
    """Values (B, A) of DQN, or quantiles (B, quantiles, A) of QR-DQN; masked actions get a huge negative value."""

    def __init__(self, net: GraphNet, quantiles: int | None) -> None:
        super().__init__()
        self.net, self.quantiles = net, quantiles

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        """All action values."""
        scores = self.net.act(obs, self.net.encode(obs))
        return scores.squeeze(2) if self.quantiles is None else scores.transpose(1, 2)

    def _predict(self, obs: dict[str, Tensor], deterministic: bool = True) -> Tensor:
        values = self.forward(obs)
        return (values if self.quantiles is None else values.mean(dim=1)).argmax(dim=1)

    def set_training_mode(self, mode: bool) -> None:
        """As SB3's networks."""
        self.train(mode)


class GraphQPolicy(DQNPolicy):
    """For DQN."""

    def __init__(
        self, *args: Any, hidden: int = 64, layers: int = 2, graphs: StoredGraphs | None = None, **kwargs: Any
    ) -> None:
        self.hidden, self.layers, self.graphs = hidden, layers, graphs
        super().__init__(*args, **kwargs, features_extractor_class=NoFeatures)

    def make_q_net(self) -> Any:
        """The online or target network."""
        net = GraphNet(self.observation_space, self.action_space, self.hidden, self.layers, graphs=self.graphs)
        return GraphQNetwork(net, None)


class GraphQuantilePolicy(QRDQNPolicy):
    """For QR-DQN."""

    def __init__(
        self, *args: Any, hidden: int = 64, layers: int = 2, graphs: StoredGraphs | None = None, **kwargs: Any
    ) -> None:
        self.hidden, self.layers, self.graphs = hidden, layers, graphs
        super().__init__(*args, **kwargs, features_extractor_class=NoFeatures)

    def make_quantile_net(self) -> Any:
        """The online or target network."""
        net = GraphNet(
            self.observation_space, self.action_space, self.hidden, self.layers, self.n_quantiles, self.graphs
        )
        return GraphQNetwork(net, self.n_quantiles)


def random_legal(mask: Tensor | np.ndarray) -> np.ndarray:
    """A uniform legal action a row of a (B, A) mask, from NumPy's global stream that SB3 seeds."""
    allowed = np.asarray(mask).astype(bool)
    return np.where(allowed, np.random.random(allowed.shape), -1.0).argmax(axis=1)  # noqa: NPY002


def no_grad_predict(policy: Any, obs: dict[str, Any], state: Any, start: bool, deterministic: bool) -> tuple[Any, Any]:
    """One action for one observation, with whatever memory the policy keeps."""
    with torch.no_grad():
        if isinstance(policy, GraphRecurrentPolicy):
            return policy.predict(obs, state=state, episode_start=np.array([start]), deterministic=deterministic)
        return policy.predict(obs, deterministic=deterministic)
