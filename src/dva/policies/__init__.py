"""Networks of actors and critics, as plain torch modules.

Enters: observations (stacked uint8 images, or states). Leaves: means and log standard deviations
of actions before tanh, state values, normalised states. Nothing here knows an environment or an
algorithm: change a network's architecture here, how it is trained in `dva.learning`.
"""

from dva.policies.actor import Actor
from dva.policies.critic import Critic
from dva.policies.encoder import Encoder
from dva.policies.layers import mlp
from dva.policies.normalizer import RunningNormalizer

__all__ = ["Actor", "Critic", "Encoder", "RunningNormalizer", "mlp"]
