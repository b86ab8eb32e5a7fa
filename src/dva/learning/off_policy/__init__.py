"""Off-policy methods: a replay of single steps, critics of actions, an actor that follows them.

`learner.py` is what they share: exploration, the replay, the rhythm of steps and updates.
`drqv2.py` and `curl.py` differ in their updates. They need no gradient from the simulator.
"""
