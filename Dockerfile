# 3 つの環境が使う、1 つのイメージです。
FROM python:3.13-slim-trixie AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
# 変わりにくいものを先に入れる。ソースを変えても、この層は作り直さない
COPY examples/requirements.txt .
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/venv/bin/pip install --require-hashes -r requirements.txt

FROM python:3.13-slim-trixie
# /run/app がないと、コンテナを起動し直したとき、tmpfs の権限が 755 に変わる
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin app \
    && install -d -o app -g app /data \
    && install -d -m 1777 /run/app
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
COPY --from=packages /opt/venv /opt/venv
# main:app は、ここで見つかる
WORKDIR /srv/examples
COPY examples /srv/examples
USER app
EXPOSE 8000
