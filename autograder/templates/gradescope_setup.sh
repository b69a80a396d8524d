#!/usr/bin/env bash
# Gradescope runs this once, as root, when it builds the image: Python and the libraries, in the
# versions of requirements.lock, with torch's CPU build. It ends by grading the reference.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# Where every account can reach it: a submission runs as one that nobody has.
home=${AUTOGRADER_HOME:-/opt/autograder}
export UV_PYTHON_INSTALL_DIR=$home/python UV_LINK_MODE=copy UV_NO_CACHE=1

umask 022
apt-get install -qy --no-install-recommends python3 python3-venv ca-certificates
python3 -m venv "$home/tools"
"$home/tools/bin/python" -m pip install --quiet --disable-pip-version-check uv
uv=$home/tools/bin/uv
"$uv" venv --quiet --python 3.12 "$home/venv"
# Other builds than the lock's have other hashes, so here the lock gives the versions alone.
sed -e '/--hash=/d' -e 's/ \\$//' requirements.lock > "$home/constraints.txt"
"$uv" pip install --quiet --python "$home/venv/bin/python" --torch-backend cpu \
  --constraint "$home/constraints.txt" -r pyproject.toml

echo "Grading the reference:"
AUTOGRADER_HOME=$home bash ./run_autograder --prove
