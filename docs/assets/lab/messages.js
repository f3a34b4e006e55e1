// @ts-check
// Every sentence that the lab says to a reader, by code. Nothing else in this folder is prose.

/** @type {Record<string, string>} */
export const MESSAGES = {
  // states (ClusterEvent "state")
  new: "まだ動いていません。",
  starting: "ワーカーを起動しています。",
  ready: "すべてのワーカーが応答できます。",
  running: "実験を実行しています。",
  stopped: "停止しました。",
  // worker states
  "worker-booting": "起動中",
  "worker-starting": "アプリを読み込み中",
  "worker-ready": "稼働中",
  "worker-dead": "停止",
  // errors (LabError.code)
  "runtime-missing": "ラボの実行環境が見つかりません。サイトを組み立てる人は make lab を実行してください。",
  "download-failed": "実行環境をダウンロードできませんでした。接続を確かめて、もう一度実行してください。",
  "download-damaged": "ダウンロードした実行環境が壊れています。ページを再読み込みしてください。",
  "syntax-error": "コードに文法の誤りがあります。まだ何も起動していません。",
  "app-error": "アプリを読み込めませんでした。ワーカーは起動の途中で終了しました。",
  "boot-timeout": "ワーカーが 3 分たっても起動しませんでした。ほかのタブを閉じて、もう一度実行してください。",
  "worker-crashed": "ワーカーの実行環境が異常終了しました。",
  "worker-killed": "ワーカーを強制終了しました（kill -9）。スーパーバイザーが新しいワーカーを起動します。",
  "layout-changed": "保存済みの実行環境を復元できませんでした。",
  "service-failed": "サービスを起動できませんでした。",
  "unknown-service": "そのサービスはこのラボにはありません。",
  "not-ready": "ワーカーがまだ準備できていません。",
  cancelled: "実行を途中で止めました。",
  unsupported: "この実験はブラウザーではできない操作を使います。記録をご覧ください。",
  // notices
  "plain-path": "高速な起動が使えないため、通常の方法で起動しています。少し時間がかかります。",
  "no-jspi": "このブラウザーでは def のエンドポイントが 1 件ずつ順に動きます。実際のサーバーでは重なって動きます。",
  // why there was no answer
  "connection-reset": "接続が切れました（ワーカーが終了しました）。",
  "connection-refused": "接続できませんでした（待ち受けているワーカーがありません）。",
  timeout: "時間内に応答がありませんでした。",
};

/** Progress of the download. @param {number} loaded bytes @param {number} total bytes */
export function downloadProgress(loaded, total) {
  const megabytes = (/** @type {number} */ bytes) => (bytes / 1_000_000).toFixed(1);
  return `実行環境をダウンロードしています（${megabytes(loaded)} / ${megabytes(total)} MB）`;
}

/** @param {number} ready @param {number} count */
export function workersReady(ready, count) {
  return `ワーカーを起動しています（${ready} / ${count}）`;
}

/** One line of the server's access log, as uvicorn writes it. @param {{ client: number, method: string, target: string, status: number }} access */
export function accessLine({ client, method, target, status }) {
  return `INFO:     127.0.0.1:${client} - "${method} ${target} HTTP/1.1" ${status}`;
}

// What the page says of a run (session.js, run-view.js); goes before the texts above where both
// have a code. What it says without one is in messages-idle.js: every reader loads that.
// {name} is a value.

/** @type {Record<string, string>} */
export const RUN_MESSAGES = {
  kill: "kill",
  "kill-worker": "ワーカー {worker} を kill",
  "kill-hint": "このワーカーを kill",
  probe: "{request} をもう 1 回送る",
  log: "ログ（{count} 行）",
  "log-region": "ワーカーのログ",
  "log-filter": "表示するログ",
  "log-all": "すべて",
  "log-client": "実験",
  "log-died": "ワーカープロセス {pid}：{reason}",
  lanes: "ワーカーごとの応答",
  lost: "応答なし",
  loading: "ランタイムを読み込み中 {loaded} / {total} MB",
  preparing: "ランタイムを準備中",
  starting: "ワーカー {ready} / {total} を起動中",
  running: "{total} 件中 {done} 件に応答",
  finished: "ワーカーは動き続けています。kill すると、そのメモリは失われます。",
  stopped: "停止しました。ワーカーはすべて終了しています。",
  "stopped-other": "もう 1 つのラボを実行したため、こちらのワーカーは終了しました。",
  "stopped-leave": "ページを離れたため、停止しました。",
  "not-started": "ワーカーは動いていません。",
  "say-run": "{name} を {workers} ワーカーで実行します。",
  "say-ready": "{workers} ワーカーが起動しました。リクエストを送ります。",
  "say-killed": "ワーカー {worker} を kill しました。",
  "say-restarted": "ワーカー {worker} が、空のメモリで再起動しました。",
  "state-booting": "起動中",
  "state-starting": "起動中",
  "state-ready": "稼働中",
  "state-dead": "終了",
  served: "{count} 件",
  restarts: "再起動 {count} 回",
  pid: "pid {pid}",
  seconds: "{seconds} 秒",
  legend: "縦線 = 1 件の応答",
  "legend-line": "　点線 = {expected}",
  holds: "すべての不変条件が成り立ちました",
  broken: "{total} つの不変条件のうち {broken} つが破れました",
  inconclusive: "答えたワーカーが 1 つだけなので、判定できません",
  "inconclusive-why": "1 ワーカーでは、この故障は起きません。2 つ以上で比べてください。",
  summary: "{name}、{workers} ワーカー、{requests} 件",
  "summary-lost": "{name}、{workers} ワーカー、{requests} 件、うち応答なし {lost} 件",
  killed: "実行中に kill：{who}。そのメモリと、答えていなかったリクエストは失われました",
  "killed-who": "ワーカー {worker}（{at} 秒）",
  "say-invariant": "{label}は {observed}。",
  "probe-answer": "ワーカー {worker}：{status} {body}",
  "probe-failed": "応答なし：{reason}",
  "syntax-error": "構文エラーがあるため、起動しませんでした",
  "app-error": "アプリの起動中に例外が起きました",
  exception: "リクエストの処理中に例外が起きました",
  "experiment-error": "実験の中で例外が起きました",
  "traffic-error": "実験を最後まで行えませんでした",
  at: "{file} の {line} 行目",
  "at-own": "あなたの版の {line} 行目",
  more: "ほか {count} 件",
};
