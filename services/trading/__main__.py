"""python -m services.trading"""

from libs.common.runtime import run
from services.trading.app import app

if __name__ == "__main__":
    run(app)
