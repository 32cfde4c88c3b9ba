"""``python -m rgcam COMMAND``: the commands of rgcam."""

import sys

from rgcam.commands import app

if __name__ == "__main__":
    sys.exit(app.main())
