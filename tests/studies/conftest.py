import sys
from pathlib import Path

# The tests' own environment and helpers stand beside them.
sys.path.insert(0, str(Path(__file__).parent))
