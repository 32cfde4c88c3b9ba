"""The command ``rgcam train`` in a checkout: ``python train.py --help``."""

import sys

from rgcam.commands import app

if __name__ == "__main__":
    sys.exit(app.main(["train", *sys.argv[1:]]))
