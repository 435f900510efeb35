"""python -m services.marketdata"""

from libs.common.runtime import run
from services.marketdata.app import app

if __name__ == "__main__":
    run(app)
