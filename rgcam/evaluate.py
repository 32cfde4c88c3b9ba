"""``python -m rgcam.evaluate``, kept for old command lines: see ``rgcam evaluate``."""

import sys

from rgcam.commands import app

if __name__ == "__main__":
    sys.exit(app.main(["evaluate", *sys.argv[1:]]))
