// @ts-check
// What the lab says before a run, by code; small, because every reader loads it. All other
// texts are in messages.js and are learnt with the first intent. {name} is a value.

/** @type {Record<string, string>} */
const texts = {
  lab: "ライブラボ：{title}",
  tabs: "動かす版",
  own: "あなたの版",
  edited: "編集あり",
  experiment: "実験",
  main: "このページの実験",
  workers: "ワーカーの数",
  "workers-short": "ワーカー",
  run: "実行",
  stop: "停止",
  undo: "元に戻す",
  reset: "初期状態に戻す",
  adopt: "この版を書き換える",
  compare: "違いを見る",
  "compare-close": "違いを閉じる",
  share: "リンクをコピー",
  keep: "このまま使う",
  restore: "保存した版に戻る",
  code: "{name} のコード",
  "code-locked": "{name} のコード（読み取り専用）",
  hint: "Ctrl + Enter で実行。Esc の次に Tab で編集欄の外へ。",
  "hint-locked": "この版は読み取り専用です。Esc の次に Tab で外へ。",
  "cost-cold": "初めて実行するときに、約 {total} MB を読み込みます。",
  progress: "進みぐあい",
  invariant: "不変条件",
  expected: "期待",
  recorded: "記録",
  "recorded-hint": "uvicorn と {workers} ワーカーで動かした記録",
  observed: "今回",
  "lesson-changed": "保存した編集の後で、教材のコードが変わりました。編集は残してあります。",
  "link-opened": "リンクから開いたコードです。実行を押すまで動きません。",
  "link-older": "リンクから開いたコードです。教材のコードは、その後に変わっています。実行を押すまで動きません。",
  "link-broken": "リンクのコードを読み取れませんでした。リンクが途中で切れていないかを確かめてください。",
  "link-copied": "リンクをコピーしました。コードはリンクの中にあり、どこにも送信されません。",
  "link-here": "次のリンクをコピーしてください。",
  "link-field": "共有するリンク",
  "link-too-long": "コードが長すぎて、リンクにできません。",
  "not-saved": "このブラウザーには保存できません。再読み込みすると編集は失われます。",
  adopted: "{name} を、あなたの版に写しました。",
  "reset-done": "初期状態に戻しました。「元に戻す」で取り消せます。",
  "diff-none": "{name} と同じです。",
  diff: "{name} との違い",
  "no-topic": "ライブラボを読み込めませんでした。記録をご覧ください。",
  "no-runtime": "このサイトにはライブラボのランタイムがありません。記録をご覧ください。",
  "no-browser": "このブラウザーには {missing} がないため、ライブラボは動きません。記録をご覧ください。",
  "no-stage": "この実験には {needs} が要るため、ブラウザーの中では動きません。記録をご覧ください。",
  "need-files": "共有のファイル",
  "need-postgres": "PostgreSQL",
  differs: "サーバーとの違い：1 ワーカーは、1 つの Web Worker の中の Python です。スレッドとシグナルはなく、Valkey の代わりに fakeredis が 1 つ動きます。",
  unexpected: "予期しない失敗です（{code}）。もう一度実行してください。",
};

/** Know more texts. @param {Record<string, string>} more */
export function learn(more) {
  Object.assign(texts, more);
}

/** @param {string} code */
export const known = (code) => code in texts;

/** The text of a code. @param {string} code @param {Record<string, any>} [values] */
export function text(code, values = {}) {
  const message = texts[code] ?? texts.unexpected.replace("{code}", code);
  return message.replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}
