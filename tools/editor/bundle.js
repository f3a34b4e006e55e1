// The editor's bundle: what the page's editor.js imports when the reader shows intent.
// Only the parts of CodeMirror 6 that the lab uses; see build.mjs.

import { defaultKeymap, history, historyKeymap, indentWithTab, isolateHistory, undo, undoDepth } from "@codemirror/commands";
import { LRLanguage, bracketMatching, indentNodeProp, indentOnInput, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { Compartment, EditorState, StateEffect, StateField } from "@codemirror/state";
import { Decoration, EditorView, drawSelection, highlightActiveLine, keymap, lineNumbers } from "@codemirror/view";
import { classHighlighter } from "@lezer/highlight";
import { parser } from "@lezer/python";

/** Enter after a colon indents, a dedenting keyword goes back: all that a short lesson needs. */
const python = LRLanguage.define({
  name: "python",
  parser: parser.configure({
    props: [
      indentNodeProp.add({
        Body: (context) => {
          const before = /^\s*/.exec(context.lineAt(context.node.from, -1).text)[0].length;
          return context.node.from <= context.pos ? Math.max(before + context.unit, 0) : null;
        },
        Script: (context) => {
          const line = context.lineAt(context.pos, -1);
          const indent = /^\s*/.exec(line.text)[0].length;
          return /:\s*(#.*)?$/.test(line.text) ? indent + context.unit : indent;
        },
      }),
    ],
  }),
  languageData: { commentTokens: { line: "#" }, indentOnInput: /^\s*(else:|elif |except|finally:)$/ },
});

const setMark = StateEffect.define();
const markedLine = StateField.define({
  create: () => Decoration.none,
  update(marks, transaction) {
    for (const effect of transaction.effects) if (effect.is(setMark)) return marksAt(transaction.state, effect.value);
    return transaction.docChanged ? Decoration.none : marks;
  },
  provide: (field) => EditorView.decorations.from(field),
});

function marksAt(state, line) {
  if (!line || line > state.doc.lines) return Decoration.none;
  return Decoration.set([Decoration.line({ class: "wl-lab__badline" }).range(state.doc.line(line).from)]);
}

/**
 * @param {object} options
 * @param {HTMLElement} options.parent
 * @param {string} options.text
 * @param {boolean} options.readOnly
 * @param {Record<string, string>} options.attributes  of the element that is edited
 * @param {(text: string) => void} options.onInput
 * @param {() => void} options.onRun                   Ctrl/Cmd + Enter
 */
export function createEditor({ parent, text, readOnly, attributes, onInput, onRun }) {
  const mode = new Compartment();
  const modeOf = (locked, own) => [EditorState.readOnly.of(locked), EditorView.contentAttributes.of({ tabindex: "0", ...own, ...(locked ? { "aria-readonly": "true" } : {}) })];
  let silent = false;
  const extensions = [
    lineNumbers(),
    history(),
    drawSelection(),
    bracketMatching(),
    indentOnInput(),
    indentUnit.of("    "),
    highlightActiveLine(),
    markedLine,
    python,
    syntaxHighlighting(classHighlighter),
    keymap.of([...["Mod-Enter", "Ctrl-Enter"].map((key) => ({ key, preventDefault: true, run: () => (onRun(), true) })), ...defaultKeymap, ...historyKeymap, indentWithTab]),
    EditorView.domEventHandlers({
      // Esc, then Tab, leaves the editor: Tab indents again only after the focus came back
      keydown: (event, view) => {
        if (event.key === "Escape") view.setTabFocusMode(true);
        return false;
      },
      blur: (_, view) => {
        view.setTabFocusMode(false);
      },
    }),
    EditorView.updateListener.of((update) => {
      if (update.docChanged && !silent) onInput(update.state.doc.toString());
    }),
  ];
  const stateOf = (doc, locked, own) => EditorState.create({ doc, extensions: [...extensions, mode.of(modeOf(locked, own))] });
  const view = new EditorView({ parent, state: stateOf(text, readOnly, attributes) });
  return {
    get text() {
      return view.state.doc.toString();
    },
    /** Another document with a history of its own. */
    open: (doc, locked, own) => view.setState(stateOf(doc, locked, own)),
    /** Replace everything; can be undone. */
    replace: (doc) => view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: doc }, selection: { anchor: 0 }, annotations: isolateHistory.of("full"), scrollIntoView: true }),
    undo: () => undo(view),
    get canUndo() {
      return undoDepth(view.state) > 0;
    },
    mark(line) {
      silent = true;
      view.dispatch({ effects: setMark.of(line) });
      silent = false;
      if (line && line <= view.state.doc.lines) view.dispatch({ effects: EditorView.scrollIntoView(view.state.doc.line(line).from, { y: "center" }) });
    },
    /** A history to come back to. */
    get state() {
      return view.state;
    },
    set state(state) {
      view.setState(state);
    },
    focus: () => view.focus(),
    destroy: () => view.destroy(),
  };
}
