"""python -m services.risk"""

from libs.common.runtime import run
from services.risk.app import app

if __name__ == "__main__":
    run(app)
