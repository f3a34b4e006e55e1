"""What an example's file says about its deployment is read as text, never imported."""

from pathlib import Path

import pytest

from workerlab.deployment import nginx_configuration, server_options
from workerlab.errors import AppError

TEXT = """
UVICORN_OPTIONS = ["--timeout-keep-alive=75"]
GUNICORN_OPTIONS: list[str] = ["--keep-alive=75", "--timeout=60"]
NGINX = "server { listen 127.0.0.1:8080; }"
raise RuntimeError("imported")
"""


def test_options_and_configuration_are_read(tmp_path: Path) -> None:
    """By the server's program, from a path and from an import string."""
    app = tmp_path / "folder" / "shop.py"
    app.parent.mkdir()
    app.write_text(TEXT, encoding="utf-8")
    for location in (str(app), "folder.shop:app"):
        assert server_options(location, "uvicorn", root=tmp_path) == (
            "--timeout-keep-alive=75",
        )
        for server in ("gunicorn-asgi", "gunicorn-uvicorn"):
            options = server_options(location, server, root=tmp_path)
            assert options == ("--keep-alive=75", "--timeout=60")
        configuration = nginx_configuration(location, root=tmp_path)
        assert configuration == "server { listen 127.0.0.1:8080; }"


def test_file_without_them_has_no_options_and_cannot_stand_behind_nginx(
    tmp_path: Path,
) -> None:
    """Options are optional; without a configuration there is nothing to start."""
    app = tmp_path / "shop.py"
    app.write_text("app = None\n", encoding="utf-8")
    assert server_options(str(app), "uvicorn", root=tmp_path) == ()
    with pytest.raises(AppError, match="nginx の設定がありません"):
        nginx_configuration(str(app), root=tmp_path)
