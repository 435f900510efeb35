"""python -m services.signals"""

import sys

from libs.common.process import run
from services.signals.app import app

if __name__ == "__main__":
    if sys.argv[1:]:
        raise SystemExit(__doc__)
    run(app)
