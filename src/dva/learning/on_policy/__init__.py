"""On-policy methods: each rollout teaches the policy that made it, and is then forgotten.

They use no gradient of the simulator: what was better than expected becomes more likely.
"""
