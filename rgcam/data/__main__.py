"""``python -m rgcam.data``, kept for old command lines: see ``rgcam preview``."""

import sys

from rgcam.commands import app

if __name__ == "__main__":
    sys.exit(app.main(["preview", *sys.argv[1:]]))
