"""Tell the lazy finder which modules the snapshot lacks; return what is loaded as JSON."""


def lazy_names():
    """Fill ``lab_lazy.names`` from ALL (JSON: standard library files, site files)."""
    import json
    import sys

    import lab_lazy

    left_out = (
        "anyio._backends._trio", "pydantic.v1", "pydantic.mypy", "unittest.", "_pyrepl",
        "idlelib", "multiprocessing", "tkinter", "redis.commands.search.dialect",
    )  # fmt: skip
    loaded = {"std": [], "site": []}
    roots = {"std": "/lib/python314.zip/", "site": "/lib/python3.14/site-packages/"}
    for place, files in zip(("std", "site"), json.loads(ALL)):  # noqa: B905, F821
        for file in files:
            if not file.endswith(".pyc"):
                continue
            name = file[:-4].replace("/", ".").removesuffix(".__init__")
            if name in sys.modules:
                loaded[place].append(file)
            elif not name.startswith(left_out):
                is_package = file.endswith("/__init__.pyc")
                lab_lazy.names[name] = (is_package, roots[place] + file[:-1])
    lab_lazy.install()
    return json.dumps({"loaded": len(sys.modules), "lazy": lab_lazy.names, **loaded})


lazy_names()
