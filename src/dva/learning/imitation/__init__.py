"""Imitation: a policy learns what an expert would have done, which sees more than it does."""
