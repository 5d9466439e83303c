#!/usr/bin/env bash
# On a machine with a CUDA GPU: builds, tests every backend, looks for bad memory accesses, measures; writes a handful of files.
#
#   bench/gpu.sh OUTDIR [COMMIT]
#
# Needs no network: builds without isolation, from what the machine's python3 has (torch, pybind11, scikit-build-core, pytest).
# A stage that fails is recorded and the others still run; the exit status is that of the worst. COMMIT is written into the
# results where the tree has no .git. Ends within 8 minutes: REWARM_GPU_SECONDS, 470 by default, is shared by the stages.
set -u
if [ $# -lt 1 ]; then
  sed -n '2,8p' "$0" >&2
  exit 2
fi
mkdir -p "$1" || exit 2
out=$(cd "$1" && pwd)
commit=${2:-}
cd "$(dirname "$0")/.." || exit 2
commit=${commit:-$(git rev-parse HEAD 2>/dev/null || echo unknown)}

python=${PYTHON:-python3}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export PYTHONPATH="$scratch/site" PYTHONDONTWRITEBYTECODE=1
unset TRITON_INTERPRET  # Triton's kernels are compiled for real
deadline=$(($(date +%s) + ${REWARM_GPU_SECONDS:-470}))
failed=0

say() { printf '%s\n' "$*" | tee -a "$out/summary.txt"; }

# stage NAME SECONDS LOG COMMAND...: runs it, appends its output to LOG, records how it ended; its status is the command's.
stage() {
  local name=$1 limit=$2 log=$out/$3 left status begin
  shift 3
  left=$((deadline - $(date +%s)))
  if [ "$left" -lt 5 ]; then
    say "$name: not run, the time is up"
    failed=1
    return 1
  fi
  [ "$limit" -gt "$left" ] && limit=$left
  begin=$(date +%s)
  printf '\n==== %s: %s\n' "$name" "$*" >>"$log"
  timeout --kill-after=5 "$limit" "$@" >>"$log" 2>&1
  status=$?
  local text="failed, status $status"
  [ $status -eq 0 ] && text=passed
  [ $status -eq 124 ] && text="stopped after its $limit s"
  say "$name: $text ($(($(date +%s) - begin)) s)"
  [ $status -ne 0 ] && failed=1
  return $status
}

: >"$out/summary.txt"
rm -f "$out"/{build,tests,bench,sanitizer}.txt
say "rewarm on a GPU, $(date -u +%Y-%m-%dT%H:%M:%SZ), commit $commit"
if ! gpu=$(nvidia-smi --query-gpu=name,compute_cap,driver_version,memory.total,clocks.max.sm,clocks.max.memory,power.limit \
  --format=csv,noheader 2>&1); then
  say "nvidia-smi: $gpu"
  say "no GPU: nothing to do"
  exit 1
fi
say "$gpu"
say "$($python -c 'import sys, torch, triton; print("python", sys.version.split()[0], "torch", torch.__version__, "triton", triton.__version__)' 2>&1 | tail -1)"
say "$(nvcc --version 2>&1 | tail -1)"

# Machine code of this GPU only: the others are compiled by CI and would take minutes here.
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d '. ')
export CUDAARCHS=${CUDAARCHS:-$capability-real} REWARM_CUDA=ON
if ! stage build 180 build.txt $python -m pip install --no-build-isolation --no-deps --no-index --disable-pip-version-check \
  --target "$scratch/site" -C "build-dir=$scratch/build" .; then
  tail -20 "$out/build.txt"
  exit 1
fi

stage env 60 build.txt bash -c "$python -m rewarm env --json >'$out/env.json'"
pytest=($python -m pytest -q -p no:cacheprovider)
# The rooms that have such tests; what imports gymnasium, which this machine need not have, has none.
stage "tests that need a GPU" 150 tests.txt "${pytest[@]}" -m gpu --junitxml "$out/tests.xml" --ignore=tests/rl/test_replay_steps.py \
  tests/schedule tests/optim tests/q tests/rl

