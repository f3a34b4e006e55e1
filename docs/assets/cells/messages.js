// @ts-check
// What the cells say to a reader, by code. {name} is a value.

/** @type {Record<string, string>} */
const TEXTS = {
  run: "実行",
  "run-name": "セル {cell} を実行",
  stop: "止める",
  "stop-name": "セル {cell} を止める",
  recorded: "記録した結果に戻す",
  own: "今回の結果を見る",
  loading: "読み込んでいます（{loaded} / {total} MB）",
  preparing: "準備しています。",
  before: "先に、セル {cell} を動かしています。",
  "before-failed": "先に動かしたセル {cell} が、エラーで止まりました。",
  running: "動かしています。",
  starting: "ワーカーを起動しています（{ready} / {total}）",
  sending: "リクエストを送っています（{done} / {total} 件）",
  done: "動かし終えました。",
  "done-asserts": "動かし終えました。assert は、すべて成り立ちました。",
  failed: "エラーで止まりました。",
  stopped: "止めました。変数は消えたので、次は最初から動きます。",
  "say-done": "セル {cell} を動かし終えました。",
  "say-failed": "セル {cell} は、エラーで止まりました。",
  "not-built": "実行環境が見つかりません。サイトを組み立てる人は make lab を実行してください。",
  "no-browser": "このブラウザーには {missing} がないので、動きません。",
};

/** @param {string} code @param {Record<string, string | number>} [values] */
export function text(code, values = {}) {
  return TEXTS[code].replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}
