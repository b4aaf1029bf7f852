"""The tests of igc.pytorch, which run in ``.venv-torch`` (make venv-torch)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # what the other tests share, too
