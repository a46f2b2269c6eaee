#!/bin/sh
# Builds the addon with AddressSanitizer and UBSan into build-asan/ and runs its tests on that build.
# Arguments replace the default list of tests. Leaks are not looked for: Node itself keeps memory until its end.
set -eu
cd "$(dirname "$0")/.."

node scripts/build-native.mjs --asan

libasan=$(gcc -print-file-name=libasan.so)
libubsan=$(gcc -print-file-name=libubsan.so)
for library in "$libasan" "$libubsan"; do
  case $library in
    /*) ;;
    *) echo "test-asan: gcc has no $library; install the libgcc-dev package of its version" >&2; exit 1 ;;
  esac
done

[ $# -gt 0 ] || set -- test/native src/io/packet-ciphers.test.ts

# node-gyp-build takes the folder of another build from <PACKAGE>_PREBUILD.
# Processes, not threads: the sanitizer has to be there before Node is. Node handles SIGSEGV itself in places.
export PLAIT_PREBUILD="$PWD/build-asan"
export ASAN_OPTIONS="detect_leaks=0:abort_on_error=1:${ASAN_OPTIONS:-}"
export UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1:${UBSAN_OPTIONS:-}"
LD_PRELOAD="$libasan $libubsan" exec node node_modules/vitest/vitest.mjs run --pool=forks "$@"
