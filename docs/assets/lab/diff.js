// @ts-check
// The difference between two short texts, by lines. Loaded when the reader asks for it.

/**
 * @param {string} before @param {string} after
 * @returns {{ sign: " " | "-" | "+", text: string }[]} every line once, in order
 */
export function difference(before, after) {
  const a = before.trimEnd().split("\n");
  const b = after.trimEnd().split("\n");
  // common[i][j]: length of the longest common subsequence of a[i..] and b[j..]
  const common = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) common[i][j] = a[i] === b[j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
  }
  /** @type {{ sign: " " | "-" | "+", text: string }[]} */
  const lines = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      lines.push({ sign: " ", text: a[i++] });
      j++;
    } else if (i < a.length && (j === b.length || common[i + 1][j] >= common[i][j + 1])) lines.push({ sign: "-", text: a[i++] });
    else lines.push({ sign: "+", text: b[j++] });
  }
  return lines;
}

/** Only what changed, with some lines around it; null stands for a gap. @param {ReturnType<typeof difference>} lines */
export function hunks(lines, around = 2) {
  const near = lines.map((_, at) => lines.slice(Math.max(at - around, 0), at + around + 1).some(({ sign }) => sign !== " "));
  /** @type {(typeof lines[number] | null)[]} */
  const shown = [];
  lines.forEach((line, at) => {
    if (near[at]) shown.push(line);
    else if (shown.length && shown[shown.length - 1] !== null) shown.push(null);
  });
  if (shown[shown.length - 1] === null) shown.pop();
  return shown;
}
