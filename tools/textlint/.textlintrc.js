// The Japanese of this site. Everything that differs from a preset has its reason beside it.
module.exports = {
  rules: {
    "preset-ja-technical-writing": {
      "sentence-length": {
        max: 100,
        skipPatterns: ["/[\\w.:/]{20,}/"], // the names of tests and settings are as long as they are
      },
      "no-mix-dearu-desumasu": {
        preferInHeader: "", // a heading may be a noun
        preferInBody: "ですます",
        preferInList: "ですます", // the preset wants である in lists: ours hold whole sentences
        strict: false, // strict finds である also inside a sentence (1 つであるはずの数)
      },
      "no-doubled-joshi": {
        min_interval: 1,
        // Lists repeat by nature: や, か, も, と, にも, ても. に marks time, place and target in one
        // sentence. が stands in a relative clause, too (増えることがあります); where it is a
        // conjunction, no-doubled-conjunctive-particle-ga looks.
        allow: ["や", "か", "も", "と", "にも", "ても", "に", "が"],
        separatorCharacters: ["。", "、", "?", "!", "？", "！", "「", "」", "（", "）", "："],
      },
      "ja-no-redundant-expression": {
        // 実験を行う is how one says it; 変更を行う means here that a migration is applied.
        dictOptions: {
          dict5: { allows: ["/^実験を行/", "/^変更を行/"] },
          dict6: { allows: ["/^実験を実行/"] },
        },
      },
    },
    "preset-ja-spacing": {
      "ja-space-between-half-and-full-width": {
        space: "always",
        exceptPunctuation: true,
        lintStyledNode: true, // headings, links and bold text, too
      },
      "ja-space-around-code": { before: true, after: true },
      "ja-space-around-link": false, // the space depends on the link's text, which the rule above sees
      "ja-no-space-around-slash": false, // most slashes here begin a path: POST /orders
    },
    prh: { rulePaths: ["./prh.yml"] },
  },
};
