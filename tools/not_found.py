"""Say in ``404.html`` what the reader can do; the theme has only an English heading for it."""

from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "site" / "404.html"
THEME = "<h1>404 - Not found</h1>"
TEXT = """<h1 id="not-found">ページが見つかりません</h1>
<p>アドレスが変わったか、打ち間違いがあるようです。上の「検索」（<kbd>/</kbd> キー）で、\
言葉やエラーの文から探せます。</p>
<p><a class="md-button md-button--primary" href="{home}">はじめのページへ</a>
<a class="md-button" href="{home}glossary/">用語集へ</a></p>
"""


def main() -> None:
    """Replace the theme's heading; the links start where the theme's own do."""
    page = PAGE.read_text(encoding="utf-8")
    if THEME not in page:
        raise SystemExit(f"{PAGE.name} に {THEME} がありません。")
    home = page.split('rel="icon" href="', 1)[1].split("assets/", 1)[0]
    PAGE.write_text(page.replace(THEME, TEXT.format(home=home)), encoding="utf-8")


if __name__ == "__main__":
    main()
