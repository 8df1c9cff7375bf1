#!/bin/sh
# The tests of the integrations, each ecosystem in an environment of its own: sh tests/integrations.sh [name ...]
# What does not install is skipped, and said why.
python=${PYTHON:-python3}
[ $# -gt 0 ] || set -- flax equinox keras haiku torch tensorflow datasets
ran="" skipped=""
for name in "$@"; do
  tests="tests/test_integration_$name.py"
  [ -f "$tests" ] || tests="tests/test_integration_data.py"
  [ "$name" = haiku ] && tests="tests/test_integration_plain.py"
  [ "$name" = torch ] || [ "$name" = tensorflow ] || [ "$name" = datasets ] || tests="$tests tests/test_integrations_page.py"
  venv=".venv-$name"
  [ -x "$venv/bin/python" ] || "$python" -m venv "$venv" || exit 1
  if ! why=$("$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --editable ".[$name]" pytest beartype 2>&1); then
    echo "$name does not install here, skipped: $(echo "$why" | grep -i error | tail -1)"
    skipped="$skipped $name"
    continue
  fi
  echo "== $name"
  # shellcheck disable=SC2086
  "$venv/bin/python" -m pytest -q -rs -m "slow or not slow" $tests tests/test_examples.py -k "$name or not example" ||
    exit 1
  ran="$ran $name"
done
echo "Integrations tested:${ran:- none}. Skipped:${skipped:- none}."
