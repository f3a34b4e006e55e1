"""Compile the standard library and the wheels inside Pyodide, for size and for import time.

Docstrings and column tables of *libraries* go (the reader's own code keeps both); line
numbers stay, so tracebacks still name the line.
"""

import ast
import importlib._bootstrap_external as external
import os
from pathlib import Path

_DOCUMENTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)


def _without_docstrings(tree):
    for node in ast.walk(tree):
        if not isinstance(node, _DOCUMENTED) or not node.body:
            continue
        first = node.body[0]
        if not (isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)):
            continue
        if not isinstance(first.value.value, str):
            continue
        if len(node.body) == 1 and not isinstance(node, ast.Module):
            node.body[0] = ast.copy_location(ast.Pass(), first)
        else:
            del node.body[0]
    return tree


def compile_tree(root, prefix, strip):
    """Compile every module below *root* as if it lay below *prefix*.

    Yields pairs (relative path of the .pyc, bytes); a pyc is never checked against a source.
    """
    for folder, _, names in os.walk(root):
        for name in sorted(names):
            if not name.endswith(".py"):
                continue
            path = Path(folder, name)
            relative = os.path.relpath(path, root)
            source = path.read_bytes()
            # SQLAlchemy writes into the docstrings of its events at import
            keep = not strip or (name == "events.py" and "sqlalchemy" in relative)
            try:
                tree = ast.parse(source)
                code = compile(
                    tree if keep else _without_docstrings(tree),
                    prefix + relative,
                    "exec",
                    dont_inherit=True,
                )
            except SyntaxError:  # test data and templates, not modules
                continue
            pyc = external._code_to_hash_pyc(code, b"\0" * 8, False)
            yield relative[:-3] + ".pyc", bytes(pyc)
