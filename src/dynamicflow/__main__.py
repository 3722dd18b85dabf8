"""``python -m dynamicflow`` is the ``dynamicflow`` command."""

import sys

from .streams.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
