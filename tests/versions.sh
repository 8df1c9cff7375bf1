#!/bin/sh
# Run the suite on the other supported Pythons that this machine has, each with the newest JAX it can have.
# A missing interpreter is skipped, and said to be.
ran=0
for version in 3.12 3.13; do
  python=""
  for candidate in "python$version" "$HOME"/.pyenv/versions/$version.*/bin/python; do
    if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null; then
      python=$candidate
    fi
  done
  if [ -z "$python" ]; then
    echo "Python $version: no such interpreter here, skipped."
    continue
  fi
  venv=".venv-$version"
  [ -x "$venv/bin/python" ] || "$python" -m venv "$venv" || exit 1
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade --editable '.[test]' || exit 1
  "$venv/bin/python" -c "import sys, jax; print('Python', sys.version.split()[0], 'jax', jax.__version__)"
  "$venv/bin/python" -m pytest -q -n 2 --dist loadfile || exit 1
  ran=$((ran + 1))
done
echo "The suite ran on $ran other version(s) of Python."
