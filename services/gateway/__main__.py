"""python -m services.gateway"""

from libs.common.runtime import run
from services.gateway.app import app

if __name__ == "__main__":
    run(app)
