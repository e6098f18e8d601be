#!/usr/bin/env bash
# The test suite on kernels built with AddressSanitizer and UndefinedBehaviorSanitizer (gcc, Linux).
#
#     bash tools/sanitize.sh [arguments of pytest]
#     bash tools/sanitize.sh thread [seconds]
#
# The second command looks for data races with ThreadSanitizer instead, while tools/races.py runs.
#
# Works on a copy in a temporary folder. The Python that runs it needs what `pip install -e ".[test]"` installs, and
# setuptools and Cython; PYTHON and CC choose another interpreter and another gcc.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
python=$(command -v "${PYTHON:-python}")
export CC=${CC:-gcc}
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
tar -C "$root" --exclude=./.git --exclude=./build --exclude='./.*' --exclude='*.so' --exclude=__pycache__ \
    -cf - . | tar -C "$copy" -xf -
cd "$copy"

build() {
    echo "== building"
    CFLAGS=$1 LDFLAGS=$1 "$python" setup.py build_ext --inplace > build.log 2>&1 || { tail -n 30 build.log; exit 1; }
}

if [ "${1:-}" = thread ]; then
    build "-fsanitize=thread -g -O1"
    # ThreadSanitizer's shadow memory conflicts with randomised addresses.
    races() {
        LD_PRELOAD=$("$CC" -print-file-name=libtsan.so) TSAN_OPTIONS=exitcode=66 PYTHONPATH=$copy \
            setarch -R "$python" tools/races.py "$1" > races.log 2>&1
    }
    echo "== two threads write to one array: the sanitizer must report it"
    if races race; then
        echo "it did not"
        exit 1
    fi
    grep -m 1 "WARNING: ThreadSanitizer: data race" races.log || { cat races.log; exit 1; }
    echo "== graphs in several threads"
    races "${2:-60}" || { cat races.log; exit 1; }
    cat races.log
    exit
fi

flags="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"
build "$flags"

# The runtimes must come first in a Python that is not built with them; libstdc++ too, or exceptions in C++ modules
# end the process. Leaks are not looked for here: the interpreter keeps much memory until its end (test_lifetime.py
# looks for them, and its test of the whole process is left out, since freed memory is kept aside here). malloc for
# every object, so that each has its own guarded block.
preload=$("$CC" -print-file-name=libasan.so):$("$CC" -print-file-name=libubsan.so):$("$CC" -print-file-name=libstdc++.so)
run() {
    LD_PRELOAD=$preload ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc \
        PYTHONPATH=$copy "$python" "$@"
}

echo "== a kernel is made to read behind its scratch: the sanitizer must report it"
if run - > overflow.log 2>&1 <<'PYTHON'
import numpy as np
import cgraph as CG

x = CG.Leaf2(50, 50)
node = CG.Convolution2d([x], np.ones((1, 3, 3)), 0.0)
node._taps[:] = node._scratch_size
scratch = np.empty(node._scratch_size)
kernels = node._kernels.convolution
kernels.convolution2d_forward([x.data], node._parameter_vector, node._taps, node._geometry, scratch, node.data)
PYTHON
then
    echo "it did not"
    exit 1
fi
grep -m 1 "ERROR: AddressSanitizer" overflow.log || { cat overflow.log; exit 1; }

echo "== the suite"
run -m pytest -p no:xdist -p no:cacheprovider -k "not memory_is_flat" "$@"
