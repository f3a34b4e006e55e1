"""Give each page what other sites show of a link to it: title, description, and one picture.

The picture (`tools/card.py`) needs a whole address, so it is left out where the site does not
know its own.
"""

import re
from pathlib import Path

SITE = Path(__file__).resolve().parents[1] / "site"
CARD = "assets/site/card.png"
NAME = "ワーカーラボ"
ALT = "4 つのワーカーが返した人数の記録。だれも 1000 に届かない"
FOUND = {
    "title": re.compile(r"<title>(.*?)(?: - [^-]*)?</title>", re.S),
    "description": re.compile(r'<meta name="description" content="(.*?)">'),
    "url": re.compile(r'<link rel="canonical" href="(.*?)">'),
}


def tags(page: str, path: str) -> str:
    """The page's tags; what is quoted stands in the page as it does here, already escaped."""
    said = {name: match[1] for name, look in FOUND.items() if (match := look.search(page))}
    said |= {"type": "website", "site_name": NAME, "locale": "ja_JP"}
    card = "summary"
    if "url" in said:
        home = said["url"].removesuffix(path)
        said |= {"image": home + CARD, "image:width": "1200", "image:height": "630"}
        said["image:alt"], card = ALT, "summary_large_image"
    lines = [f'<meta property="og:{name}" content="{text}">' for name, text in said.items()]
    return "\n".join([*lines, f'<meta name="twitter:card" content="{card}">'])


def main() -> None:
    """Put them at the end of each page's head."""
    for file in sorted(SITE.rglob("index.html")):
        path = file.parent.relative_to(SITE).as_posix() + "/"
        page = file.read_text(encoding="utf-8")
        lines = tags(page, "" if path == "./" else path)
        file.write_text(page.replace("</head>", f"{lines}\n</head>", 1), encoding="utf-8")


if __name__ == "__main__":
    main()
