#!/bin/sh
# The wheel, built from the sdist, in an empty environment: the first five minutes of somebody without a clone.
# sh tests/wheel.sh
set -eu
python=${PYTHON:-python3}
venv=.venv-wheel
rm -rf "$venv" dist
"$python" -m venv "$venv"
pip() { "$venv/bin/python" -m pip "$@" --quiet --disable-pip-version-check; }
pip install build
"$venv/bin/python" -m build --outdir dist . >/dev/null
rm -rf "$venv"
"$python" -m venv "$venv"
pip install dist/*.whl
here=$(pwd)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
cd "$out" # where there is no lrjax/ to import instead
"$here/$venv/bin/lrjax" doctor
"$here/$venv/bin/lrjax" find --train-steps 200 --quiet --no-cache
test -s lrjax-out/lr_finder.json && test -s lrjax-out/lr_finder.png
"$here/$venv/bin/python" - <<'EOF'
import json
import re
from pathlib import Path

import lrjax

assert "site-packages" in lrjax.__file__, lrjax.__file__
assert 0.0 < json.loads(Path("lrjax-out/lr_finder.json").read_text())["lr"] < 10.0
EOF
readme=$(sed -n '/^```python/,/^```/p' "$here/README.md" | sed '/^```$/q' | grep -v '^```')
printf '%s\n' "$readme" | "$here/$venv/bin/python" -
echo "The wheel of lrjax works in an empty environment."
