"""Policies on their way out: exported for a robot's own computer, and tried in another physics.

Enters: a run. Leaves: an ONNX graph with everything the policy needs inside, and a contract that
says what goes in and out of it (`export_run`); or the return of the policy where MuJoCo itself
simulates the same file (`transfer`). ONNX and its runtime are the extra `dva-rl[deploy]`, imported
when they are used. Change the graph in `graph`, and the words of the contract in `contract`;
whoever reads contracts must be able to tell by "format".
"""

from dva.deploy.contract import read_contract
from dva.deploy.export import Export, export_run
from dva.deploy.onnx_policy import OnnxPolicy
from dva.deploy.transfer import Transfer, transfer

__all__ = ["Export", "OnnxPolicy", "Transfer", "export_run", "read_contract", "transfer"]
