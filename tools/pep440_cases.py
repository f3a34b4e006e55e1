"""Print what `packaging` says of many specifiers and versions, for tests/lab/pep440.test.mjs.

.venv/bin/python tools/pep440_cases.py > tests/lab/pep440-cases.json
"""

import json
from itertools import product

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

VERSIONS = (
    *("0.108.9", "0.109", "0.109.0", "0.109.2", "0.109.2.post1", "0.109.3", "0.110.0", "1.0.0"),
    *("1.0.dev1", "1.0a1", "1.0a1.post1.dev2", "1.0b2", "1.0rc1", "1.0rc1.dev3", "1.0", "v1.0"),
    *("1.0.post1", "1.0-1", "1.0.post1.dev4", "1.0.1", "1.1.dev0", "1.1a1", "1.1", "1.10", "2"),
    *("1.0-ALPHA.1", "1.0.preview2", "1!0.5", "1!1.0", "2026.11"),
)
BASES = (
    *("0.109", "0.109.2", "0.109.2.post1", "1.0", "1.0.0", "1.0a1", "1.0rc1", "1.0.post1"),
    *("1.0.dev1", "1.1", "1.1a1", "2.0", "1!0.5"),
)
WRONG = (
    *(
        "1.0",
        "=1.0",
        "~=1",
        "~=1.0.*",
        ">=1.0.*",
        "==1.0a1.*",
        ">= ",
        "=>1.0",
        "== a",
        "==1.0 2",
    ),
    *("fastapi==1.0", ">=1.0; python_version<'4'"),
)


def specifiers() -> list[str]:
    """Every operator with every base, prefixes, and some that are joined."""
    plain = [
        f"{o}{base}" for o, base in product(("==", "!=", ">=", "<=", ">", "<", "~="), BASES)
    ]
    prefixes = [
        f"{o}{base}.*" for o, base in product(("==", "!="), ("0.109", "1.0", "1", "1!0"))
    ]
    joined = [">=0.109.2, ==0.109.*", ">=0.109.2,<1.0", " >= 1.0a1 , < 1.1 ", ">1.0,!=1.1", ""]
    return plain + prefixes + joined


def answers(text: str) -> str:
    """A letter for each version: chosen, only a pre-release, refused."""
    wanted = SpecifierSet(text)
    chosen = set(wanted.filter(VERSIONS))
    return "".join(
        "c" if v in chosen else "p" if wanted.contains(v, prereleases=True) else "r"
        for v in VERSIONS
    )


def is_wrong(text: str) -> bool:
    """Whether `packaging` refuses the text."""
    try:
        SpecifierSet(text)
    except InvalidSpecifier:
        return True
    return False


def cases() -> dict[str, object]:
    """Versions, their order, the answer to each specifier, and texts that are none."""
    assert all(is_wrong(text) for text in WRONG)
    return {
        "versions": VERSIONS,
        "sorted": sorted(VERSIONS, key=Version),
        "answers": {text: answers(text) for text in specifiers()},
        "wrong": WRONG,
    }


if __name__ == "__main__":
    print(json.dumps(cases(), ensure_ascii=False, indent=1))
