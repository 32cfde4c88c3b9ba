"""``python -m rgcam.datasets``, kept for old command lines: see ``rgcam prepare``."""

import sys

from rgcam.commands import app

if __name__ == "__main__":
    sys.exit(app.main(["prepare", *sys.argv[1:]]))
