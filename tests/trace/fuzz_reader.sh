#!/bin/sh
# Builds fuzz_reader.cpp with clang, libFuzzer, AddressSanitizer and UBSan, and fuzzes for SECONDS (default 60) from CORPUS (default
# tests/trace/corpus). New inputs go to a folder of their own, crashes to the current one.
#   CXX=clang++-14 tests/trace/fuzz_reader.sh 3600
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
seconds=${1:-60}
corpus=${2:-$root/tests/trace/corpus}
work=${FUZZ_DIR:-$(mktemp -d)}
mkdir -p "$work/found"
cxx=${CXX:-clang++}
simd=
[ "$(uname -m)" = x86_64 ] && simd=-DREWARM_X86
flags="-std=c++17 -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -I$root/csrc $simd"
objects=
for source in "$root"/csrc/trace/text.cpp "$root"/csrc/trace/rows.cpp "$root"/csrc/trace/kernels*.cpp "$root"/csrc/trace/minute*.cpp \
  "$root"/csrc/trace/cold_start.cpp \
  "$root"/csrc/trace/request.cpp "$root"/csrc/trace/plan.cpp "$root"/csrc/trace/dictionary.cpp "$root"/csrc/trace/function_table.cpp "$root"/csrc/trace/derived.cpp \
  "$root"/csrc/trace/arena.cpp "$root"/csrc/trace/builder.cpp "$root"/csrc/trace/decoder*.cpp "$root"/csrc/trace/work.cpp \
  "$root"/csrc/trace/reader.cpp; do
  name=$(basename "$source" .cpp)
  case $name in kernels_emulated | minute_sink) continue ;; esac
  level=
  case $name in
    *_avx2) level="-mavx2 -mbmi -mbmi2 -mpopcnt -mlzcnt" ;;
    *_avx512) level="-mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vbmi -mavx512vbmi2 -mavx2 -mbmi -mbmi2 -mpopcnt -mlzcnt" ;;
  esac
  # shellcheck disable=SC2086
  "$cxx" $flags $level -c "$source" -o "$work/$name.o"
  objects="$objects $work/$name.o"
done
# shellcheck disable=SC2086
"$cxx" $flags -fsanitize=fuzzer -I"$root/tests/trace" "$root/tests/trace/fuzz_reader.cpp" $objects -o "$work/fuzz_reader" -lpthread
[ "$seconds" = 0 ] && { echo "$work/fuzz_reader"; exit 0; }
exec "$work/fuzz_reader" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 "$work/found" "$corpus"
