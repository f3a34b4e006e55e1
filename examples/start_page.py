"""最初のページの HTML です。外から何も読み込みません。"""

from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby

PAGE = """<!doctype html>
<html lang="ja">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>ワーカーラボ（{environment}）</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1rem/1.7 system-ui, sans-serif; }}
body {{ max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; }}
th, td {{ border-bottom: 1px solid #8888; padding: .3rem .8rem .3rem 0; }}
th, td {{ text-align: left; vertical-align: top; }}
</style>
</head>
<body>
<h1>ワーカーラボ（{environment}）</h1>
<p>このページに答えたのは、ワーカー <b id="worker">{worker}</b> です。
いま答えられるワーカーは <b id="workers">{count}</b> 個です（{workers}）。</p>
<p>再読み込みすると、ほかのワーカーが答えることがあります。
ブラウザーは接続を使い回すので、同じワーカーが続くこともあります。</p>
<ul>
{links}
</ul>
<h2>実験</h2>
<table>
<thead><tr><th>実験</th><th>何をするアプリか</th><th>壊れる版</th><th>直した版</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
</body>
</html>
"""


def start_page(
    *,
    environment: str,
    worker: int,
    workers: Sequence[int],
    show_docs: bool,
    parts: Iterable[tuple[str, str, str, str, str]],
    root: str,
) -> str:
    """最初のページ。

    Args:
        parts: 実験の名前、版、パス、説明、使えない理由（使えるなら空）。
        root: プロキシが外した接頭辞。
    """
    documents = [("/docs", "API の一覧"), ("/openapi.json", "OpenAPI スキーマ")]
    others = [
        ("/whoami", "答えたワーカー"),
        ("/healthz", "生きているか"),
        ("/readyz", "仕事を受けられるか"),
        ("/metrics", "全ワーカーの数の合計"),
    ]
    links = [
        link(root, path, label) for path, label in (documents if show_docs else []) + others
    ]
    if not show_docs:
        links.append("<li>/docs と /openapi.json は、この環境では閉じています。</li>")
    rows = [
        row(slug, list(variants), root, show_docs)
        for slug, variants in groupby(parts, key=lambda part: part[0])
    ]
    return PAGE.format(
        environment=escape(environment),
        worker=worker,
        count=len(workers),
        workers="、".join(map(str, workers)),
        links="\n".join(links),
        rows="\n".join(rows),
    )


def link(root: str, path: str, label: str) -> str:
    return f'<li><a href="{root}{path}">{path}</a>：{label}</li>'


def row(
    slug: str, variants: list[tuple[str, str, str, str, str]], root: str, show_docs: bool
) -> str:
    title = next((title for *_, title, _ in variants if title), "")
    cells = dict.fromkeys(("bad", "good"), "")
    for _, variant, path, _, reason in variants:
        if reason:
            cells[variant] = f"使えません（{escape(reason)}）"
        elif show_docs:
            cells[variant] = f'<a href="{root}{path}/docs">{path}</a>'
        else:
            cells[variant] = f"<code>{path}</code>"
    columns = [escape(slug), escape(title), cells["bad"], cells["good"]]
    return f"<tr>{''.join(f'<td>{column}</td>' for column in columns)}</tr>"
