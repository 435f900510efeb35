"""python -m services.strategy"""

from libs.common.process import run
from services.strategy.app import app

if __name__ == "__main__":
    run(app)
