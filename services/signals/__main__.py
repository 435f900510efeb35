"""python -m services.signals"""

from libs.common.process import run
from services.signals.app import app

if __name__ == "__main__":
    run(app)
