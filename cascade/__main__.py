"""``python -m cascade`` is the command ``cascade``."""

import sys

from cascade.cli import main

sys.exit(main(name="python -m cascade"))