# One run a storage format, so that what was measured is kept should the time run out.
for dtype in fp32 bf16 bf16_sr; do
  stage "bench $dtype" 100 bench.txt $python -m rewarm bench --only adamw --device cuda --dtypes $dtype --rounds 100 \
    --json "$scratch/$dtype.json"
done

# The Q update in fp32 and tf32, one run a set for the same reason; compiling torch's peers is most of the second.
for set in q_64x2 q_2x256 q_antmaze q_calql q_3x512; do
  stage "bench $set" 90 bench.txt $python -m rewarm bench --only q --device cuda --sets $set --rounds 50 --json "$scratch/$set.json"
done

stage "tests of every backend" 120 tests.txt "${pytest[@]}" -m "not gpu" tests/schedule tests/optim

# Only where the tool accepts the device; without torch's caching allocator every tensor has bounds of its own.
few="(test_same_bits_as_the_cpu_backend and (33 or 2049)) or test_all_formats"
for tool in memcheck racecheck initcheck; do
  if ! command -v compute-sanitizer >/dev/null; then
    say "sanitizer: not run, no compute-sanitizer on PATH"
    break
  fi
  before=$failed
  stage "sanitizer $tool" 60 sanitizer.txt env PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool $tool \
    --kernel-regex kns=rewarm --error-exitcode 9 "${pytest[@]}" -x tests/optim/test_adamw_cuda.py -k "$few"
  if reason=$(grep -m1 -i -E "device not supported|not supported on this|unable to find|insufficient permission" "$out/sanitizer.txt"); then
    say "sanitizer: not run: $reason"
    failed=$before
    break
  fi
done

COMMIT=$commit $python - "$out" "$scratch" <<'PY' 2>&1 | tee -a "$out/summary.txt"
import json
import os
import pathlib
import sys

out, scratch = map(pathlib.Path, sys.argv[1:])
merged = None
for name in ("fp32", "bf16", "bf16_sr", "q_64x2", "q_2x256", "q_antmaze", "q_calql", "q_3x512"):
    path = scratch / f"{name}.json"
    if not path.exists():
        continue
    report = json.loads(path.read_text())
    if merged is None:
        merged = report
        merged["header"]["commit"] = os.environ["COMMIT"]
    else:
        merged["results"] += report["results"]
        merged["header"].setdefault("notes", []).extend(report["header"].get("notes", []))
        if name.startswith("q_"):
            merged.setdefault("header_of_q", report["header"] | {"commit": os.environ["COMMIT"]})
if merged is None:
    print("bench: no results")
else:
    (out / "bench.json").write_text(json.dumps(merged, indent=1) + "\n")
    print(f"\n{'workload':24} {'dtype':8} {'variant':36} {'median':>10} {'ratio':>7} {'floor':>7}")
    for r in merged["results"]:
        floor = f"{r['floor_s'] / r['median_s']:7.1%}" if r.get("floor_s") else ""
        seeds = f", {r['seeds']} seeds" if r.get("seeds", 1) > 1 else ""
        name = f"{r['workload'] + seeds:24} {r['dtype']:8} {r['variant']:36}"
        counted = f" {r['kernels']:6.0f} kernels, {r['host_launches']:.1f} launches" if "kernels" in r else ""
        print(f"{name} {r['median_s'] * 1e6:8.1f}us {r['ratio_to_ours']:7.2f} {floor:>7}{counted}")
try:
    path = out / "env.json"
    env = json.loads(path.read_text())
    env["commit"] = os.environ["COMMIT"]
    path.write_text(json.dumps(env, indent=1) + "\n")
except ValueError as error:
    print(f"env.json: {error}")
PY

say ""
grep -h -E "^(FAILED|ERROR)| in [0-9.]+s" "$out/tests.txt" | tail -40 | tee -a "$out/summary.txt"
if [ $failed -eq 0 ]; then say "everything passed"; else say "something failed: see above and the files beside this one"; fi
exit $failed
