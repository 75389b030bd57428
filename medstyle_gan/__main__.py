"""`python -m medstyle_gan` is `medstyle`."""

from __future__ import annotations

import sys

from medstyle_gan.cli import main

if __name__ == "__main__":
    sys.exit(main())
