"""dva trains robots to act from pixels through parallel differentiable simulation."""

__version__ = "0.1.0"
