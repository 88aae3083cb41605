# Sourced by the other scripts: `set_up [EXTRA ...]` makes .venv with the versions of uv.lock.
# It needs Python >= 3.11 and PyPI, nothing else, and does nothing when .venv is up to date.
# More extras (cuda13, cuda12, tpu, reasoning-gym) can be asked for by ACIM_EXTRAS="cuda13".

UV_VERSION=0.13.8

find_python() {
  local name
  for name in python3.13 python3.12 python3.11 python3 python; do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$name"
      return
    fi
  done
  echo "Python 3.11 or newer is needed; none was found on the PATH." >&2
  return 1
}

set_up() {
  local python extras=("$@") options=() extra stamp digest
  # shellcheck disable=SC2206  # words are meant
  extras+=(${ACIM_EXTRAS:-})
  for extra in ${extras[@]+"${extras[@]}"}; do options+=(--extra "$extra"); done

  if [ ! -x .venv/bin/python ]; then
    python=$(find_python)
    echo "making .venv with $("$python" --version)" >&2
    if ! "$python" -m venv .venv; then
      rm -rf .venv
      echo "$python cannot make virtual environments; on Debian: apt install python3-venv" >&2
      return 1
    fi
  fi

  digest=$(.venv/bin/python -c 'import hashlib, sys
print(hashlib.sha256(b"".join(open(f, "rb").read() for f in sys.argv[1:])).hexdigest())' \
    uv.lock pyproject.toml scripts/setup.sh)
  stamp=".venv/.set-up${extras[*]+-${extras[*]}}"
  if [ "$(cat "$stamp" 2>/dev/null)" = "$digest" ]; then return; fi

  echo "installing the packages of uv.lock" >&2
  .venv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$UV_VERSION"
  # --inexact: what another script's extras brought stays.
  env -u VIRTUAL_ENV .venv/bin/uv sync --quiet --locked --inexact --python .venv/bin/python \
    ${options[@]+"${options[@]}"}
  echo "$digest" >"$stamp"
}
