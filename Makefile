# README に書いてある入口。中身は短く保ち、仕事は tools/ と workerlab がします。
.DEFAULT_GOAL := help
BIN := .venv/bin
PORT ?= 8000
export NO_MKDOCS_2_WARNING := 1  # 広告。移行先は CONTRIBUTING.md にある

.PHONY: help setup site serve test test-all test-browser test-clone check record lock clean

help: ## この一覧を表示する
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

setup: ## .venv を作り、固定した依存を入れる
	@sh tools/setup.sh

site: setup ## サイトを site/ に組み立てる
	@$(BIN)/python -m mkdocs build --strict --quiet

serve: site ## サイトを組み立て、127.0.0.1 で公開する
	@$(BIN)/python -m workerlab serve --port $(PORT)

test: setup ## Docker もブラウザーも要らないテストをすべて実行する
	@$(BIN)/python -m pytest -n 2 -m "not browser and not docker and not clone"

test-all: test test-browser test-clone ## 足りないものを入れ、すべてのテストを実行する

test-browser: setup site ## Chromium を入れ、ブラウザーのテストを実行する
	@sh tools/install-extras.sh
	@$(BIN)/python -m pytest -m browser

test-clone: setup ## 新しいクローンで README のコマンドを打つ
	@$(BIN)/python -m pytest -m clone

check: setup ## 書式と型を調べる
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m mypy

record: setup ## 記録（json と svg）と、その表を作り直す
	@$(BIN)/python -m workerlab record

lock: setup ## requirements.in から requirements.txt を作り直す
	@sh tools/lock.sh

clean: ## 作ったものを消す
	rm -rf .venv .cache site docs/assets/lab/runtime
