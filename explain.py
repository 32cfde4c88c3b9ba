"""The command ``rgcam explain`` in a checkout: ``python explain.py --help``."""

import sys

from rgcam.commands import app

if __name__ == "__main__":
    sys.exit(app.main(["explain", *sys.argv[1:]]))
