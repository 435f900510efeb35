"""python -m services.walkforward"""

from libs.common.process import run
from services.walkforward.app import app

if __name__ == "__main__":
    run(app)
