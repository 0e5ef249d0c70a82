#!/bin/sh
# Regenerates provider/rpc/v1 from proto/. With --check: fails if what is committed is not what would be made.
set -eu
cd "$(dirname "$0")/.."
python=.venv/bin/python
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
PATH="$PWD/.venv/bin:$PATH" "$python" -m grpc_tools.protoc -I proto \
  --python_out="$out" --grpc_python_out="$out" --mypy_out="$out" --mypy_grpc_out="$out" \
  proto/provider/rpc/v1/*.proto 2>/dev/null || {
  PATH="$PWD/.venv/bin:$PATH" "$python" -m grpc_tools.protoc -I proto --python_out="$out" proto/provider/rpc/v1/*.proto
  exit 1
}
if [ "${1:-}" = "--check" ]; then
  for made in "$out"/provider/rpc/v1/*; do
    cmp -s "$made" "provider/rpc/v1/$(basename "$made")" || {
      echo "provider/rpc/v1/$(basename "$made") is not what proto/ generates. Try: make proto" >&2
      exit 1
    }
  done
  exit 0
fi
rm -f provider/rpc/v1/*_pb2*
cp "$out"/provider/rpc/v1/* provider/rpc/v1/
