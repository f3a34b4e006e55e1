# README に書いてある入口。中身は短く保ち、仕事は tools/ と workerlab がします。
.DEFAULT_GOAL := help
BIN := .venv/bin
PORT ?= 8000
export NO_MKDOCS_2_WARNING := 1  # 広告。移行先は CONTRIBUTING.md にある

.PHONY: help setup lab site serve notebook test test-all test-notebooks test-lab test-browser test-lab-ui test-clone test-stacks bench-lab check lint-ja lighthouse repeat record lock clean

help: ## この一覧を表示する
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

setup: ## .venv を作り、固定した依存を入れる
	@sh tools/setup.sh

lab: setup ## ライブラボの実行環境を組み立てる（npm と PyPI から。初回は 2 分ほど）
	@sh tools/lab/build.sh
	@$(BIN)/python tools/lab_topics.py
	@$(BIN)/python tools/lab_cells.py

site: lab ## サイトを site/ に組み立てる
	@$(BIN)/python -m mkdocs build --strict --quiet
	@$(BIN)/python tools/search_index.py
	@for tool in llms not_found social policy offline; do $(BIN)/python tools/$$tool.py || exit; done

serve: site ## サイトを組み立て、127.0.0.1 で公開する
	@$(BIN)/python -m workerlab serve --port $(PORT)

notebook: setup ## ノートブックを JupyterLab で開く（初回は JupyterLab を入れる）
	@sh tools/notebook.sh

test: setup ## Docker もブラウザーも要らないテストをすべて実行する
	@$(BIN)/python -m pytest -n 4 -m "not browser and not docker and not clone"

test-all: test test-notebooks test-lab test-browser test-lab-ui test-clone test-stacks ## 足りないものを入れ、すべてのテストを実行する

test-notebooks: setup ## ノートブックを、新しいカーネルで上から下まで実行する
	@$(BIN)/python -m pytest -n 2 --durations 8 --nbmake --nbmake-timeout 600 --timeout 900 notebooks tests/notebooks/test_notebooks.py

test-lab: site ## ライブラボの部品と型を調べる
	@node --test tests/lab/*.test.mjs
	@sh tools/types/check.sh

test-browser: site ## Chromium を入れ、ブラウザーのテストを実行する
	@sh tools/install-extras.sh
	@$(BIN)/python -m pytest -n 2 -m browser --ignore tests/browser/test_lab_ui.py

test-lab-ui: site ## ライブラボの画面を Chromium で試す
	@sh tools/install-extras.sh
	@$(BIN)/python -m pytest -n 2 -m browser tests/browser/test_lab_ui.py

test-stacks: setup ## 3 つの環境を、本物の Docker エンジンで起動して試す（なければ Debian では入れる）
	@tools/docker/with-engine.sh $(BIN)/python -m pytest -m docker tests/stacks

test-clone: setup ## 新しいクローンで README のコマンドを打つ
	@$(BIN)/python -m pytest -m clone

check: setup ## 書式と型を調べる
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m mypy

lint-ja: setup ## 日本語の文と表記を調べる（npm が要る。初回は textlint を入れる）
	@$(BIN)/python tools/textlint/lint.py

lighthouse: site ## 各種のページを Lighthouse にかける（どの部門も 100 点でなければ失敗）
	@sh tools/install-extras.sh
	@sh tools/lighthouse/audit.sh

bench-lab: site ## ライブラボの重さを測り、JupyterLite と比べる
	@sh tools/install-extras.sh
	@$(BIN)/python tools/lab/bench.py

repeat: setup ## 全実験を、サーバーごとに 20 回ずつ続けて動かし、結果を表にする（数時間）
	@$(BIN)/python tools/repeat.py

record: setup ## 記録（json と svg）と、その表を作り直す
	@$(BIN)/python -m workerlab record
	@$(BIN)/python tools/notebooks.py

lock: setup ## requirements.in から requirements.txt を作り直す
	@sh tools/lock.sh

clean: ## 作ったものを消す
	rm -rf .venv .cache site docs/assets/search/index docs/assets/lab/runtime docs/assets/lab/vendor docs/assets/lab/topics docs/assets/cells/built
