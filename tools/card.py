"""Draw ``docs/assets/site/card.png``, what a link to the site shows elsewhere; needs Chromium.

The lines are the recorded answers of the four workers of the first experiment. Draw again after
recording anew; a build only copies the file.
"""

import hashlib
import re
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
CARD = ROOT / "docs" / "assets" / "site" / "card.png"
PICTURE = ROOT / "docs" / "assets" / "recordings" / "in_memory_counter" / "bad.svg"
DRAWN = Path(__file__).with_name("card.sha256")
"""Of the page that was drawn, so that a test sees when the card is out of date."""
SIZE = (1200, 630)
PAGE = """<!doctype html><html lang="ja"><meta charset="utf-8"><style>
* {{ box-sizing: border-box; margin: 0 }}
body {{ width: 1200px; height: 630px; padding: 56px 64px; background: #1d3557; color: #fff;
  font-family: "Noto Sans CJK JP", "Noto Sans JP", sans-serif; display: grid; gap: 36px;
  grid-template-columns: 500px 1fr; align-content: space-between }}
h1 {{ font-size: 66px; line-height: 1.35; word-break: auto-phrase }}
p {{ font-size: 29px; line-height: 1.6; color: #e3e9f2; margin-top: 24px;
  word-break: auto-phrase }}
figure {{ background: #fff; color: #1c2128; border-radius: 12px; padding: 20px;
  align-self: center; --wl-value: #1f4fa3; --wl-fail: #a3211b }}
svg {{ display: block; width: 100%; height: auto }}
footer {{ grid-column: 1 / -1; font-size: 32px; font-weight: 700 }}
</style><div><h1>{title}</h1><p>{text}</p></div><figure>{picture}</figure>
<footer>ワーカーラボ</footer></html>"""


def content() -> str:
    """The page to be drawn, with the home page's own words."""
    home = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    title, text = re.findall(r"^(?:title|description): (.+)$", home, re.M)
    return PAGE.format(title=title, text=text, picture=PICTURE.read_text(encoding="utf-8"))


def digest() -> str:
    """What `DRAWN` holds when the card is up to date."""
    return hashlib.sha256(content().encode()).hexdigest()


def main() -> None:
    """Write the picture and its digest."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
        page.set_content(content())
        page.screenshot(path=CARD)
        browser.close()
    DRAWN.write_text(digest() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
