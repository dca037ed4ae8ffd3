"""`python -m vermas`."""

from __future__ import annotations

import sys

from vermas.cli import main

if __name__ == "__main__":
    sys.exit(main())
