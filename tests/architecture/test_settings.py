"""What can be set is on one page, and no other page names what cannot be."""

import re
from pathlib import Path

from deploy.local.instance import SERVICES
from tools import settings_page

ROOT = Path(__file__).resolve().parents[2]
PREFIXES = "|".join([*(service.upper() for service in SERVICES), "KAFKA", "REPLAY", "HISTORY", "MARKET"])
NAME = re.compile(rf"(?<![\w<{{])(?:{PREFIXES})_[A-Z_]*[A-Z]\b")


def test_the_page_of_settings_is_current() -> None:
    assert settings_page.PAGE.read_text() == settings_page.page(), "run: make topology"


def test_no_page_names_a_setting_that_does_not_exist() -> None:
    own = set(re.findall(r"^\| `([A-Z_]+)`", settings_page.page(), re.MULTILINE))
    each = {name.removeprefix("X_") for name in own if name.startswith("X_")}
    set_up = set(re.findall(r"^#? ?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    known = own | set_up | {f"{service.upper()}_{name}" for service in SERVICES for name in each}
    pages = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CHANGELOG.md"]
    for page in [*pages, *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/*/README.md"), *ROOT.glob("*/README.md")]:
        assert set(NAME.findall(page.read_text())) <= known, page.relative_to(ROOT)
